"""Fixtures of every room."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from boucle.kernel.clock import FixedClock
from boucle.kernel.ids import SequentialIds
from boucle.kernel.store import Store


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
