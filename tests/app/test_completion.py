"""Completion: what it offers, how fast, and in the real shells."""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from boucle.app.completion import VALUES, complete
from boucle.app.main import app, run_command
from boucle.kernel.settings import KNOWN

PROGRAM = Path(sys.executable).parent


def offered(line: str) -> list[str]:
    """What stands for the last word of a line; a blank at its end begins a new word."""
    return [value for value, _ in complete(typer.main.get_command(app), line.split(" "))]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("che", ["check"]),
        ("aud", ["audit"]),
        ("models hi", ["history"]),
        ("run --fo", ["--force"]),
        ("run --col", ["--color"]),
        ("run --color ", ["auto", "always", "never"]),
        ("run --color a", ["auto", "always"]),
        ("run --color=n", ["--color=never"]),
        ("run --color = n", ["never"]),
        ("run --color =", ["auto", "always", "never"]),
        ("--color never --home x --debug ru", ["run"]),
        ("serve --port 8081 --ho", ["--host", "--home"]),
        ("models history --alias ", ["champion"]),
        ("explain port", ["port_in_use"]),
        ("explain 13", ["130"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("check --project ", [":folders"]),
        ("report --html ", [":files"]),
        ("nonsense ", []),
        ("run ", []),
    ],
)
def test_what_is_offered(line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_every_command_and_every_option_is_offered() -> None:
    program = typer.main.get_command(app)
    assert set(offered("")) == set(program.commands)  # type: ignore[attr-defined]
    for name, command in program.commands.items():  # type: ignore[attr-defined]
        if not hasattr(command, "commands"):
            mine = {one for parameter in command.params for one in parameter.opts if one.startswith("--")}
            assert mine | {"--home", "--help"} <= set(offered(f"{name} --"))


def test_values_are_those_that_are_allowed() -> None:
    for known in KNOWN:
        if known.name in VALUES:
            assert ", ".join(VALUES[known.name]) == known.allowed


def test_it_is_fast_and_loads_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "boucle", "explain", ""]
    environ = {**os.environ, "_BOUCLE_COMPLETE": "bash"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert "port_in_use\ta port cannot be listened on\n" in done.stdout
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not loaded & {"rich", "polars", "numpy", "sqlalchemy", "sklearn", "msgspec", "granian", "ruamel"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(5):
        subprocess.run([sys.executable, "-m", "boucle", "run", "--"], env=environ, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Computing time: the clock on the wall also measures whatever else the machine does.
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 5 * 0.2


def test_the_script_of_this_shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert run_command(["completion"]) == 0
    assert capsys.readouterr().out.startswith("#compdef boucle")
    assert run_command(["completion", "csh"]) == 2
    assert "'csh' cannot be completed; allowed are bash, zsh, fish" in capsys.readouterr().err


def test_installing_twice_is_installing_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".bashrc").write_text("alias ll='ls -l'")
    for _ in range(2):
        assert run_command(["completion", "bash", "--install"]) == 0
    assert f"wrote {tmp_path}/.bashrc" in capsys.readouterr().out
    script = tmp_path / ".local/share/boucle/completion.bash"
    assert (tmp_path / ".bashrc").read_text() == f"alias ll='ls -l'\n[ -f '{script}' ] && . '{script}'\n"


CLEAR = "\x15"
"""The key that empties the line, Ctrl-U."""
SHELLS = {
    "bash": ["bash", "--noprofile", "-i"],
    "zsh": ["zsh", "-i"],
    "fish": ["fish", "-i"],
}


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_in_the_real_shell(shell: str, terminals: ModuleType, tmp_path: Path) -> None:
    """Installed as a person does it; then keys are pressed and the screen is read."""
    (tmp_path / "folder-with-data").mkdir()
    environ = {"HOME": str(tmp_path), "PATH": f"{PROGRAM}:{os.environ['PATH']}", "INPUTRC": "/dev/null"}
    environ |= {"ZDOTDIR": str(tmp_path), "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": ""}
    install = [sys.executable, "-m", "boucle", "completion", shell, "--install"]
    subprocess.run(install, env={**os.environ, **environ}, check=True, capture_output=True)
    start = tmp_path / (".bashrc" if shell == "bash" else ".zshrc")
    if shell != "fish":
        start.write_text("PS1='ready> '\n" + start.read_text())
    else:
        (tmp_path / ".config/fish/config.fish").write_text("function fish_prompt; echo 'ready> '; end\n")
    with terminals.Terminal(SHELLS[shell], tmp_path, environ=environ, columns=120) as terminal:
        terminal.wait_for("ready> ")
        for keys, expected in [
            ("boucle repl\t", "boucle replay "),
            ("--col\t", "--color "),
            ("alw\t", "always"),
        ]:
            terminal.press(keys)
            shown(terminal, expected)
        terminal.press(CLEAR)
        terminal.press("boucle explain port_\t")
        shown(terminal, "port_in_use")
        terminal.press(CLEAR)
        terminal.press("boucle check --project folder-\t")
        shown(terminal, "folder-with-data")
        terminal.press(CLEAR)
        terminal.press("boucle run --color=alw\t")
        shown(terminal, "--color=always")
        terminal.press(CLEAR)
        terminal.press("exit\n")


def shown(terminal: Any, expected: str) -> None:
    """Wait until the screen shows the text, whatever codes a shell writes between its letters."""
    assert expected in plain(terminal.wait_for(lambda text: expected in plain(text))), plain(terminal.text)


def plain(text: str) -> str:
    """A terminal's text without its control codes."""
    return re.sub(
        r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\^_=>()].?)|[\r\x07\x08\x0e\x0f]", "", text
    )
