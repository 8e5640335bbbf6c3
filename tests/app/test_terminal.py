"""What commands write to a pipe, to a terminal of any kind, and to one that knows few signs."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow

CHECK = [sys.executable, "-m", "boucle", "check", "--all"]
CODES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, world: Callable[..., Path]) -> Path:
    return world(tmp_path_factory.mktemp("orders"))


def piped(project: Path, environ: Mapping[str, str]) -> tuple[str, bytes]:
    """What went to a pipe: standard error as text, standard output as bytes."""
    done = subprocess.run(CHECK, cwd=project, env={**os.environ, **environ}, capture_output=True, timeout=60)
    assert done.returncode == 0
    return done.stderr.decode(environ.get("PYTHONIOENCODING", "utf-8")), done.stdout


@pytest.mark.parametrize("environ", [{}, {"TERM": "xterm-256color"}, {"LC_ALL": "C"}], ids=str)
def test_a_pipe_gets_plain_lines(environ: dict[str, str], project: Path) -> None:
    told, facts = piped(project, environ)
    assert b"\x1b" not in facts
    assert "\x1b" not in told
    assert "\r" not in told
    lines = told.splitlines()
    assert lines[0] == "… read orders.parquet"
    assert re.fullmatch(r"✓ read orders\.parquet  \d+\.\d s \(4,200 rows, 6 columns\)", lines[1])
    assert re.fullmatch(r"✓ check 1,800 rows  \d+\.\d s \(2 checks passed\)", lines[3])


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_signs_that_are_missing_have_others(encoding: str, project: Path) -> None:
    told, facts = piped(project, {"PYTHONIOENCODING": encoding})
    assert told.startswith("... read orders.parquet\n+ read orders.parquet")
    assert "?" not in told
    assert b" + " in facts
    assert b"?" not in facts


@pytest.mark.parametrize(
    ("environ", "moves", "colours"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"PYTHONIOENCODING": "latin-1"}, True, True),
    ],
    ids=str,
)
def test_a_terminal_gets_what_it_can_show(
    environ: dict[str, str], moves: bool, colours: bool, project: Path, terminals: ModuleType
) -> None:
    with terminals.Terminal(CHECK, project, environ=environ, columns=40) as terminal:
        assert terminal.end() == 0
        text = terminal.text
    codes = set(CODES.findall(text))
    assert ("\x1b[?25l" in codes) == ("\x1b[?25h" in codes) == moves
    assert any(re.fullmatch(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", code) for code in codes) == colours
    if "PYTHONIOENCODING" in environ:
        assert "?" not in CODES.sub("", text)
    if moves:  # who cannot move in lines does not know how long they are
        assert max(map(len, re.split(r"[\r\n]+", CODES.sub("", text)))) <= 40
