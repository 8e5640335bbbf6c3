"""`boucle slo`: budgets as a table and as facts, from what a server kept."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from boucle.app.main import run_command
from boucle.kernel.paths import write_atomic
from boucle.kernel.store import Store
from boucle.serving.service_log import Hour, Minute, Used, hour_file

YAML = """\
project: churn
data: {source: t.csv, target: y, features: {numeric: [x]}}
objectives: [{metric: availability, at_least: 0.99}, {metric: latency_p95_ms, at_most: 25}]
monitoring: {cost: {per_cpu_hour: 3.6, per_hour: 0.6}}
"""
FAST = [0.0] * 7 + [100.0] + [0.0] * 8


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Path]:
    """A project whose server ran for the newest ten minutes, with so many failures a minute among 100 answers."""

    def made(failed: float) -> Path:
        (tmp_path / "boucle.yaml").write_text(YAML)
        monkeypatch.chdir(tmp_path)
        Store.open(tmp_path / ".boucle").close()
        now = time.time()
        by_hour: dict[int, list[Minute]] = {}
        for n in reversed(range(10)):
            ends = now - 60 * n
            minute = Minute(
                ends - 60, ends, answered=100, failed=failed, rows=200, took=FAST, used=Used(cpu_s=10, rows=200)
            )
            by_hour.setdefault(int(ends // 3600), []).append(minute)
        for number, minutes in by_hour.items():
            file = hour_file(tmp_path / ".boucle", "churn", number)
            write_atomic(file, msgspec.json.encode(Hour(number, minutes)))
        return tmp_path

    return made


def test_what_is_left_of_each_budget_and_what_a_thousand_predictions_cost(
    project: Callable[[float], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    project(1.0)
    capsys.readouterr()
    assert run_command(["slo", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    available, latency = facts["objectives"]
    assert available["good_share"] == pytest.approx(100 / 101, abs=1e-6)
    assert available["budget_left"] == pytest.approx(1 - 100 / 101, abs=1e-3)
    assert latency["bad"] == 0
    assert facts["burning"] == []
    assert facts["usage"]["predictions"] == pytest.approx(2000, abs=1)
    # ten minutes: 100 s of a core at 3.6 an hour, and 0.6 an hour
    assert facts["usage"]["cost"] == pytest.approx(0.1 + 0.1, abs=1e-3)
    assert facts["usage"]["cost_per_thousand"] == pytest.approx(0.1, abs=1e-3)
    assert facts["disk"]["free_bytes"] > 0


def test_a_burning_budget_is_named(project: Callable[[float], Path], capsys: pytest.CaptureFixture[str]) -> None:
    project(50.0)
    capsys.readouterr()
    assert run_command(["slo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["burning"] == ["availability"]
    assert run_command(["slo"]) == 0
    said = capsys.readouterr().out
    assert "budget left" in said
    assert "33.3/33.3" in said
    assert "per thousand predictions" in said


def test_before_anything_was_served_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "boucle.yaml").write_text(YAML)
    monkeypatch.chdir(tmp_path)
    assert run_command(["slo"]) == 2
    assert "nothing" in capsys.readouterr().err
