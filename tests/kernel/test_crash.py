"""A process is killed in the middle of writing; nothing acknowledged may be lost, nothing half may be there."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from boucle.kernel import audit
from boucle.kernel.store import Store

_WRITER = """
import os, sys, threading
from datetime import UTC, datetime
from pathlib import Path
from sqlalchemy import text
from boucle.kernel import audit
from boucle.kernel.store import Store

store = Store.open(Path(sys.argv[1]))
store.write(lambda c: c.execute(text("CREATE TABLE IF NOT EXISTS t (thread INTEGER, number INTEGER, half INTEGER)")))

def work(thread):
    number = 0
    while True:
        def unit(c):
            for half in (0, 1):
                c.execute(text("INSERT INTO t VALUES (:t, :n, :h)"), {"t": thread, "n": number, "h": half})
            audit.append(c, project_id="p", actor="a", action="x", subject=f"{thread}/{number}", details={},
                         at=datetime(2013, 3, 1, tzinfo=UTC))
        store.write(unit)
        os.write(1, f"{thread} {number}\\n".encode())
        number += 1

for thread in range(4):
    threading.Thread(target=work, args=(thread,)).start()
"""


@pytest.mark.slow
@pytest.mark.parametrize("acknowledged", [1, 40, 200])
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, acknowledged: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(acknowledged)]
    os.kill(process.pid, signal.SIGKILL)
    lines += process.stdout.read().splitlines()
    process.stdout.close()
    process.wait()
    told = {tuple(map(int, line.split())) for line in lines}
    with Store.open(tmp_path) as store:
        rows = store.read(lambda connection: connection.execute(text("SELECT thread, number, half FROM t")).all())
        report = audit.verify(store)
    whole = {(thread, number) for thread, number, half in rows if half == 0}
    assert whole == {(thread, number) for thread, number, half in rows if half == 1}
    assert told <= whole
    assert report.problems == []
    assert report.records == len(whole)
    with closing(sqlite3.connect(tmp_path / "boucle.db")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
