"""What a process remembers of the ids in windows: it may say yes in vain, and never no."""

import polars as pl

from boucle.kernel.digests import Digest
from boucle.monitoring.known_ids import KnownIds, hashed

ONE, TWO, THREE = (Digest(letter * 64) for letter in "abc")


def rows(first: int, count: int) -> pl.DataFrame:
    ids = [f"o{number}" for number in range(first, first + count)]
    return pl.DataFrame({"request_id": ids, "row": [0] * count, "entity_key": [None, *ids[1:]]})


def found(known: KnownIds, digest: Digest, *ids: str, name: str = "request_id") -> bool:
    return known.may_have(digest, name, hashed(pl.Series(ids)))


def test_what_is_remembered_is_told_and_anything_else_may_be_there() -> None:
    known = KnownIds()
    known.remember(ONE, rows(0, 1000), {ONE})
    assert all(found(known, ONE, f"o{number}") for number in range(1000))
    assert not found(known, ONE, "o0", name="entity_key")
    assert found(known, ONE, "x", "o999", name="entity_key")
    assert not found(known, ONE, "x", "y")
    assert found(known, TWO, "x")


def test_windows_that_are_gone_make_room_and_those_beyond_it_are_read() -> None:
    known = KnownIds(most_rows=2000)
    known.remember(ONE, rows(0, 1000), {ONE})
    known.remember(TWO, rows(1000, 1000), {ONE, TWO})
    known.remember(THREE, rows(2000, 1000), {TWO, THREE})
    assert found(known, ONE, "x")
    assert not found(known, TWO, "x")
    assert not found(known, THREE, "x")
    known.remember(ONE, rows(0, 1000), {ONE, TWO, THREE})
    assert found(known, ONE, "x")
