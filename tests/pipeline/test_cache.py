"""A kept result counts only while it and everything that it names is whole."""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from boucle.kernel.care.layout import kind_of
from boucle.kernel.digests import Digest, digest_bytes
from boucle.kernel.trees import freeze
from boucle.pipeline.cache import Cache
from boucle.pipeline.care import collectable
from boucle.pipeline.records import Ingredients, Manifest


def ingredients() -> Ingredients:
    some = digest_bytes(b"some")
    return Ingredients(step="s", code=some, params=some, environment=some, sources={"a.csv": some})


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def keep(
    cache: Cache, value_json: bytes = b"[1,2]", tree: Digest | None = None, *, used_database: bool = False
) -> Manifest:
    manifest = cache.manifest(ingredients(), value_json, tree, used_database=used_database, seconds=1.5)
    cache.write(manifest)
    return manifest


def file_of(cache: Cache, manifest: Manifest) -> Path:
    return cache.folder / f"{manifest.key}.json"


def test_what_was_kept_is_read(cache: Cache) -> None:
    kept = keep(cache)
    found = cache.read(kept.key, list[int])
    assert found is not None
    assert bytes(found.value) == b"[1,2]"
    assert (found.result, found.ingredients, found.seconds) == (kept.result, kept.ingredients, 1.5)
    assert cache.read(digest_bytes(b"other"), list[int]) is None


def test_a_value_of_another_type_does_not_count(cache: Cache) -> None:
    assert cache.read(keep(cache).key, dict[str, int]) is None


def test_every_cut_of_a_manifest_counts_as_none(cache: Cache) -> None:
    kept = keep(cache)
    file = file_of(cache, kept)
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert cache.read(kept.key, list[int]) is None
    file.write_bytes(whole)
    assert cache.read(kept.key, list[int]) is not None


@pytest.mark.parametrize(
    "edit",
    [
        {"value": [1, 3]},
        {"tree": "0" * 64},
        {"result": "0" * 64},
        {"key": "0" * 64},
        {"format": 2},
        {"blobs": ["../../etc/passwd"]},
        {"blobs": ["0" * 64]},
        {"unknown": 1},
        {"ingredients": {}},
    ],
)
def test_an_edited_manifest_counts_as_none(cache: Cache, edit: dict[str, object]) -> None:
    kept = keep(cache)
    file = file_of(cache, kept)
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **edit}))
    assert cache.read(kept.key, list[int]) is None


def test_bytes_that_are_no_text_count_as_none(cache: Cache) -> None:
    kept = keep(cache)
    file_of(cache, kept).write_bytes(b'{"format":1,"key":"\xff\xfe"}')
    assert cache.read(kept.key, list[int]) is None


def test_a_manifest_under_another_name_counts_as_none(cache: Cache) -> None:
    kept = keep(cache)
    other = digest_bytes(b"other")
    file_of(cache, kept).rename(cache.folder / f"{other}.json")
    assert cache.read(other, list[int]) is None


def test_a_missing_blob_that_the_value_names(cache: Cache) -> None:
    named, unknown = cache.blobs.put(b"table"), digest_bytes(b"never kept")
    kept = keep(cache, json.dumps({"table": named, "note": unknown}).encode())
    assert kept.blobs == [named]
    assert cache.read(kept.key, dict[str, str]) is not None
    cache.blobs.path(named).unlink()
    assert cache.read(kept.key, dict[str, str]) is None


@pytest.mark.parametrize("named", ["tree", "value"])
def test_a_missing_file_of_a_tree(cache: Cache, tmp_path: Path, named: str) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "model").write_bytes(b"model")
    tree = freeze(cache.blobs, folder)
    kept = keep(cache, b"null", tree) if named == "tree" else keep(cache, f'"{tree}"'.encode())
    assert cache.read(kept.key, object) is not None
    cache.blobs.path(digest_bytes(b"model")).unlink()
    assert cache.read(kept.key, object) is None


def test_a_result_that_wrote_to_a_database_that_is_gone(cache: Cache) -> None:
    kept = keep(cache, used_database=True)
    (cache.home / "boucle.db").touch()
    assert cache.read(kept.key, object) is None, "a database that came later is not the one that was written to"
    assert Cache(cache.home).read(kept.key, object) is not None


def test_what_was_kept_is_spared_while_its_process_lives_though_the_clock_jumped_back(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour_later = time.time_ns() + 3600 * 10**9
    with monkeypatch.context() as clock:
        clock.setattr(time, "time_ns", lambda: hour_later)
        began = cache.blobs.presence.begin()
    kept = keep(cache)
    cache.keep_progress(kept.key, [1])
    files = [file_of(cache, kept), cache.folder / "progress" / f"{kept.key}.json"]
    assert [file.stat().st_mtime_ns >= began for file in files] == [True, True]


def test_progress_that_no_run_goes_on_from_may_go(cache: Cache) -> None:
    cache.keep_progress(digest_bytes(b"step"), [1])
    (found,) = collectable(cache.home, 0.0)
    assert found is not None
    assert kind_of(found.path.relative_to(cache.home).as_posix()) is not None
    assert (found.kind, found.path.name) == ("step progress", f"{digest_bytes(b'step')}.json")


def test_progress_may_be_forgotten_by_another_run_at_any_moment(cache: Cache) -> None:
    step, other = digest_bytes(b"step"), Cache(cache.home)
    done = threading.Event()

    def forget() -> None:
        while not done.is_set():
            other.forget_progress(step)

    with ThreadPoolExecutor() as pool:
        forgetting = pool.submit(forget)
        try:
            for trial in range(300):
                cache.keep_progress(step, [trial])
        finally:
            done.set()
        forgetting.result()


def test_only_what_dead_processes_left_is_swept(cache: Cache) -> None:
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    work = cache.folder / "work"
    for name in (f"{child.stdout.decode().strip()}-k", f"{os.getpid()}-k", "notes-k"):
        (work / name).mkdir(parents=True)
    cache.sweep()
    assert {folder.name for folder in work.iterdir()} == {f"{os.getpid()}-k", "notes-k"}


def test_files_are_written_out_to_read_only(cache: Cache) -> None:
    folder = cache.work_folder(digest_bytes(b"key"))
    (folder / "deep").mkdir()
    (folder / "deep" / "a.txt").write_text("a")
    tree = cache.keep_files(folder)
    assert tree is not None
    assert not folder.exists()
    out = cache.folder_of(tree)
    assert cache.folder_of(tree) == out
    assert (out / "deep" / "a.txt").read_text() == "a"
    assert (out / "deep" / "a.txt").stat().st_mode & 0o777 == 0o444


def test_an_empty_folder_is_no_tree(cache: Cache) -> None:
    folder = cache.work_folder(digest_bytes(b"key"))
    (folder / "deep").mkdir()
    assert cache.keep_files(folder) is None
