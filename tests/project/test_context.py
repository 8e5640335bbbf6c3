"""A project is found from anywhere inside its folder, and its store is opened only when it is needed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from boucle.kernel.errors import InvalidInput, NotFound
from boucle.project.context import open_context
from boucle.project.folder import find_folder
from boucle.project.records import Project, beyond_defaults

TEXT = "project: small\ndata: {source: t.csv, target: y, features: {numeric: [x]}}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("BOUCLE_HOME", raising=False)
    (tmp_path / "boucle.yaml").write_text(TEXT, encoding="utf-8")
    return tmp_path


def test_a_parent_s_file_counts(folder: Path) -> None:
    inside = folder / "notes" / "deep"
    inside.mkdir(parents=True)
    assert find_folder(inside) == folder


def test_the_file_itself_may_be_named(folder: Path) -> None:
    assert find_folder(folder / "boucle.yaml") == folder


def test_the_current_folder_is_the_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert open_context().folder == folder


def test_without_a_file_the_error_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no boucle\.yaml in") as caught:
        open_context(tmp_path)
    assert str(caught.value.hint).startswith("go to the folder that has one")


def test_a_wrong_file_is_refused(folder: Path) -> None:
    (folder / "boucle.yaml").write_text("project: 1\n", encoding="utf-8")
    with pytest.raises(InvalidInput):
        open_context(folder)


def test_opening_a_project_makes_no_store(folder: Path) -> None:
    with open_context(folder) as context:
        assert context.project.project == "small"
        assert context.home == folder / ".boucle"
    assert not context.home.exists()


def test_the_home_is_a_setting_that_an_argument_goes_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "boucle.toml").write_text("[boucle]\nhome = 'kept'\n", encoding="utf-8")
    assert open_context(folder).home == folder / "kept"
    monkeypatch.setenv("BOUCLE_HOME", str(folder / "elsewhere"))
    assert open_context(folder).home == folder / "elsewhere"
    assert open_context(folder, folder / "argument").home == folder / "argument"


def test_many_threads_open_one_store(folder: Path) -> None:
    with open_context(folder) as context, ThreadPoolExecutor(8) as threads:
        stores = list(threads.map(lambda _: context.store(), range(16)))
        assert all(store is stores[0] for store in stores)


def test_after_closing_the_store_opens_again(folder: Path) -> None:
    context = open_context(folder)
    first = context.store()
    context.close()
    context.close()
    with context:
        assert context.store() is not first


def test_what_a_project_says_does_not_change_with_keys_that_it_leaves_alone() -> None:
    written = {
        "project": "sweets",
        "data": {
            "source": "t.csv",
            "target": "y",
            "features": {"numeric": ["a"]},
            "checks": [{"check": "null_rate", "column": "a", "at_most": 0.5}],
        },
        "training": {"until": "2013-03-01", "params": {"max_iter": 9}},
        "replay": {
            "first": "2013-03-01",
            "last": "2013-03-02",
            "drills": [{"drill": "shuffled_labels", "on": "2013-03-02"}],
        },
    }
    project = msgspec.convert(written, Project)
    assert beyond_defaults(project) == written
