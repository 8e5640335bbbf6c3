"""Help: every command explains itself with an example, and the exit codes are written down."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from boucle.app.main import EXIT_CODES, _alone, app, run_command
from boucle.kernel.errors import BoucleError


def commands() -> Iterator[tuple[str, ...]]:
    """The words of every command."""

    def below(group: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from below(command, (*words, name))
            else:
                yield (*words, name)

    yield from below(typer.main.get_command(app), ())


def test_a_command_that_is_made_alone_is_the_same_as_among_all() -> None:
    def told(program: Any, name: str) -> list[object]:
        command = program.commands[name]
        return [command.help, *((one.name, one.opts, one.default, one.required) for one in command.params)]

    whole: Any = typer.main.get_command(app)
    plain = [name for name, command in whole.commands.items() if not hasattr(command, "commands")]
    for name in plain:
        alone: Any = typer.main.get_command(_alone(name))
        assert list(alone.commands) == [name]
        assert told(alone, name) == told(whole, name)
    assert [one.name for one in alone.params] == [one.name for one in whole.params]
    assert _alone("models") is _alone("modles") is app


def test_the_commands_are_those_of_the_documentation() -> None:
    names = {" ".join(words) for words in commands()}
    assert names == {
        "alerts ack",
        "alerts list",
        "alerts routes",
        "alerts rules test",
        "alerts send",
        "alerts show",
        "alerts silence",
        "alerts silences",
        "alerts unsilence",
        "audit list",
        "audit verify",
        "backup",
        "check",
        "compact",
        "completion",
        "compliance",
        "deploy",
        "doctor",
        "endpoints",
        "explain",
        "export",
        "fsck",
        "gc",
        "init",
        "keys add",
        "keys list",
        "keys open",
        "keys remove",
        "labels",
        "lineage",
        "loop explain",
        "loop retrain",
        "loop run",
        "loop simulate",
        "models approve",
        "models evidence",
        "models history",
        "models list",
        "models policy approve",
        "models policy reject",
        "models policy remove",
        "models policy set",
        "models policy show",
        "models promote",
        "models reject",
        "models show",
        "models waive",
        "monitor",
        "package",
        "pins add",
        "pins list",
        "pins remove",
        "predict",
        "profile",
        "drift",
        "projects",
        "replay",
        "report",
        "restore",
        "rollback",
        "run",
        "schema",
        "serve",
        "settings",
        "sign",
        "slo",
        "status",
        "sync",
        "up",
        "users add",
        "users list",
        "users remove",
        "users revoke",
        "users role",
        "users token",
        "verify",
        "webhooks allow",
        "webhooks forbid",
        "webhooks hosts",
        "webhooks list",
    }


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_has_an_example(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example:\n" in text
    assert f"  boucle {' '.join(words)}" in text


SERVERS = {("serve",), ("up",), ("monitor",), ("loop", "run")}
WRITES_FILES = {("export",)}
"""What they write has a form of its own."""


@pytest.mark.parametrize("words", [words for words in commands() if words not in SERVERS | WRITES_FILES], ids=" ".join)
def test_every_command_that_tells_facts_has_json(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*words, "-h"]) == 0
    assert "--json" in capsys.readouterr().out


def test_the_exit_codes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--help"]) == 0
    text = capsys.readouterr().out
    for code, meaning in EXIT_CODES.items():
        assert f"{code:>3}  {meaning}" in text


def test_every_error_ends_with_a_code_that_is_told() -> None:
    kinds = [BoucleError, *BoucleError.__subclasses__()]
    assert {kind.exit_code for kind in kinds} <= set(EXIT_CODES)


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out == "boucle 0.1.0\n"
