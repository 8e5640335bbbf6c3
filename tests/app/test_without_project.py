"""A store without a boucle.yaml around it, as `boucle up` makes one: every command that cares for a store works."""

import json
from pathlib import Path

import pytest

from boucle.app.main import run_command
from boucle.identity.accounts import add
from boucle.kernel.digests import Digest
from boucle.kernel.store import Store

CARE = [["audit", "verify"], ["gc"], ["gc", "--delete", "--grace", "0"], ["fsck"], ["pins", "list"], ["users", "list"]]
CARE += [["webhooks", "hosts"], ["webhooks", "list"], ["models", "list"], ["backup", "../b.tar"]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the commands run."""
    made = tmp_path / "empty"
    made.mkdir()
    monkeypatch.chdir(made)
    monkeypatch.delenv("BOUCLE_HOME", raising=False)
    return made


def filled(home: Path) -> Digest:
    """A store with a record in its audit log and a blob; the blob's digest."""
    with Store.open(home) as store:
        add(store, "ada", role="admin", days=30, actor="person:test")
        return store.blobs.put(b"kept")


@pytest.mark.parametrize("words", CARE, ids=" ".join)
@pytest.mark.parametrize("named", ["here", "option", "environment"])
def test_they_work_in_any_folder(
    words: list[str], named: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = folder / ".boucle" if named == "here" else tmp_path / "elsewhere"
    filled(home)
    if named == "environment":
        monkeypatch.setenv("BOUCLE_HOME", str(home))
    assert run_command([*words, *(["--home", str(home)] if named == "option" else [])]) == 0
    assert list(folder.iterdir()) == ([home] if named == "here" else [])


@pytest.mark.parametrize("words", [*CARE, ["pins", "add", "abcd", "--reason", "x"]], ids=" ".join)
def test_asking_makes_nothing(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(words) == 2
    error = capsys.readouterr().err
    assert "nothing is stored yet" in error
    assert "next: boucle up" in error or "next: boucle users add" in error
    assert list(folder.iterdir()) == []
    assert not (folder.parent / "b.tar").exists()


def test_a_backup_comes_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(folder / ".boucle")
    assert run_command(["backup", "../b.tar"]) == 0
    assert run_command(["restore", "../b.tar", "--home", "../back"]) == 0
    capsys.readouterr()
    assert run_command(["audit", "verify", "--home", "../back", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []


def test_a_pin_belongs_to_a_project(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = filled(folder / ".boucle")
    assert run_command(["pins", "add", digest[:12], "--reason", "seen", "--in", "churn"]) == 0
    capsys.readouterr()
    for words, count in ((["--in", "churn"], 1), ([], 0)):
        assert run_command(["pins", "list", "--json", *words]) == 0
        assert len(json.loads(capsys.readouterr().out)) == count
    assert run_command(["gc", "--delete", "--grace", "0"]) == 0
    assert run_command(["gc", "--deleted-days", "1000000"]) == 2
    with Store.open(folder / ".boucle") as store:
        assert store.blobs.get(digest) == b"kept"
    assert run_command(["pins", "remove", digest[:12], "--in", "churn"]) == 0


def test_a_folder_that_was_named_must_have_a_project(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(folder / ".boucle")
    assert run_command(["fsck", "--project", str(folder)]) == 2
    assert "no boucle.yaml" in capsys.readouterr().err
