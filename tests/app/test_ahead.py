"""Interpreters for workers that begin before they know their task."""

import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from boucle.app.ahead import Interpreter

pytestmark = pytest.mark.slow


def test_one_does_what_it_is_told_later_in_the_surroundings_of_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = Interpreter()
    monkeypatch.setenv("TOLD", "late")
    write = f"import os, pathlib; pathlib.Path({str(tmp_path / 'said')!r}).write_text(os.environ['TOLD'])"
    interpreter.tell(partial(exec, write))
    assert interpreter.process.wait(30) == 0
    assert (tmp_path / "said").read_text() == "late"


def test_one_has_no_threads_to_multiply_matrices_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    interpreter = Interpreter()
    told = "sorted(os.listdir('/proc/self/task')), os.environ.get('OPENBLAS_NUM_THREADS')"
    write = f"import os, pathlib; pathlib.Path({str(tmp_path / 'said')!r}).write_text(repr(({told})))"
    interpreter.tell(partial(exec, write))
    assert interpreter.process.wait(30) == 0
    assert (tmp_path / "said").read_text() == repr(([str(interpreter.process.pid)], None))


def test_a_listener_is_handed_over() -> None:
    interpreter = Interpreter()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        interpreter.tell(os.close, listener)
    assert interpreter.process.wait(30) == 0


def test_one_that_died_before_it_was_told_is_only_seen_by_who_waits_for_it() -> None:
    interpreter = Interpreter()
    interpreter.process.kill()
    assert interpreter.process.wait(30) < 0
    interpreter.tell(os.close)


@pytest.mark.parametrize("end", ["import os; os._exit(7)", "raise SystemExit(7)"])
def test_none_stays_behind_whose_starter_never_told_it_anything(end: str) -> None:
    code = f"from boucle.app import ahead; ahead.begin(); {end}"
    # Whoever still had its output would keep this from returning.
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, told.stderr) == (7, "")


def test_a_command_that_cannot_serve_leaves_none_behind(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("boucle")
    told = subprocess.run(
        [program, "serve", tmp_path / "nothing"], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 2
    assert "is no folder" in told.stderr
