"""What each extra installs does what it is for, and what is missing is told with the command that installs it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from boucle.app.ports import free_port

pytestmark = pytest.mark.long

TRACK = "import boucle\nwith boucle.start_run(experiment='x') as run:\n    run.log({'loss': 1.0})\n"
ROW = {
    "inputs": [
        {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["UA"]},
        {"name": "temp", "shape": [1], "datatype": "FP64", "data": [80.0]},
    ]
}
MAX_MB = 220


def said(programs: Path, folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run([programs / "boucle", *words], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def packages(programs: Path) -> set[str]:
    found = programs.parent.glob("lib/python*/site-packages/*.dist-info")
    return {one.name.partition("-")[0].lower() for one in found}


def test_the_bare_package_tracks(tmp_path: Path, installed: Callable[[str], Path]) -> None:
    programs = installed("boucle")
    assert not packages(programs) & {"numpy", "sqlalchemy", "granian", "polars"}
    done = subprocess.run([programs / "python", "-c", TRACK], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code, told = said(programs, tmp_path, "up")
    assert code == 5
    assert "pip install 'boucle[all]'" in told


def test_the_data_plane_alone_serves(tmp_path: Path, installed: Callable[[str], Path], bundles: Any) -> None:
    programs = installed("boucle[serve]")
    assert not packages(programs) & {"sqlalchemy", "polars", "scikit_learn", "altair", "optuna"}
    size = sum(one.stat().st_size for one in programs.parent.rglob("*") if one.is_file() and not one.is_symlink())
    assert size < MAX_MB << 20
    folder = bundles.write_bundle(tmp_path / "flights")
    port = free_port("127.0.0.1")
    with subprocess.Popen(
        [programs / "boucle", "serve", folder, "--port", str(port)], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout
            assert "answers at" in server.stdout.readline()
            asked = Request(f"http://127.0.0.1:{port}/v2/models/flights/infer", json.dumps(ROW).encode())
            with urlopen(asked) as answer:
                outputs = json.load(answer)["outputs"]
        finally:
            server.terminate()
    assert outputs[0]["data"] == pytest.approx([bundles.probability("UA", 80.0)])
    code, told = said(programs, tmp_path, "up")
    assert code == 5
    assert "pip install 'boucle[all]'" in told
