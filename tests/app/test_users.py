"""`boucle users` as a person gives it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from boucle.app.main import run_command
from boucle.identity import accounts
from boucle.kernel.store import Store

TOKEN = re.compile(r"boucle_[0-9a-f]{16}_[0-9a-f]{64}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert run_command(["users", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_token_is_printed_once_alone_on_standard_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["users", "add", "ada", "--role", "admin"]) == 0
    shown = capsys.readouterr()
    assert TOKEN.fullmatch(shown.out.strip()), "so that a script can take it"
    assert "only now" in shown.err
    with Store.open(folder / ".boucle") as store:
        assert accounts.person_of(store, shown.out.strip()).name == "person:ada"
    assert run_command(["users", "list"]) == 0
    listed = capsys.readouterr().out
    assert "ada" in listed
    assert shown.out.strip().split("_")[1] in listed
    assert not TOKEN.search(listed)


def test_from_the_first_user_to_the_last(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert folder.exists()
    told(capsys, "add", "ada", "--role", "admin")
    first = told(capsys, "add", "bob", "--role", "author", "--days", "7")
    second = told(capsys, "token", "bob", "--role", "reader")
    assert told(capsys, "role", "bob", "reader")["role"] == "reader"
    told(capsys, "revoke", first["id"])
    users = told(capsys, "list")
    assert [(one["name"], one["role"], [token["id"] for token in one["tokens"]]) for one in users[1:]] == [
        ("bob", "reader", [second["id"]])
    ]
    assert second["token"] not in json.dumps(users)
    told(capsys, "remove", "bob")
    assert [one["name"] for one in told(capsys, "list")] == ["ada"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["add", "ada", "--role", "reader"], 3, "first user must be an admin"),
        (["add", "Ada", "--role", "admin"], 2, "no name of a user"),
        (["add", "ada", "--role", "owner"], 2, "no role"),
        (["add", "ada", "--role", "admin", "--days", "400"], 2, "1 to 366"),
        (["token", "ada"], 2, "no user"),
        (["revoke", "boucle_0011223344556677_" + "5" * 64], 2, "boucle users revoke 0011223344556677"),
        (["remove", "ada"], 2, "boucle users list"),
    ],
)
def test_what_is_not_possible_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    Store.open(folder / ".boucle").close()
    assert run_command(["users", *words]) == code
    shown = " ".join(capsys.readouterr().err.split())
    assert said in shown
    assert "5" * 64 not in shown


def test_asking_makes_no_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["users", "list"]) == 2
    assert "boucle users add NAME --role admin" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_no_other_address_is_listened_on_while_there_are_no_users(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["up", "--host", "0.0.0.0", "--port", "50871"]) == 3
    assert "boucle users add NAME --role admin" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_who_comes_with_a_token_must_be_an_admin(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An author's token in the environment makes nobody a reviewer; the owner of the folder still may, without one."""
    admin = told(capsys, "add", "ada", "--role", "admin")["token"]
    author = told(capsys, "add", "bob", "--role", "author")["token"]
    monkeypatch.setenv("BOUCLE_TOKEN", author)
    assert run_command(["users", "add", "eve", "--role", "reviewer"]) == 3
    assert "person:bob is author, and only admin may administer" in capsys.readouterr().err
    assert run_command(["webhooks", "allow", "hooks.example.org"]) == 3
    monkeypatch.setenv("BOUCLE_TOKEN", admin)
    told(capsys, "add", "eve", "--role", "reviewer")
    monkeypatch.delenv("BOUCLE_TOKEN")
    told(capsys, "add", "tom", "--role", "reader")
    with Store.open(folder / ".boucle") as store:
        assert [one.name for one in accounts.everyone(store)] == ["ada", "bob", "eve", "tom"]
