"""A newcomer's hour on a small table: check, run, replay, ask, serve; each command as a person types it."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from held_ports import free_port

from boucle.app.main import run_command

pytestmark = pytest.mark.slow

PROJECT = """\
project: small
data:
  source: table.csv
  target: late
  key: id
  time: at
  features: {numeric: [temp, wind], categorical: [carrier]}
  checks:
    - {check: range, column: temp, min: -50, max: 130, on_fail: quarantine}
    - {check: leakage, at_most: 0.95}
objectives:
  - {metric: auc_roc, at_least: 0.55}
  - {metric: availability, at_least: 0.99}
training:
  until: 2013-03-01
  params: {max_iter: 10}
  search:
    trials: 2
    space: {learning_rate: {low: 0.05, high: 0.3}}
evaluation: {bootstrap: 20}
monitoring: {labels_delay_days: 1}
loop:
  promote: {min_rows: 60}
replay: {first: 2013-03-01, last: 2013-03-08}
"""


def table(days: int = 67, rows_a_day: int = 40) -> str:
    """Two months and a week of rows whose label depends on all three features."""
    random = np.random.default_rng(7)
    lines = ["id,at,temp,wind,carrier,late"]
    start = datetime(2013, 1, 1, tzinfo=UTC)
    for row in range(days * rows_a_day):
        at = start + row * timedelta(days=1) / rows_a_day
        temp, wind, carrier = random.normal(50, 10), random.normal(10, 4), random.choice(["A", "B", "C"])
        late = (temp - 50) / 10 + (wind - 10) / 4 + (carrier == "A") + random.normal() > 0.5
        lines.append(f"r{row},{at.isoformat()},{temp:.1f},{wind:.1f},{carrier},{int(late)}")
    return "\n".join(lines) + "\n"


def lay(folder: Path, project: str = PROJECT) -> Path:
    """Write a project into a folder."""
    (folder / "boucle.yaml").write_text(project, encoding="utf-8")
    (folder / "table.csv").write_text(table(), encoding="utf-8")
    return folder


def told(folder: Path, *words: str) -> Any:
    """What a command with `--json` prints."""
    with redirect_stdout(io.StringIO()) as out:
        assert run_command([*words, "--project", str(folder), "--json"]) == 0
    return json.loads(out.getvalue())


def shown(folder: Path, *words: str) -> str:
    """What a command prints for people."""
    with redirect_stdout(io.StringIO()) as out:
        assert run_command([*words, "--project", str(folder)]) == 0
    return out.getvalue()


@pytest.fixture(scope="module", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith("BOUCLE_")]:
            patch.delenv(variable)
        yield


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after `boucle run`."""
    folder = lay(tmp_path_factory.mktemp("ran"))
    first = told(folder, "run")
    assert first["version"]["number"] == 1
    assert first["gates"]["passed"]
    return folder


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory, ran: Path) -> Path:
    """A copy of it after `boucle replay`."""
    folder = tmp_path_factory.mktemp("replayed")
    copytree(ran, folder, dirs_exist_ok=True)
    first = told(folder, "replay")
    assert (first["rows"], first["already_complete"]) == (8 * 40, False)
    return folder


def test_check_changes_nothing(tmp_path: Path) -> None:
    folder = lay(tmp_path)
    checked = told(folder, "check")
    assert checked["passed"]
    assert checked["data"]["rows"] == 67 * 40
    assert "small: boucle.yaml is valid" in shown(folder, "check")
    assert sorted(path.name for path in folder.iterdir()) == ["boucle.yaml", "table.csv"]


def test_a_second_run_comes_from_the_cache(ran: Path) -> None:
    again = told(ran, "run")
    assert {step["state"] for step in again["steps"]} == {"cached"}
    assert again["version"]["number"] == 1
    assert "version 1 is bundle" in shown(ran, "run")


def test_there_is_no_report_before_anything_was_served(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["report", "--project", str(ran)]) == 2
    assert "next: boucle replay" in capsys.readouterr().err


def test_a_report_asks_for_the_step_that_is_missing(
    ran: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copytree(ran, tmp_path, dirs_exist_ok=True)
    text = (folder / "boucle.yaml").read_text()
    plan = next(line for line in text.splitlines() if line.startswith("replay:"))
    (folder / "boucle.yaml").write_text(text.replace(plan, ""))
    assert run_command(["report", "--project", str(folder)]) == 2
    assert "next: add `replay: {first: DAY, last: DAY}`" in capsys.readouterr().err
    (folder / "boucle.yaml").write_text(text.replace("project: small", "project: other"))
    assert run_command(["report", "--project", str(folder)]) == 2
    assert "next: boucle run\n" in capsys.readouterr().err


def test_a_second_replay_has_nothing_to_do(replayed: Path) -> None:
    again = told(replayed, "replay")
    assert (again["rows"], again["already_complete"]) == (8 * 40, True)


def test_status(replayed: Path) -> None:
    status = told(replayed, "status")
    assert {one["metric"]: one["met"] for one in status["objectives"]} == {"auc_roc": True, "availability": True}
    assert "320 rows served until 2013-03-08" in shown(replayed, "status")


def test_which_version_was_in_charge(replayed: Path) -> None:
    answer = told(replayed, "models", "history", "--at", "2013-03-01")
    assert answer == {"alias": "champion", "at": "2013-03-01T00:00:00Z", "version": 1}
    assert "first training" in shown(replayed, "models", "history")


def test_report(replayed: Path, tmp_path: Path) -> None:
    (month,) = told(replayed, "report")["months"]
    assert (month["month"], month["rows"]) == ("2013-03", 320)
    assert not (replayed / "report.html").exists()
    page = tmp_path / "page.html"
    assert "small: auc_roc by month" in shown(replayed, "report", "--html", str(page))
    assert page.read_text(encoding="utf-8").lower().startswith("<!doctype html>")


def test_audit_verify(replayed: Path) -> None:
    assert told(replayed, "audit", "verify")["problems"] == []


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_serve_until_stopped(ran: Path, stop: signal.Signals) -> None:
    port = free_port()
    command = [sys.executable, "-m", "boucle", "serve", "--project", str(ran), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        line = process.stdout.readline()
        assert line == f"version 1 of small answers at http://127.0.0.1:{port}; Ctrl-C stops it\n"
        with urlopen(f"http://127.0.0.1:{port}/v2/models/small/ready") as answer:
            assert answer.status == 200
        process.send_signal(stop)
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 0


def test_an_address_that_others_reach_is_refused(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["serve", "--project", str(ran), "--host", "0.0.0.0"]) == 3
    assert "0.0.0.0" in capsys.readouterr().err


def test_a_taken_port_is_told(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert run_command(["serve", "--project", str(ran), "--port", str(port)]) == 5
    assert f"port {port}" in capsys.readouterr().err


def test_a_gate_that_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = lay(tmp_path, PROJECT.replace("at_least: 0.55", "at_least: 0.999"))
    assert run_command(["run", "--project", str(folder)]) == 3
    error = capsys.readouterr().err
    assert "auc_roc" in error
    assert "0.999" in error
    assert "next: " in error


def test_a_check_that_blocks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = lay(tmp_path, PROJECT.replace("max: 130, on_fail: quarantine", "max: 50, on_fail: block"))
    assert run_command(["check", "--project", str(folder)]) == 3
    assert "range(temp)" in capsys.readouterr().out
    assert run_command(["check", "--project", str(folder), "--json"]) == 3
    assert not json.loads(capsys.readouterr().out)["passed"]
    assert run_command(["run", "--project", str(folder)]) == 3
    assert "range(temp)" in capsys.readouterr().err
