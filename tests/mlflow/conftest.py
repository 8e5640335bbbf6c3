"""What the tests of the MLflow protocol share. Scenes are played in an environment of their own, by MLflow's client."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCENE_LIMIT_S = 900

collect_ignore = ["client"]


@pytest.fixture(scope="session")
def mlflow_programs() -> Path:
    """The programs of the environment in which MLflow is installed."""
    subprocess.run([HERE / "install-mlflow"], check=True)
    return ROOT / "build" / "mlflow" / "bin"


Play = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture(scope="session")
def play(mlflow_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Play:
    """`play(url, scene, ...)` plays scenes with the real client and answers what it saw."""

    def played(url: str, *scenes: str, programs: Path = mlflow_programs) -> dict[str, dict[str, Any]]:
        answers = tmp_path_factory.mktemp("answers") / "answers.json"
        command = [programs / "python", HERE / "client" / "run.py", url, answers, *scenes]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SCENE_LIMIT_S)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(answers.read_text())  # type: ignore[no-any-return]

    return played
