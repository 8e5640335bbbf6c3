"""`boucle doctor`: true facts, and for each that fails the command that mends it."""

import json
import os
import resource
import socket
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from boucle.app import environment, health
from boucle.app.main import run_command
from boucle.kernel import audit
from boucle.kernel.clock import FixedClock
from boucle.kernel.store import Store

PROJECT = """\
project: small
data: {source: table.csv, target: late, features: {numeric: [temp]}}
serving: {port: PORT}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "boucle.yaml").write_text(PROJECT.replace("PORT", str(free_port)), encoding="utf-8")
    return tmp_path


def facts(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    assert run_command(["doctor", "--json", *words]) == code
    told = json.loads(capsys.readouterr().out)
    assert told["passed"] == (code == 0)
    return {one["name"]: one for one in told["facts"]}


def write_record(home: Path, at: datetime) -> None:
    with Store.open(home, clock=FixedClock(at)) as store:
        store.write(
            lambda conn: audit.append(
                conn, project_id="small", actor="me", action="test", subject="s", details={}, at=store.clock.now()
            )
        )


def test_of_a_new_project(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = facts(capsys)
    assert found["SQLite"]["value"] == sqlite3.sqlite_version
    assert found["boucle.yaml"]["value"] == f"small in {folder}"
    assert found["store"]["value"] == f"nothing is stored yet in {folder}/.boucle"
    assert found["polars"]["passed"]
    assert not (folder / ".boucle").exists()


def test_outside_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    found = facts(capsys)
    assert "store" not in found
    assert {"Boucle", "Python", "SQLite", "git", "free disk", "open files", "cores", "memory", "clock"} <= set(found)
    assert run_command(["doctor", "--project", str(tmp_path)]) == 2


@pytest.mark.usefixtures("folder")
def test_the_table_has_marks_and_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    assert run_command(["doctor"]) == 5
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "✗ open files 64 ulimit -n 4096" in lines
    assert "· git missing without it runs do not note the code's version: apt install git" in lines


@pytest.mark.usefixtures("folder")
def test_a_port_that_is_taken(free_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert facts(capsys)["port"]["value"] == f"127.0.0.1:{free_port} is free"
    with socket.create_server(("127.0.0.1", free_port)):
        taken = facts(capsys)["port"]
    assert (taken["passed"], taken["needed"]) == (False, False)
    assert "Address already in use" in taken["value"]
    assert "boucle serve --port" in taken["message"]


def test_secrets_of_routes_that_are_not_set(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with (folder / "boucle.yaml").open("a", encoding="utf-8") as file:
        file.write("alerts: {routes: [{to: webhook, name: pager, url_env: PAGER_URL, secret_env: PAGER_SECRET}]}\n")
    monkeypatch.delenv("PAGER_URL", raising=False)
    monkeypatch.setenv("PAGER_SECRET", "hunter2")
    assert run_command(["doctor", "--json"]) == 0
    said = capsys.readouterr().out
    found = [one for one in json.loads(said)["facts"] if one["name"] == "route pager"]
    assert [(one["value"], one["passed"]) for one in found] == [
        ("PAGER_URL is not set here", False),
        ("PAGER_SECRET is set", True),
    ]
    assert found[0]["message"] == "set PAGER_URL where `boucle monitor` or `boucle up` is started"
    assert "hunter2" not in said


def test_a_project_file_with_a_mistake(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "boucle.yaml").write_text("project: 1\n", encoding="utf-8")
    assert facts(capsys, code=5)["boucle.yaml"]["message"] == "boucle check"


def test_a_store_that_is_fine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(folder / ".boucle", datetime.now(UTC))
    found = facts(capsys)
    assert found["store"]["value"].startswith("schema 0")
    assert found["home's mode"]["value"] == "700"


def test_a_clock_behind_the_audit_log(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(folder / ".boucle", datetime.now(UTC) + timedelta(hours=2))
    assert "behind the newest audit record" in facts(capsys, code=5)["newest audit record"]["message"]


def test_a_clock_behind_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(folder / ".boucle", datetime.now(UTC))
    later = datetime.now(UTC).timestamp() + 7200
    os.utime(folder / ".boucle" / "boucle.db", (later, later))
    assert "behind a file" in facts(capsys, code=5)["clock"]["message"]


def test_a_newer_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(folder / ".boucle", datetime.now(UTC))
    with sqlite3.connect(folder / ".boucle" / "boucle.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "pip install --upgrade boucle" in facts(capsys, code=5)["store"]["message"]


def test_a_home_that_others_can_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(folder / ".boucle", datetime.now(UTC))
    (folder / ".boucle").chmod(0o755)
    assert facts(capsys, code=5)["home's mode"]["message"] == f"others may look in: chmod 700 '{folder}/.boucle'"


def test_a_file_of_somebody_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(folder / ".boucle", datetime.now(UTC))
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "chown -R" in facts(capsys, code=5)["home"]["message"]


def test_a_home_that_is_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").write_text("")
    assert "is no folder" in facts(capsys, "--home", "file", code=5)["home"]["value"]


def test_what_an_extra_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    class About:
        def get_all(self, _: str) -> list[str]:
            return ["ray", "none"]

    needs = ["polars>=1", "ray[tune]>=2; extra == 'ray'", 'numpy>=1 ; python_version > "3" and extra == "ray"']
    monkeypatch.setattr(environment.metadata, "metadata", lambda _: About())
    monkeypatch.setattr(environment.metadata, "requires", lambda _: needs)
    nothing, ray = environment.extras()
    assert (nothing.name, nothing.passed) == ("extra none", True)
    assert (ray.value, ray.passed, ray.needed) == ("missing: ray", False, False)
    assert ray.message == 'to use it: pip install "boucle[ray]"'


def test_an_impossible_home_says_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match="no folder can be made there") as told:
        Store.open(Path("/proc/boucle"))
    assert "--home DIR" in str(getattr(told.value, "hint", ""))
    assert not health.examine_store(Path("/proc/boucle/deep"))[0].message
    assert facts(capsys, "--home", "/proc/boucle", code=5)["free disk"]["passed"] is False
    assert folder.is_dir()
