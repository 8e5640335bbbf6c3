import pytest

from boucle.kernel import audit
from boucle.kernel.care import pins
from boucle.kernel.errors import Conflict, InvalidInput, NotFound
from boucle.kernel.store import Store


def test_a_pin_is_set_and_taken_away_by_the_first_digits_and_the_log_says_so(store: Store) -> None:
    digest = store.blobs.put(b"kept")
    pin = pins.add(store, "p", digest[:8], reason="the audit of May", actor="person:ada")
    assert pin.digest == digest
    assert store.read(lambda connection: pins.find(connection, "p")) == [pin]
    assert store.read(lambda connection: pins.find(connection, "other")) == []
    assert pins.remove(store, "p", digest[:5], actor="person:bob") == pin
    assert store.read(lambda connection: pins.find(connection, "p")) == []
    told = store.read(lambda connection: audit.records(connection, project_id="p", subject=f"blob/{digest}"))
    assert [(one.action, one.actor) for one in told] == [("pin.add", "person:ada"), ("pin.remove", "person:bob")]
    assert audit.verify(store).problems == []


def test_what_cannot_be_pinned_is_named(store: Store) -> None:
    digest = store.blobs.put(b"kept")
    for wrong in ("", "abc", "xyz0", "A" * 64, "0" * 65, "../x"):
        with pytest.raises(InvalidInput, match="is no digest"):
            pins.add(store, "p", wrong, reason="r", actor="a")
    with pytest.raises(NotFound, match="no kept blob begins with '0000'"):
        pins.add(store, "p", "0000", reason="r", actor="a")
    with pytest.raises(InvalidInput, match="needs a reason"):
        pins.add(store, "p", digest, reason=" ", actor="a")
    pins.add(store, "p", digest, reason="r", actor="a")
    with pytest.raises(Conflict, match="pinned already"):
        pins.add(store, "p", digest, reason="r", actor="a")
    with pytest.raises(NotFound, match="no pinned digest"):
        pins.remove(store, "p", "0000", actor="a")


def test_digits_that_two_blobs_share_are_not_enough(store: Store) -> None:
    folder = store.blobs.root / "aa"
    folder.mkdir()
    for last in "01":
        (folder / ("a" * 63 + last)).touch()
    with pytest.raises(InvalidInput, match="2 digests begin with 'aaaa'"):
        pins.add(store, "p", "aaaa", reason="r", actor="a")
