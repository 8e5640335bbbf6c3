"""`boucle serve FOLDER`: a bundle is served from anywhere, without project and store."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor

import boucle
from boucle.app.main import run_command
from boucle.kernel.errors import InvalidInput, NotFound, Refused
from boucle.serving.api import InferClient, read_frames
from boucle.serving.folders import take_in
from boucle.serving.traffic import log_folder, read_traffic

Known = Any
"""`bundles.py` of tests/serving."""


@pytest.fixture
def folder(bundles: Known, tmp_path: Path) -> Path:
    made: Path = bundles.write_bundle(tmp_path / "models" / "churn")
    return made


@contextmanager
def serving(folder: Path, port: int, *options: str) -> Iterator[str]:
    command = [sys.executable, "-m", "boucle", "serve", str(folder), "--port", str(port), *options]
    process = subprocess.Popen(command, cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline()
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def ask(port: int, bundles: Known) -> list[float]:
    columns = {"carrier": ["UA", None], "temp": [80.0, None]}
    with InferClient(f"http://127.0.0.1:{port}", "churn") as client:
        answer: list[float] = client.infer("one", columns, {"carrier": "category", "temp": "number"})["probability"]
    assert answer == pytest.approx([bundles.probability("UA", 80.0), bundles.probability(None, None)])
    return answer


@pytest.mark.slow
def test_a_folder_answers_and_nothing_is_left(folder: Path, bundles: Known, free_port: int) -> None:
    with serving(folder, free_port) as said:
        assert said == f"churn answers at http://127.0.0.1:{free_port}; Ctrl-C stops it\n"
        shutil.rmtree(folder)  # what was taken in goes on answering
        ask(free_port, bundles)
    assert list(folder.parent.iterdir()) == []


@pytest.mark.slow
def test_a_home_keeps_what_was_answered(folder: Path, bundles: Known, free_port: int, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for _ in range(2):
        with serving(folder, free_port, "--home", str(home)):
            ask(free_port, bundles)
    frames = [frame for frame, _ in read_frames(log_folder(home, "churn"))]
    assert [(frame.request_id, frame.number, frame.rows) for frame in frames] == [("one", 1, 2)] * 2


def test_another_bundle_is_the_next_version(bundles: Known, folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert take_in(home, [folder]) == ["churn"]
    shutil.rmtree(folder)
    bundles.write_bundle(folder, lift=1.0)
    take_in(home, [folder])
    take_in(home, [folder])
    assert (read_traffic(home, "churn").champion.number, read_traffic(home, "churn").generation) == (2, 2)


def test_what_cannot_be_served_is_refused_before_anything_is_written(
    folder: Path, tmp_path: Path, bundles: Known
) -> None:
    home, twin = tmp_path / "home", tmp_path / "other" / "churn"
    bundles.write_bundle(twin)
    bundles.write_bundle(tmp_path / "a:b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="is no bundle, and holds none"):
        take_in(home, [folder, tmp_path / "empty"])
    with pytest.raises(InvalidInput, match="two folders are called 'churn'"):
        take_in(home, [folder, twin])
    with pytest.raises(InvalidInput, match="cannot be called 'a:b'"):
        take_in(home, [tmp_path / "a:b"])
    assert not home.exists()


def test_a_folder_stands_for_the_bundles_in_it(tmp_path: Path, bundles: Known) -> None:
    for name in ("b", "a b"):
        bundles.write_bundle(tmp_path / "models" / name)
    (tmp_path / "models" / "notes").mkdir()
    assert take_in(tmp_path / "home", [tmp_path / "models"]) == ["a b", "b"]
    assert read_traffic(tmp_path / "home", "a b").champion.number == 1


def test_a_damaged_bundle_ends_it_as_damage_does(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = next(file for file in folder.iterdir() if file.name.startswith("model"))
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    assert run_command(["serve", str(folder)]) == 4
    assert f"{model.name}' is damaged" in capsys.readouterr().err
    model.unlink()
    assert run_command(["serve", str(folder)]) == 4
    assert "is missing" in capsys.readouterr().err


def test_a_store_decides_for_itself_what_is_served(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "boucle.db").touch()
    with pytest.raises(Refused, match="holds a store, where gates decide"):
        take_in(home, [folder])
    assert run_command(["serve", str(folder), "--home", str(home)]) == 3
    assert "name another folder with --home" in capsys.readouterr().err


def test_what_is_no_bundle_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["serve", str(tmp_path / "nothing")]) == 2
    assert "is no folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_that_is_code_answers_where_that_is_allowed(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    rows = np.random.default_rng(1).normal(size=(30, 1))
    model = GaussianProcessRegressor(optimizer=None).fit(rows, rows[:, 0])
    with pytest.warns(UserWarning, match="kept as it is, as code"):
        folder = boucle.bundle(model, sample=rows, path=tmp_path, name="churn", keep_code=True)
    assert run_command(["sign", str(folder)]) == 0
    key = tmp_path / "config" / "boucle" / "signing.pub"
    with (
        serving(folder, free_port, "--allow-code", "--signed-by", str(key)),
        InferClient(f"http://127.0.0.1:{free_port}", "churn") as client,
    ):
        answer = client.infer("one", {"x0": [0.5, -0.5]}, {"x0": "number"})["value"]
    assert answer == model.predict([[0.5], [-0.5]]).tolist()
