"""Errors as a person meets them: a sentence, the next command, a documented exit code, never a traceback."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from boucle.app.main import app, run_command
from boucle.kernel.store import Store

PROJECT = """\
project: small
data:
  source: source.py:load
  target: late
  features: {numeric: [temp]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, and the current one."""
    for variable in [name for name in os.environ if name.startswith("BOUCLE_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "boucle.yaml").write_text(PROJECT, encoding="utf-8")
    return tmp_path


def boucle(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The program, as its own process."""
    command = [sys.executable, "-m", "boucle", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_as_a_process_an_error_is_three_lines_on_standard_error(folder: Path) -> None:
    (folder / "boucle.yaml").write_text(PROJECT.replace("target", "taget"), encoding="utf-8")
    done = boucle("check", folder=folder)
    assert done.returncode == 2
    assert done.stdout == ""
    error, hint, explain = done.stderr.splitlines()
    assert error.startswith(
        "error: boucle.yaml:4: data.taget: unknown key; did you mean `target`? allowed here: `source`"
    )
    assert hint == "next: `boucle check --fix` mends it; or edit boucle.yaml, then: boucle check"
    assert explain == "explain: boucle explain invalid_project"


def test_many_mistakes_are_a_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "boucle.yaml").write_text(PROJECT.replace("target", "taget") + "colour: red\n", encoding="utf-8")
    assert run_command(["check"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: boucle.yaml has 2 problems:"
    assert lines[1].startswith("boucle.yaml:4: data.taget:")
    assert lines[2].startswith("boucle.yaml:6: colour:")


def test_with_json_the_error_is_json_on_standard_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "boucle.yaml").write_text(PROJECT + "colour: red\n", encoding="utf-8")
    assert run_command(["check", "--json"]) == 2
    told = capsys.readouterr()
    assert told.err == ""
    error = json.loads(told.out)["error"]
    assert error["code"] == "invalid_project"
    assert error["hint"] == "edit boucle.yaml, then: boucle check"
    (problem,) = error["details"]["problems"]
    assert (problem["file"], problem["line"], problem["path"]) == ("boucle.yaml", 6, "colour")


def test_with_debug_the_traceback_is_shown(folder: Path) -> None:
    (folder / "boucle.yaml").write_text("project: 1\n", encoding="utf-8")
    done = boucle("check", "--debug", folder=folder)
    assert "Traceback" in done.stderr
    assert "ProblemsFound" in done.stderr


COMMANDS = [["check"], ["run"], ["replay"], ["status"], ["report"], ["serve"], ["audit", "verify"], ["models", "list"]]


@pytest.mark.parametrize("words", COMMANDS[:-2], ids=" ".join)
def test_outside_a_project(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(words) == 2
    error = capsys.readouterr().err
    assert f"no boucle.yaml in {tmp_path} or the folders above it" in error
    assert "boucle --project FOLDER check" in error


@pytest.mark.parametrize("words", COMMANDS[3:], ids=" ".join)
def test_before_anything_ran(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(words) == 2
    error = capsys.readouterr().err
    assert "nothing is stored yet" in error
    assert "next: boucle run" in error
    assert not (folder / ".boucle").exists()


WRONG = "mod\udce8le"
"""As Python hands over what a terminal of Latin-1 sends."""


@pytest.mark.parametrize("words", [["models", "history", WRONG], ["lineage", WRONG]], ids=str)
def test_a_word_that_is_not_utf8_is_wrong_input(
    words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store.open(folder / ".boucle").close()
    assert run_command(words) == 2
    error = capsys.readouterr().err
    assert r"'mod\udce8le' is not UTF-8" in error
    assert "damaged" not in error


@pytest.mark.parametrize("words", [["status"], ["gc"], ["backup", "../b.tar"], ["fsck"]], ids=" ".join)
def test_where_the_database_was_lost_every_command_says_restore(
    words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = folder / ".boucle"
    (home / "serving" / "small").mkdir(parents=True)
    (home / "serving" / "small" / "traffic.json").touch()
    assert run_command(words) == 4
    told = "".join(capsys.readouterr())
    assert f"mv '{home}' '{home}.damaged' && boucle restore FILE" in told
    assert not (home / "boucle.db").exists()


def test_the_project_is_found_from_a_folder_inside_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "notes").mkdir()
    monkeypatch.chdir(folder / "notes")
    assert run_command(["status"]) == 2
    assert f"in {folder / '.boucle'}" in capsys.readouterr().err


def test_a_folder_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["check", "--project", str(folder / "gone")]) == 2
    assert f"there is no folder {folder / 'gone'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["chek"], "chek", "boucle --help"),
        (["run", "--forse"], "--forse", "boucle run --help"),
        (["serve", "--port", "70000"], "65535", "boucle serve --help"),
        (["models", "history", "--at", "tomorrow"], "`tomorrow` is no moment", "boucle models history --help"),
        (["--home"], "--home", "boucle --help"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_wrong_words(words: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(words) == 2
    error = capsys.readouterr().err
    assert message.lower() in error.lower()
    assert f"\nnext: {hint}\nexplain: boucle explain " in error


@pytest.mark.usefixtures("folder")
def test_wrong_words_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--forse", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"


def test_a_broken_settings_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "boucle.toml").write_text("[boucle]\nhme = 'x'\n", encoding="utf-8")
    assert run_command(["check"]) == 2
    assert "hme" in capsys.readouterr().err


@pytest.fixture
def broken() -> Iterator[None]:
    """A command with a mistake of ours in it."""

    @app.command("broken")
    def fail() -> None:
        raise RuntimeError("a mistake of ours")

    yield
    app.registered_commands.pop()


@pytest.mark.usefixtures("broken")
def test_an_error_of_ours_has_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["broken"]) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[0] == "error: an error inside Boucle: RuntimeError: a mistake of ours"
    assert "Traceback" not in error
    assert "--debug" in error


@pytest.mark.usefixtures("broken")
def test_an_error_of_ours_with_debug() -> None:
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        run_command(["broken", "--debug"])


STOPS = "import os, signal\n\ndef load():\n    os.kill(os.getpid(), signal.{name})\n    signal.pause()\n"


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_being_stopped_is_one_line(folder: Path, name: str, code: int) -> None:
    (folder / "source.py").write_text(STOPS.format(name=name), encoding="utf-8")
    done = boucle("check", folder=folder)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert ("give the same command again to go on" in done.stderr) == (name == "SIGINT")


def test_a_reader_that_went_away_is_no_error(folder: Path) -> None:
    command = [sys.executable, "-m", "boucle", "schema"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_a_terminal_without_our_signs(folder: Path) -> None:
    environ = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "boucle", "settings"]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert "log_level" in done.stdout


def test_signals_are_left_alone_in_a_caller_s_process() -> None:
    before = signal.getsignal(signal.SIGTERM)
    run_command(["--version"])
    assert signal.getsignal(signal.SIGTERM) is before
