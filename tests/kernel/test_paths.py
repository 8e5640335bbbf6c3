import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.kernel.errors import InvalidInput, Unavailable
from boucle.kernel.paths import inside, make_folder, rewrite, write_atomic


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "..", "../x", "a/../../x", "a/..", "a\0b", "..\\x", "C:/x", "C:x"],
)
def test_a_name_that_could_lead_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        inside(tmp_path, name)


def test_a_link_may_lead_elsewhere_inside_but_not_outside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (root / "good").symlink_to("data")
    (root / "bad").symlink_to(tmp_path)
    assert inside(root, "good/x.csv") == root.resolve() / "data" / "x.csv"
    for name in ("bad", "bad/secret"):
        with pytest.raises(InvalidInput):
            inside(root, name)


def test_a_sibling_whose_name_begins_alike_is_outside(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root-2").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "root-2")
    with pytest.raises(InvalidInput, match="leads outside"):
        inside(tmp_path / "root", "link")


def test_a_root_that_is_itself_a_link_works(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to("real")
    assert inside(tmp_path / "root", "a/b") == (tmp_path / "real" / "a" / "b").resolve()


@given(st.text(alphabet=st.sampled_from("ab./\\~:\0 é"), max_size=20))
def test_whatever_is_accepted_lies_inside(name: str) -> None:
    root = Path("/nowhere/root")
    try:
        found = inside(root, name)
    except InvalidInput:
        return
    assert found == root or root in found.parents


def test_a_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "file.json"
    write_atomic(file, b"one")
    write_atomic(file, b"two")
    assert file.read_bytes() == b"two"
    assert [path.name for path in file.parent.iterdir()] == ["file.json"]


def test_a_file_is_the_owner_s_alone_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomic(tmp_path / "mine", b"")
        write_atomic(tmp_path / "ours", b"", mode=0o666)
    finally:
        os.umask(old)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("mine", "ours")] == [0o600, 0o640]


def test_a_file_of_a_person_s_stays_the_group_s_and_a_link_stays_one(tmp_path: Path) -> None:
    shared, link = tmp_path / "shared", tmp_path / "link"
    shared.write_bytes(b"one")
    shared.chmod(0o664)
    link.symlink_to("shared")
    old = os.umask(0o077)
    try:
        rewrite(link, b"two")
        rewrite(tmp_path / "kept", b"one", like=shared)
    finally:
        os.umask(old)
    rewrite(tmp_path / "folder" / "new", b"")
    assert link.is_symlink()
    assert shared.read_bytes() == b"two"
    names = ("shared", "kept", "folder/new", "folder")
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in names] == [0o664, 0o664, 0o644, 0o755]


def test_a_failed_write_keeps_the_old_bytes_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file.json"
    write_atomic(file, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full_disk)
        with pytest.raises(Unavailable, match="No space left") as raised:
            write_atomic(file, b"new")
    assert "free some space" in (raised.value.hint or "")
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def _full_disk(_: int) -> None:
    raise OSError(28, os.strerror(28))


def test_new_folders_are_the_owner_s_alone(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for below in ("file", "file/below"):
        with pytest.raises(Unavailable, match="file"):
            write_atomic(tmp_path / below / "x", b"")
