"""A training of the live loop, in a process of its own beside what answers and what decides.

`python -m boucle.app.training --project DIR --home DIR --name NAME JOB`
"""

import argparse
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from boucle.kernel.errors import BoucleError

_NICE: Final = 5
"""Predictions are answered first."""


def start(folder: Path, home: Path, name: str, job_id: str) -> "subprocess.Popen[bytes]":
    """Start it; it ends with the process that started it, whatever ends that."""
    places = ["--project", str(folder), "--home", str(home), "--name", name]
    command = [sys.executable, "-m", "boucle.app.training", *places, job_id]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; exit codes as in `boucle.kernel.errors`."""
    parser = argparse.ArgumentParser(prog="python -m boucle.app.training", description="Train what a job asks for.")
    parser.add_argument("--project", type=Path, required=True, help="folder of boucle.yaml")
    parser.add_argument("--home", type=Path, required=True, help="the store's folder")
    parser.add_argument("--name", required=True, help="the project's name")
    parser.add_argument("job", help="id of the job")
    given = parser.parse_args(arguments)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(_NICE)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s")
    from boucle.kernel.progress import Silent
    from boucle.kernel.store import Store
    from boucle.loop.live import context_of_job, train_job

    try:
        with Store.open(given.home) as store:
            train_job(context_of_job(given.project, store, given.name, given.job), given.job, Silent())
    except BoucleError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return error.exit_code
    return 0


def _end_with_parent() -> None:
    """End when standard input closes: it is a pipe from the process that started this one."""
    while os.read(0, 4096):
        pass
    os._exit(1)  # as a kill would: what is finished is kept


if __name__ == "__main__":
    sys.exit(main())
