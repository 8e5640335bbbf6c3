"""What each extra installs does what it is for, and what is missing is told with the command that installs it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

import boucle
from boucle.kernel.ports import free_port

pytestmark = pytest.mark.long

TRACK = "import boucle\nwith boucle.start_run(experiment='x') as run:\n    run.log({'loss': 1.0})\n"
ROW = {
    "inputs": [
        {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["UA"]},
        {"name": "temp", "shape": [1], "datatype": "FP64", "data": [30.0]},
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
    code, told = said(programs, tmp_path, "serve", "flights")
    assert code != 0
    assert "pip install 'boucle[serve]'" in told
    assert "Traceback" not in told


def test_the_data_plane_alone_serves(tmp_path: Path, installed: Callable[[str], Path]) -> None:
    programs = installed("boucle[serve]")
    assert not packages(programs) & {"sqlalchemy", "polars", "scikit_learn", "altair", "optuna"}
    size = sum(one.stat().st_size for one in programs.parent.rglob("*") if one.is_file() and not one.is_symlink())
    assert size < MAX_MB << 20
    sample = pl.DataFrame({"carrier": ["AA", "UA"] * 50, "temp": [float(n % 41) for n in range(100)]})
    encoded = ColumnTransformer([("carrier", OneHotEncoder(), ["carrier"])], remainder="passthrough")
    model = Pipeline([("encoded", encoded), ("model", RandomForestClassifier(5, random_state=1))])
    model.fit(sample, [int(n % 41 > 20) for n in range(100)])
    folder = boucle.bundle(model, sample=sample, path=tmp_path / "flights", name="flights")
    port = free_port("127.0.0.1")
    with subprocess.Popen(
        [programs / "boucle", "serve", folder, "--port", str(port)], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout
            assert "answers at" in server.stdout.readline()
            request = Request(f"http://127.0.0.1:{port}/v2/models/flights/infer", json.dumps(ROW).encode())
            with urlopen(request) as answer:
                answers = {one["name"]: one["data"] for one in json.load(answer)["outputs"]}
            for path, kind in (
                ("/arrow/models/flights/predict", "application/vnd.apache.arrow.stream"),
                ("/invocations", "application/vnd.apache.parquet"),
            ):
                table = Request(f"http://127.0.0.1:{port}{path}", b"", {"content-type": kind})
                with pytest.raises(HTTPError) as refused:
                    urlopen(table)
                with refused.value as turned_away:
                    assert turned_away.code == 415
                    assert "has no polars installed; send JSON" in turned_away.read().decode()
        finally:
            server.terminate()
    asked = pl.DataFrame({"carrier": ["UA"], "temp": [30.0]})
    assert answers["probability"] == pytest.approx(model.predict_proba(asked)[:, 1].tolist(), abs=1e-6)
    code, told = said(programs, tmp_path, "up")
    assert code == 5
    assert "pip install 'boucle[all]'" in told
