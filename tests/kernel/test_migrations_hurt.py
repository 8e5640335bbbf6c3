"""Migrations by several starters at once, killed in each statement, half-way and from a newer Boucle."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import typer

from boucle.app.main import app, run_command
from boucle.kernel import audit
from boucle.kernel.schema import REVISIONS, is_current, version_of
from boucle.kernel.store import Store

GOLDEN = Path(__file__).parents[1] / "golden"
OLDEST = GOLDEN / f"home-{REVISIONS[0]}.tar.xz"

_OPEN = """
import sys
from pathlib import Path
from boucle.kernel.store import Store
sys.stdin.read()
with Store.open(Path(sys.argv[1])) as store:
    print(store.read(lambda c: c.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()))
"""

_DIE = """
import json, os, signal, sqlite3, sys
from pathlib import Path
import boucle.kernel.migrations.runner as runner
from boucle.kernel.store import Store

connect = sqlite3.connect

def watch(statement):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def watched(*args, **rest):
    raw = connect(*args, **rest)
    raw.set_trace_callback(watch)
    return raw

sqlite3.connect = watched
for line in sys.stdin:
    left, home = json.loads(line)
    child = os.fork()
    if not child:
        Store.open(Path(home)).close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""
"""Opens the stores it is told of, each in a process that is killed before its n-th statement."""


def older(folder: Path) -> Path:
    """A home of the oldest schema, with records in it."""
    with tarfile.open(OLDEST) as tar:
        tar.extractall(folder, filter="tar")
    assert version_of(folder / ".boucle" / "boucle.db") == REVISIONS[0]
    return folder / ".boucle"


def whole(home: Path, *, records: int) -> None:
    with Store.open(home) as store:
        report = audit.verify(store)
    assert (report.records, report.problems) == (records, [])
    assert is_current(home / "boucle.db")
    with closing(sqlite3.connect(home / "boucle.db")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert raw.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)


@pytest.mark.slow
@pytest.mark.parametrize("existing", [False, True], ids=["missing", "older"])
@pytest.mark.parametrize("starters", [2, pytest.param(8, marks=pytest.mark.long)])
def test_starters_at_once_all_find_the_newest_schema(tmp_path: Path, existing: bool, starters: int) -> None:
    home = older(tmp_path) if existing else tmp_path / "home"
    command = [sys.executable, "-c", _OPEN, str(home)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(starters)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()  # now
        process.stdin = None
    told = [process.communicate(timeout=120) for process in processes]
    assert told == [(f"{REVISIONS[-1]}\n", "")] * starters
    whole(home, records=15 if existing else 0)


def kill_in_each_statement(folder: Path, *, existing: bool, step: int) -> int:
    """Open a store with the process killed before its n-th statement, for every n; how many kills that took."""
    command = [sys.executable, "-c", _DIE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as dying:
        assert dying.stdin
        assert dying.stdout
        for number in count(step, step):
            place = folder / str(number)
            place.mkdir()
            home = older(place) if existing else place / "home"
            dying.stdin.write(json.dumps([number, str(home)]) + "\n")
            dying.stdin.flush()
            status = int(dying.stdout.readline())
            if (home / "boucle.db").exists():
                assert version_of(home / "boucle.db") in (None, REVISIONS[0], REVISIONS[-1])
            whole(home, records=15 if existing else 0)
            if status == 0:
                break
            assert status == -signal.SIGKILL
            shutil.rmtree(place)
    return number // step - 1


@pytest.mark.slow
def test_a_migration_that_is_killed_is_finished_by_the_next_opener(tmp_path: Path) -> None:
    assert kill_in_each_statement(tmp_path, existing=True, step=5) > 2


@pytest.mark.long
@pytest.mark.parametrize("existing", [False, True], ids=["missing", "older"])
def test_a_migration_may_be_killed_in_each_statement(tmp_path: Path, existing: bool) -> None:
    assert kill_in_each_statement(tmp_path, existing=existing, step=1) > 15


WITHOUT_A_STORE = {
    *(
        "init",
        "check",
        "restore",
        "schema",
        "settings",
        "completion",
        "doctor",
        "drift",
        "endpoints",
        "explain",
        "export",
        "profile",
        "slo",
        "sync",
    ),
    *("sign", "verify"),
}
"""Commands that open no store, or look at it themselves: each has tests of its own."""
NEEDED = {
    "alerts ack": ["1"],
    "alerts send": ["--once"],
    "alerts show": ["1"],
    "alerts silence": ["--kind", "drift", "--for", "1h", "--why", "w"],
    "alerts unsilence": ["1"],
    "backup": ["backup.tar"],
    "fsck": ["--repair"],
    "labels": ["arrived.csv"],
    "lineage": ["flights/1"],
    "loop simulate": ["--set", "loop.retrain.cooldown_days=5"],
    "models show": ["flights", "1"],
    "models evidence": ["flights/1"],
    "models promote": ["flights", "1"],
    "models approve": ["flights", "1"],
    "models reject": ["flights", "1"],
    "models waive": ["flights", "1", "parity", "--reason", "r"],
    **{f"models policy {verb}": ["flights"] for verb in ("show", "set", "remove", "approve", "reject")},
    "pins add": ["abcd", "--reason", "r"],
    "pins remove": ["abcd"],
    "deploy": ["1", "--to", "flights"],
    "rollback": ["flights"],
    "keys add": ["flights", "app"],
    "keys list": ["flights"],
    "keys open": ["flights"],
    "keys remove": ["flights", "app"],
    "predict": ["table.csv"],
    "package": ["--wheel", "dist"],
    "users add": ["ada", "--role", "admin"],
    "users token": ["ada"],
    "users role": ["ada", "reader"],
    "users revoke": ["0011223344556677"],
    "users remove": ["ada"],
    "webhooks allow": ["hooks.example"],
    "webhooks forbid": ["hooks.example"],
}
"""What else must be given to a command."""


def commands(group: Any, before: str = "") -> Iterator[str]:
    """Every command of the program."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(set(commands(typer.main.get_command(app))) - WITHOUT_A_STORE))
def test_every_command_refuses_a_newer_store_and_leaves_it_alone(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    home = older(tmp_path)
    with closing(sqlite3.connect(home / "boucle.db")) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    before = contents(home)
    assert run_command([*command.split(), *NEEDED.get(command, [])]) == 2
    said = capsys.readouterr().err
    assert "9999" in said
    assert "pip install --upgrade boucle" in said
    assert contents(home) == before
    assert not (tmp_path / "backup.tar").exists()


def contents(home: Path) -> dict[str, bytes]:
    """Every file that holds something; locks and SQLite's own empty files do not."""
    files = (path for path in home.rglob("*") if path.is_file())
    return {
        str(path.relative_to(home)): data
        for path in files
        if ".lock" not in path.name and (data := path.read_bytes()) and not path.name.endswith("-shm")
    }
