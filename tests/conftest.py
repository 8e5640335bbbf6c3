"""Fixtures of every room."""

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
