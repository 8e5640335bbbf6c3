import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boucle.kernel.blobs import BlobStore
from boucle.kernel.digests import Digest, digest_bytes
from boucle.kernel.errors import Damaged, InvalidInput, NotFound, Unavailable


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def test_bytes_come_back_by_their_digest(blobs: BlobStore) -> None:
    digest = blobs.put(b"boucle")
    assert digest == digest_bytes(b"boucle")
    assert blobs.get(digest) == b"boucle"
    assert blobs.path(digest).read_bytes() == b"boucle"
    blobs.verify(digest)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(st.binary(max_size=300))
def test_a_file_and_its_bytes_are_the_same_blob(blobs: BlobStore, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "source"
    file.write_bytes(data)
    assert blobs.put_file(file) == blobs.put(data)
    assert blobs.get(digest_bytes(data)) == data


def test_the_same_bytes_again_change_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    digest = blobs.put(b"x")
    before = blobs.path(digest).stat()
    (tmp_path / "x").write_bytes(b"x")
    blobs.put(b"x")
    blobs.put_file(tmp_path / "x")
    assert blobs.path(digest).stat().st_ino == before.st_ino
    assert list((blobs.root / "incoming").iterdir()) == []


def test_many_threads_may_put_the_same_bytes(blobs: BlobStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda number: blobs.put(bytes([number % 3]) * 100_000), range(60)))
    assert len(digests) == 3
    for digest in digests:
        blobs.verify(digest)


def test_a_blob_that_is_not_kept_is_not_found(blobs: BlobStore) -> None:
    digest = digest_bytes(b"nowhere")
    assert not blobs.has(digest)
    for ask in (blobs.get, blobs.path, blobs.verify):
        with pytest.raises(NotFound, match=digest[:12]):
            ask(digest)


@pytest.mark.parametrize("name", ["", "abc", "A" * 64, "../" * 22, "a" * 63 + "/", "a" * 64 + "\n"])
def test_what_is_no_digest_never_becomes_a_path(blobs: BlobStore, name: str) -> None:
    with pytest.raises(InvalidInput, match="no digest"):
        blobs.has(Digest(name))


@pytest.mark.parametrize("damage", [b"bouclf", b"boucl", b""])
def test_damage_names_the_blob_and_its_file(blobs: BlobStore, damage: bytes) -> None:
    digest = blobs.put(b"boucle")
    file = blobs.path(digest)
    file.chmod(0o600)
    file.write_bytes(damage)
    for ask in (blobs.get, blobs.verify):
        with pytest.raises(Damaged, match=digest[:12]) as raised:
            ask(digest)
        assert str(file) in raised.value.message
        assert str(file) in (raised.value.hint or "")


def test_a_full_disk_leaves_no_blob_and_no_rest(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full_disk_for_files)
        with pytest.raises(Unavailable, match="No space left"):
            blobs.put(b"boucle")
    assert not blobs.has(digest_bytes(b"boucle"))
    assert list((blobs.root / "incoming").iterdir()) == []


def _full_disk_for_files(descriptor: int) -> None:
    if os.fstat(descriptor).st_size == len(b"boucle"):
        raise OSError(28, os.strerror(28))


def test_a_file_that_is_missing_is_the_caller_s_error(blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        blobs.put_file(tmp_path / "missing")


def test_a_damaged_blob_is_mended_by_who_has_the_bytes(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    digest = blobs.put(b"what it was")
    for damage in (b"", b"what it w", b"What it was"):
        file = blobs.path(digest)
        file.chmod(0o600)
        file.write_bytes(damage)
        file.chmod(0o400)
        assert blobs.put(b"what it was") == digest
        assert blobs.get(digest) == b"what it was"


def test_a_blob_whose_name_may_not_be_on_the_disk_is_written_anew(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    digest = blobs.put(b"x")
    before = blobs.path(digest).stat().st_ino
    blobs.put(b"x")
    assert blobs.path(digest).stat().st_ino == before
    blobs.path(digest).chmod(0o600)  # as a process leaves it that ended before its folder was synced
    blobs.put(b"x")
    assert blobs.path(digest).stat().st_ino != before
    assert blobs.path(digest).stat().st_mode & 0o777 == 0o400


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(st.lists(st.binary(max_size=80), max_size=8))
def test_pieces_become_the_blob_of_all_of_them(blobs: BlobStore, pieces: list[bytes]) -> None:
    with blobs.receive() as incoming:
        for piece in pieces:
            incoming.write(piece)
        digest = incoming.finish()
    assert digest == digest_bytes(b"".join(pieces))
    assert blobs.get(digest) == b"".join(pieces)
    assert incoming.size == len(b"".join(pieces))
    assert list((blobs.root / "incoming").iterdir()) == []


def test_what_is_not_finished_leaves_nothing(blobs: BlobStore) -> None:
    with blobs.receive() as incoming:
        incoming.write(b"half of")
    incoming.abort()
    assert [file for file in blobs.root.rglob("*") if file.is_file() and file.parent.name != "present"] == [
        blobs.root / "use.lock",
        blobs.root / "use.lock.next",
    ]
