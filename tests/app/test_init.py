"""`boucle init` as a person gives it: what it writes, what it refuses, what it leaves alone."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from boucle.app.main import run_command
from boucle.project.yaml_file import read_project

N = 240


def orders(folder: Path, name: str = "orders.csv", **options: Any) -> Path:
    """A small table whose `returned` depends on its price."""
    random = np.random.default_rng(2)
    price = random.normal(50, 10, N).round(2)
    returned = np.where(price + random.normal(0, 5, N) > 50, "yes", "no")
    table = pl.DataFrame({"id": [f"o{row}" for row in range(N)], "price": price, "returned": returned})
    folder.mkdir(exist_ok=True)
    table.write_csv(folder / name, **options)
    return folder / name


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def init(folder: Path, *words: str) -> int:
    return run_command(["--project", str(folder), "init", *words])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after `boucle init --yes`; only to be looked at."""
    folder = tmp_path_factory.mktemp("written")
    orders(folder)
    assert init(folder, "--yes", "--target", "returned") == 0
    return folder


def test_a_project_is_written(written: Path) -> None:
    assert names(written) == [".gitignore", "boucle.yaml", "needs.yaml", "orders.csv"]
    project = read_project(written / "boucle.yaml")
    assert (project.project, project.data.target, project.data.key) == ("orders", "returned", "id")
    assert (written / ".gitignore").read_text(encoding="utf-8") == ".boucle/\n"


def test_the_needs_answer_again(written: Path, tmp_path: Path) -> None:
    """needs.yaml is a file of answers: the project that it makes is the same, byte for byte."""
    orders(tmp_path)
    assert init(tmp_path, "--answers", str(written / "needs.yaml")) == 0
    for name in ("boucle.yaml", "needs.yaml"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_what_is_told_says_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    orders(tmp_path)
    assert init(tmp_path, "--yes", "--target", "returned") == 0
    told = capsys.readouterr().out
    assert f"next: boucle run --project {tmp_path}" in told
    assert "what is predicted" in told


def test_facts_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    orders(tmp_path)
    assert init(tmp_path, "--yes", "--target", "returned", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["needs"]["target"] == "returned"
    assert {one["column"]["name"]: one["role"] for one in told["columns"]} == {
        "id": "key",
        "price": "numeric",
        "returned": "target",
    }


def test_a_target_that_cannot_be_guessed_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    orders(tmp_path)
    assert init(tmp_path, "--yes") == 2
    error = capsys.readouterr().err
    assert "`returned`, `price`" in error
    assert f"next: boucle --project {tmp_path} init --yes --target returned" in error
    assert names(tmp_path) == ["orders.csv"]


def test_the_next_command_is_the_given_one_with_a_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = orders(tmp_path, "the orders.csv")
    table = pl.read_csv(path).rename({"returned": "sent back"})
    table.write_csv(path)
    assert init(tmp_path, str(path), "--yes", "--name", "shop") == 2
    error = "".join(capsys.readouterr().err.split())
    asked = f"boucle --project {tmp_path} init '{path}' --name shop --yes --target 'sent back'"
    assert asked.replace(" ", "") in error


def test_a_file_that_cannot_be_read_is_given_to_init_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.py").write_text("def load():\n    raise ValueError\n", encoding="utf-8")
    assert init(tmp_path, f"{tmp_path}/own.py:load", "--yes") != 0
    error = capsys.readouterr().err
    assert "boucle check" not in error
    assert "init" in error


@pytest.mark.parametrize("name", ["~t.csv", "~t.tsv"])
def test_a_table_that_is_called_like_a_home_gets_another_name(tmp_path: Path, name: str) -> None:
    orders(tmp_path, name, separator="\t" if name.endswith("tsv") else ",")
    assert init(tmp_path, str(tmp_path / name), "--yes", "--target", "returned") == 0
    assert read_project(tmp_path / "boucle.yaml").data.source == "table.csv"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,target\n", "has 0 rows and 2 columns"),
        ("target\n1\n2\n", "has 2 rows and 1 columns"),
        ("a,target\n1,1\n2,0\n3,1\n4,0\n5,1\n", "only 5 rows have a `target`"),
    ],
)
def test_a_table_with_too_little_is_refused(
    tmp_path: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "few.csv").write_text(text, encoding="utf-8")
    assert init(tmp_path, "--yes") == 2
    error = capsys.readouterr().err
    assert words in error
    assert "nan" not in error
    assert names(tmp_path) == ["few.csv"]


def test_nobody_to_ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    orders(tmp_path)
    assert init(tmp_path) == 2
    assert "--yes" in capsys.readouterr().err


@pytest.mark.parametrize(("tables", "words"), [((), "no .csv or .parquet"), (("a.csv", "b.csv"), "2 tables: a.csv")])
def test_one_table_is_needed(
    tmp_path: Path, tables: Sequence[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in tables:
        orders(tmp_path, name)
    assert init(tmp_path, "--yes") == 2
    error = capsys.readouterr().err
    assert words in error
    assert "next: " in error
    assert "boucle init " in error


def test_an_existing_project_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    orders(tmp_path)
    (tmp_path / "boucle.yaml").write_text("mine\n", encoding="utf-8")
    (tmp_path / "boucle.yaml").chmod(0o664)
    (tmp_path / "ignored").touch()
    (tmp_path / ".gitignore").symlink_to("ignored")
    assert init(tmp_path, "--yes", "--target", "returned") == 2
    assert "--force" in capsys.readouterr().err
    assert init(tmp_path, "--yes", "--target", "returned", "--force") == 0
    assert (tmp_path / "boucle.yaml.bak").read_text(encoding="utf-8") == "mine\n"
    assert init(tmp_path, "--yes", "--target", "price", "--force") == 0
    assert (tmp_path / "boucle.yaml.bak").read_text(encoding="utf-8") == "mine\n"
    assert "returned" in (tmp_path / "boucle.yaml.bak2").read_text(encoding="utf-8")
    shared = ("boucle.yaml", "boucle.yaml.bak", "boucle.yaml.bak2")
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in shared} == {0o664}
    assert (tmp_path / ".gitignore").is_symlink()
    assert (tmp_path / "ignored").read_text(encoding="utf-8") == ".boucle/\n"


def test_a_table_from_elsewhere_is_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = orders(tmp_path / "downloads", "Orders.TSV", separator="\t")
    folder = tmp_path / "shop"
    assert init(folder, str(table), "--yes", "--target", "returned", "--name", "returns") == 0
    assert "a copy of" in capsys.readouterr().out
    project = read_project(folder / "boucle.yaml")
    assert (project.project, project.data.source) == ("returns", "Orders.csv")
    assert (folder / "Orders.csv").read_bytes() == table.read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    (other / "Orders.csv").write_text("something else", encoding="utf-8")
    assert init(other, str(table), "--yes", "--target", "returned") == 2
    assert "holds something else" in capsys.readouterr().err
    assert names(other) == ["Orders.csv"]


def test_rows_without_a_target_are_left_out_by_a_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = orders(tmp_path, separator=";")
    table.write_text(re.sub(r"(o\d*7;.*);(yes|no)", r"\1;", table.read_text(encoding="utf-8")), encoding="utf-8")
    (tmp_path / "source.py").write_text("mine = 1\n", encoding="utf-8")
    assert init(tmp_path, "--yes", "--target", "returned") == 0
    assert "rows have no `returned`" in capsys.readouterr().out
    project = read_project(tmp_path / "boucle.yaml")
    assert (project.data.source, project.data.csv) == ("source2.py:load", None)
    assert (tmp_path / "source.py").read_text(encoding="utf-8") == "mine = 1\n"
    assert run_command(["--project", str(tmp_path), "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["rows"] == N - N // 10


def test_a_time_in_another_form_is_read_by_a_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """800 different days are no key: they become the event time, and the replay that is proposed can be uncommented."""
    table = pl.read_csv(orders(tmp_path))
    days = pl.date_range(date(2023, 1, 1), date(2023, 1, 1) + timedelta(days=N - 1), eager=True)
    table.with_columns(ordered=days.dt.strftime("%m/%d/%Y")).write_csv(tmp_path / "orders.csv")
    assert init(tmp_path, "--yes", "--target", "returned") == 0
    assert "written as MM/DD/YYYY" in " ".join(capsys.readouterr().out.split())
    path = tmp_path / "boucle.yaml"
    project = read_project(path)
    assert (project.data.source, project.data.time, project.data.key) == ("source.py:load", "ordered", "id")
    path.write_text(re.sub(r"# (replay:|until:|  first:|  last:)", r"\1", path.read_text(encoding="utf-8")), "utf-8")
    project = read_project(path)
    assert project.replay is not None
    assert project.replay.first == project.training.until == date(2023, 6, 17)
    assert run_command(["--project", str(tmp_path), "check"]) == 0


def test_a_python_source(tmp_path: Path) -> None:
    orders(tmp_path)
    text = 'import polars\n\n\ndef load():\n    return polars.read_csv(__file__.replace("own.py", "orders.csv"))\n'
    (tmp_path / "own.py").write_text(text, encoding="utf-8")
    assert init(tmp_path, f"{tmp_path}/own.py:load", "--yes", "--target", "returned") == 0
    assert read_project(tmp_path / "boucle.yaml").data.source == "own.py:load"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("target: returned\nlatency: 5\n", "answers.yaml:2: latency: unknown key; did you mean `latency_ms`"),
        ("target: returned\nquality: 3\n", "answers.yaml:2: quality: `3` is not possible"),
        ("\n\ntarget: return\n", "answers.yaml:3: target: `return` is not allowed; did you mean `returned`"),
    ],
)
def test_a_wrong_answer_is_named_with_its_line(
    tmp_path: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = orders(tmp_path / "in")
    answers = tmp_path / "answers.yaml"
    answers.write_text(text, encoding="utf-8")
    folder = tmp_path / "shop"
    folder.mkdir()
    assert init(folder, str(table), "--answers", str(answers)) == 2
    assert words in capsys.readouterr().err
    assert names(folder) == []


def test_a_contradiction_of_needs_and_project_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    orders(tmp_path)
    assert init(tmp_path, "--yes", "--target", "returned") == 0
    path = tmp_path / "needs.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("latency_ms: 100", "latency_ms: 50"), encoding="utf-8")
    capsys.readouterr()
    assert run_command(["--project", str(tmp_path), "check"]) == 0
    assert "needs.yaml asks for at most 50, boucle.yaml says at most 100" in capsys.readouterr().out


# --- a person at a terminal --------------------------------------------------------------------------------------


class Terminal:
    """`boucle init` on a pseudo-terminal."""

    def __init__(self, folder: Path) -> None:
        self._own, theirs = pty.openpty()
        command = [sys.executable, "-m", "boucle", "init"]
        environment = {**os.environ, "TERM": "dumb", "COLUMNS": "120"}
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.text = ""

    def until(self, words: str) -> str:
        """What is shown up to these words; an AssertionError if they never come."""
        while words not in self.text:
            try:
                piece = os.read(self._own, 4096)
            except OSError:  # the other side is gone
                piece = b""
            assert piece, self.text
            self.text += piece.decode(errors="replace")
        seen, _, self.text = self.text.partition(words)
        return seen + words

    def type(self, line: str) -> None:
        os.write(self._own, line.encode())

    def close(self) -> int:
        while True:
            try:
                if not os.read(self._own, 4096):
                    break
            except OSError:
                break
        os.close(self._own)
        return self.process.wait(timeout=60)


@pytest.mark.slow
def test_a_person_is_asked(tmp_path: Path) -> None:
    orders(tmp_path)
    terminal = Terminal(tmp_path)
    assert "o1" in terminal.until("Which column is predicted?")
    terminal.until("[returned] ")
    terminal.type("?\n")
    assert "The answer that past rows have" in terminal.until("[returned] ")
    terminal.type("prize\n")
    assert "did you mean `price`" in terminal.until("[returned] ")
    terminal.type("\n")
    for question, answer in {
        "At which moment": "at the till",
        "holds that moment": "",
        "names a row": "none",
        "not known yet": "",
        "How many days before": "",
        "costs more?": "miss",
        "How is quality measured?": "",
        "What must it reach?": "",
        "milliseconds": "fast",
    }.items():
        terminal.until(question)
        terminal.until("] ")
        terminal.type(f"{answer}\n")
    terminal.until("`fast` is not allowed: write a number")
    terminal.until("[100] ")
    terminal.type("40\n")
    for _ in range(8):
        terminal.until("] ")
        terminal.type("\n")
    terminal.until("next: boucle run")
    assert terminal.close() == 0
    project = read_project(tmp_path / "boucle.yaml")
    assert project.data.key is None
    assert {one.metric: one.at_most for one in project.objectives}["latency_p95_ms"] == 40
    assert "asked_when: at the till" in (tmp_path / "needs.yaml").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_a_person_who_stops_leaves_nothing(tmp_path: Path, key: str) -> None:
    orders(tmp_path)
    terminal = Terminal(tmp_path)
    terminal.until("[returned] ")
    if key == "\x03":
        os.killpg(terminal.process.pid, 2)
    else:
        terminal.type(key)
    assert terminal.close() == 130
    assert names(tmp_path) == ["orders.csv"]
