"""A store, a folder of spools, and programs that track."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from boucle.kernel.store import Store

collect_ignore = ["arrow_digests.py"]
"""It is run where Arrow is."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of spools."""
    return tmp_path / "spool"


@pytest.fixture(autouse=True)
def spool_of_test(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUCLE_SPOOL", str(root))


@pytest.fixture
def opened(home: Path) -> Iterator[Store]:
    with Store.open(home) as store:
        yield store


@pytest.fixture
def program(tmp_path: Path, root: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Start a Python program that tracks, in a folder of its own."""

    def start(text: str, *arguments: object) -> "subprocess.Popen[str]":
        file = tmp_path / "train.py"
        if not file.exists():  # another process of the same test may be reading it
            file.write_text(text)
        return subprocess.Popen(
            [sys.executable, str(file), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={"BOUCLE_SPOOL": str(root), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )

    return start
