"""A step that was interrupted goes on from what it kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from boucle.kernel.digests import digest_bytes
from boucle.kernel.errors import BoucleError
from boucle.pipeline.api import Step, StepContext
from boucle.pipeline.cache import Cache

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Bench

STARTS: list[list[int]] = []
STOPS_AT = 2


def count_to_four(context: StepContext) -> int:
    done = context.kept_progress(list[int]) or []
    STARTS.append(list(done))
    while len(done) < 4:
        done.append(len(done))
        context.keep_progress(done)
        if len(done) == STOPS_AT:
            raise ValueError("pulled the plug")
    return len(done)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    STARTS.clear()


def test_it_goes_on_and_forgets_when_it_is_done(bench: Bench) -> None:
    step = Step("count", count_to_four, int)
    with pytest.raises(BoucleError):
        bench.run([step])
    assert bench.run([step]).value("count", int) == 4
    assert STARTS == [[], [0, 1]]
    assert not list((bench.home / "cache" / "progress").iterdir())


def test_other_inputs_begin_at_the_beginning_and_so_does_force(bench: Bench) -> None:
    with pytest.raises(BoucleError):
        bench.run([Step("count", count_to_four, int)])
    with pytest.raises(BoucleError):
        bench.run([Step("count", count_to_four, int, params=1)])
    with pytest.raises(BoucleError):
        bench.run([Step("count", count_to_four, int)], force=True)
    assert STARTS == [[], [], []]


def test_progress_that_cannot_be_read_counts_as_none(bench: Bench) -> None:
    with pytest.raises(BoucleError):
        bench.run([Step("count", count_to_four, int)])
    for kept in (bench.home / "cache" / "progress").iterdir():
        kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(BoucleError):
        bench.run([Step("count", count_to_four, int)])
    assert STARTS == [[], []]


def test_progress_with_any_wrong_byte_counts_as_none(tmp_path: Path) -> None:
    cache, key = Cache(tmp_path), digest_bytes(b"step")
    cache.keep_progress(key, [0.25, 17])
    (file,) = (tmp_path / "cache" / "progress").iterdir()
    whole = file.read_bytes()
    assert cache.progress(key, list[float]) == [0.25, 17]
    for place in range(len(whole)):
        for bit in range(8):
            hurt = bytearray(whole)
            hurt[place] ^= 1 << bit
            file.write_bytes(hurt)
            assert cache.progress(key, list[float]) in (None, [0.25, 17]), hurt
