import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boucle.kernel.blobs import BlobStore
from boucle.kernel.digests import canonical_json, digest_bytes
from boucle.kernel.errors import Damaged, InvalidInput, NotFound
from boucle.kernel.trees import TreeEntry, digest_folder, entries, freeze, materialise


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


FILES = {"a.txt": b"a", "b/c.bin": b"c" * 1000, "b/d": b"", "b!": b"before the slash", "é": b"accent"}


def test_a_folder_comes_back_as_it_was(blobs: BlobStore, tmp_path: Path) -> None:
    digest = freeze(blobs, fill(tmp_path / "folder", FILES))
    target = materialise(blobs, digest, tmp_path / "out" / "target")
    found = {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert found == FILES
    assert [entry.path for entry in entries(blobs, digest)] == sorted(FILES)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["target"]


def test_the_digest_depends_on_names_and_bytes_alone(blobs: BlobStore, tmp_path: Path) -> None:
    one = fill(tmp_path / "one", FILES)
    two = fill(tmp_path / "two", dict(reversed(FILES.items())))
    (two / "empty").mkdir()
    (two / "a.txt").chmod(0o755)
    os.utime(two / "a.txt", (0, 0))
    assert digest_folder(one) == digest_folder(two) == freeze(blobs, one)
    (two / "a.txt").rename(two / "a2.txt")
    assert digest_folder(one) != digest_folder(two)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
@given(st.dictionaries(st.sampled_from(["a", "b/a", "b/b", "c/d/e"]), st.binary(max_size=20), min_size=1))
def test_freezing_what_was_materialised_gives_the_same_digest(
    blobs: BlobStore, tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    digest = freeze(blobs, fill(folder / "in", files))
    assert freeze(blobs, materialise(blobs, digest, folder / "out")) == digest


def test_materialising_again_changes_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    digest = freeze(blobs, fill(tmp_path / "folder", FILES))
    target = materialise(blobs, digest, tmp_path / "target")
    inode = target.stat().st_ino
    assert materialise(blobs, digest, target).stat().st_ino == inode


def test_a_target_with_other_bytes_is_damaged_and_left_alone(blobs: BlobStore, tmp_path: Path) -> None:
    digest = freeze(blobs, fill(tmp_path / "folder", FILES))
    target = materialise(blobs, digest, tmp_path / "target")
    (target / "a.txt").write_bytes(b"edited")
    with pytest.raises(Damaged, match="target"):
        materialise(blobs, digest, target)
    assert (target / "a.txt").read_bytes() == b"edited"


def test_a_damaged_file_is_named_and_no_folder_appears(blobs: BlobStore, tmp_path: Path) -> None:
    digest = freeze(blobs, fill(tmp_path / "folder", FILES))
    blob = blobs.path(entries(blobs, digest)[0].digest)
    blob.chmod(0o600)
    blob.write_bytes(b"A")
    with pytest.raises(Damaged, match=r"'a\.txt'.*" + blob.name[:12]):
        materialise(blobs, digest, tmp_path / "out" / "target")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_missing_blob_is_named_and_no_folder_appears(blobs: BlobStore, tmp_path: Path) -> None:
    digest = freeze(blobs, fill(tmp_path / "folder", FILES))
    blobs.path(entries(blobs, digest)[1].digest).unlink()
    with pytest.raises(NotFound):
        materialise(blobs, digest, tmp_path / "out" / "target")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_blob_that_is_no_tree_is_damaged(blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="no tree"):
        materialise(blobs, blobs.put(b"{}"), tmp_path / "target")


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_a_crafted_tree_cannot_write_outside(blobs: BlobStore, tmp_path: Path, name: str) -> None:
    tree = blobs.put(canonical_json([TreeEntry(name, 1, blobs.put(b"x"))]))
    with pytest.raises(InvalidInput):
        materialise(blobs, tree, tmp_path / "out" / "target")
    assert list((tmp_path / "out").iterdir()) == []


def _link_to_file(path: Path) -> None:
    path.symlink_to("a.txt")


def _link_to_folder(path: Path) -> None:
    path.symlink_to(".")


@pytest.mark.parametrize("make", [_link_to_file, _link_to_folder, os.mkfifo])
def test_a_link_and_a_pipe_are_refused(blobs: BlobStore, tmp_path: Path, make: Callable[[Path], None]) -> None:
    folder = fill(tmp_path / "folder", {"a.txt": b""})
    make(folder / "odd")
    with pytest.raises(InvalidInput, match="odd"):
        freeze(blobs, folder)


def test_a_missing_folder_is_named(blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="missing"):
        freeze(blobs, tmp_path / "missing")


def test_the_digest_of_a_tree_never_changes_between_versions(tmp_path: Path) -> None:
    folder = fill(tmp_path / "golden", {"b/c": b"2", "a": b"1"})
    written = (
        '[{"digest":"6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b","path":"a","size":1},'
        '{"digest":"d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35","path":"b/c","size":1}]'
    )
    assert digest_folder(folder) == digest_bytes(written.encode())
