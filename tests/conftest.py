"""Fixtures of every room."""

import errno
import fcntl
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings

from boucle.kernel.clock import FixedClock
from boucle.kernel.ids import SequentialIds
from boucle.kernel.store import Store

settings.load_profile("ci")  # hypothesis' own: the same examples everywhere, and none that is late fails

LONGEST = (
    "tests/soak/",
    "tests/docs/test_console_blocks.py",
    "tests/crash/test_recovery.py",
    "tests/faults/test_failing_calls.py",
    "tests/crash/test_tree.py",
    "tests/examples/",
    "tests/mlflow/",
)
"""What takes ten minutes and more, longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that of two processes none is left alone with it at the end."""

    def place(item: pytest.Item) -> int:
        return next((place for place, path in enumerate(LONGEST) if item.nodeid.startswith(path)), len(LONGEST))

    items.sort(key=place)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An open, empty store whose clock stands at 1 March 2013 and whose ids count from 1."""
    with Store.open(
        tmp_path / "home", clock=FixedClock(datetime(2013, 3, 1, tzinfo=UTC)), ids=SequentialIds()
    ) as opened:
        yield opened


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a person or a test runner has set decides what a test sees."""
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", *(one for one in os.environ if one.startswith("BOUCLE_"))):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def locks_of_nfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system gives no exclusive lock on what is open for reading only, as it does on NFS (flock(2))."""
    real = fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        if how & fcntl.LOCK_EX and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
