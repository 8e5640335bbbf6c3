"""Plays scenes with the MLflow client of this environment: run.py URI ANSWERS [WIRE] SCENE ...

Writes `{scene: {step: what the client saw}}` to ANSWERS; with `--wire FILE` every HTTP exchange too.
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

os.environ.update(
    {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": "1",
        "LOGNAME": "judge",
        "USER": "judge",
    }
)
warnings.simplefilter("ignore")


def main() -> None:
    """Play the scenes asked for, each in a folder of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("uri")
    parser.add_argument("answers", type=Path)
    parser.add_argument("scenes", nargs="+")
    parser.add_argument("--wire", type=Path)
    asked = parser.parse_args()
    answers, wire = asked.answers.resolve(), asked.wire and asked.wire.resolve()

    from seen import Seen
    from wiretap import tap

    import mlflow

    mlflow.set_tracking_uri(asked.uri)
    exchanges = tap()
    seen, wires, times = {}, {}, {}
    for name in asked.scenes:
        module = importlib.import_module(f"scenes.{name}")
        see, began = Seen(), time.perf_counter()
        see.mask(asked.uri, "uri")
        with tempfile.TemporaryDirectory() as folder:
            see.mask(os.path.realpath(folder), "folder")
            os.chdir(folder)
            try:
                module.play(see)
            except Exception:  # noqa: BLE001 - the other scenes are played all the same
                see.calls["!"] = traceback.format_exc(limit=-2)
            os.chdir("/")
        while mlflow.active_run():
            mlflow.end_run()
        seen[name], times[name] = see.masked(), round(time.perf_counter() - began, 1)
        wires[name] = exchanges[:]
        exchanges.clear()
        # Written after each scene, so that a scene which never ends loses no other.
        answers.write_text(json.dumps(seen, indent=1))
        if wire:
            wire.write_text(json.dumps(wires))
    sys.stderr.write(f"{times}\n")


main()
