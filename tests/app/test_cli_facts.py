"""Commands that tell facts, on a store that holds some."""

import json
import sqlite3
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from boucle.app.commands import check as check_command
from boucle.app.commands import replay as replay_command
from boucle.app.commands import report as report_command
from boucle.app.commands.run import show_gates
from boucle.app.environment import inspect, packages
from boucle.app.main import run_command
from boucle.data.records import Finding
from boucle.governance.records import GateReport, GateVerdict
from boucle.kernel import audit
from boucle.kernel.clock import FixedClock
from boucle.kernel.digests import Digest
from boucle.kernel.ids import SequentialIds
from boucle.kernel.store import Store
from boucle.loop.records import Decision, Promote, Refuse
from boucle.loop.replay import ReplayReport
from boucle.loop.report_records import Month, ObjectiveStatus, Report
from boucle.models import api as models

TEXT = "project: small\ndata: {source: t.csv, target: y, features: {numeric: [x]}}\n"
AT = datetime(2013, 3, 1, tzinfo=UTC)
ZEROS = Digest("0" * 64)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one registered version and three audit records, and the current folder."""
    monkeypatch.delenv("BOUCLE_HOME", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "boucle.yaml").write_text(TEXT, encoding="utf-8")
    with Store.open(tmp_path / ".boucle", clock=FixedClock(AT), ids=SequentialIds()) as store:
        models.register(
            store,
            project_id="small",
            model="small",
            bundle_digest=store.blobs.put(b"bundle"),
            dataset_digest=store.blobs.put(b"table"),
            evaluation_digest=store.blobs.put(b"evaluation"),
            run_id="run_1",
            author="person:ada",
            note="first training",
        )
        for subject in ("one", "two"):
            store.write(
                lambda conn, subject=subject: audit.append(  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                    conn, project_id="small", actor="person:ada", action="test", subject=subject, details={}, at=AT
                )
            )
    return tmp_path


def told(words: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    """What a command with `--json` prints."""
    assert run_command([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("folder")
def test_models_list(capsys: pytest.CaptureFixture[str]) -> None:
    (version,) = told(["models", "list"], capsys)
    assert (version["number"], version["author"], version["note"]) == (1, "person:ada", "first training")
    assert run_command(["models", "list"]) == 0
    assert "first training" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_models_history_of_an_alias_that_never_moved(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(["models", "history"], capsys) == []
    assert run_command(["models", "history", "--at", "2013-07-15"]) == 2
    error = capsys.readouterr().err
    assert "no version was `champion` at 2013-07-15T00:00:00+00:00" in error
    assert "next: boucle models history small --alias champion --in small" in error


@pytest.mark.usefixtures("folder")
def test_serving_needs_a_version_in_charge(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["serve"]) == 2
    assert "no version of `small` is in charge yet" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_status_before_anything_is_in_charge(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(["status"], capsys)["in_charge"] is None
    assert run_command(["status"]) == 0
    assert "no version is in charge yet; next: boucle run" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_a_whole_audit_log(capsys: pytest.CaptureFixture[str]) -> None:
    report = told(["audit", "verify"], capsys)
    assert (report["records"], report["problems"]) == (4, [])
    assert run_command(["audit", "verify"]) == 0
    assert capsys.readouterr().out.startswith("the chain holds: 4 records")


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE audit_log SET actor = 'person:eve' WHERE sequence = 2", "edited"),
        ("DELETE FROM audit_log WHERE sequence = 2", "dropped"),
        ("DELETE FROM audit_log WHERE sequence = 4", "cut_tail"),
    ],
)
def test_a_changed_audit_log(folder: Path, statement: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    connection = sqlite3.connect(folder / ".boucle" / "boucle.db")
    with connection:
        connection.execute(statement)
    connection.close()
    assert run_command(["audit", "verify"]) == 4
    assert kind in capsys.readouterr().out
    assert run_command(["audit", "verify", "--json"]) == 4
    assert kind in [problem["kind"] for problem in json.loads(capsys.readouterr().out)["problems"]]


def test_settings_say_where_they_came_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "boucle.toml").write_text("[boucle]\nlog_level = 'info'\n", encoding="utf-8")
    monkeypatch.setenv("BOUCLE_THREADS", "2")
    found = {one["name"]: (one["value"], one["source"]) for one in told(["settings", "--home", "h"], capsys)}
    assert found["home"] == (str(folder / "h"), "flag")
    assert found["threads"] == ("2", "environment")
    assert found["log_level"] == ("info", "file")
    assert found["color"] == ("auto", "default")
    assert run_command(["settings"]) == 0
    assert "log_level" in capsys.readouterr().out


def test_settings_need_no_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert {one["name"] for one in told(["settings"], capsys)} >= {"home", "threads"}


def test_the_schema_needs_no_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "boucle.yaml"


def test_the_environment_of_these_tests_is_fine(tmp_path: Path) -> None:
    facts = inspect(tmp_path / "not" / "yet" / "there")
    assert all(fact.passed for fact in facts), facts
    assert {"Python", "free disk"} < {fact.name for fact in facts}


def test_the_packages_are_those_that_boucle_needs() -> None:
    names = [fact.name for fact in packages()]
    assert {"msgspec", "polars", "typer"} < set(names)
    assert names == sorted(names, key=str.lower)


def screen() -> Console:
    return Console(width=200, markup=False, highlight=False, record=True, color_system=None)


def finding(name: str, *, passed: bool) -> Finding:
    return Finding(
        check="range",
        name=name,
        columns=["x"],
        passed=passed,
        failing=0 if passed else 3,
        rows=1234,
        message="3 values are above 10",
        on_fail="block",
    )


def test_failed_checks_come_first() -> None:
    shown = screen()
    findings = [finding("range(a)", passed=True), finding("range(b)", passed=False)]
    check_command.show_findings(shown, findings, everything=True)
    text = shown.export_text()
    assert text.index("range(b)") < text.index("range(a)")
    assert "1 of 2 checks passed" in text
    assert "1,234" in text


def test_gates_show_their_numbers() -> None:
    shown = screen()
    verdict = GateVerdict(
        gate="objective(auc_roc)", passed=False, measured=0.51234, required="at least 0.62", message="too low"
    )
    show_gates(
        shown,
        GateReport(
            project_id="small",
            model="small",
            number=2,
            bundle_digest=ZEROS,
            evaluation_digest=ZEROS,
            policy_digest=ZEROS,
            passed=False,
            verdicts=[verdict],
            judged_at=AT,
        ),
    )
    text = shown.export_text()
    for words in ("✗", "objective(auc_roc)", "0.5123", "at least 0.62", "too low"):
        assert words in text


def test_a_replay_tells_its_decisions() -> None:
    shown = screen()
    decisions = [
        Decision(
            id=f"s/{day}/0",
            stream="s",
            day=date(2013, 5, day),
            action=action,
            outcome="done",
            version=action.number,
        )
        for day, action in ((1, Promote(number=2, reason="better by 0.02")), (2, Refuse(number=3, reason="gates")))
    ]
    replay_command.show(
        shown,
        ReplayReport(
            project="small",
            stream="s",
            first=date(2013, 5, 1),
            last=date(2013, 5, 2),
            rows=2000,
            in_charge=2,
            decisions=decisions,
            resumed_after=date(2013, 5, 1),
            already_complete=False,
        ),
    )
    lines = shown.export_text().splitlines()
    assert any("promote" in line and "better by 0.02" in line for line in lines)
    assert any("refuse" in line and "3" in line for line in lines)
    assert "went on after 2013-05-01" in lines
    assert "2,000 rows served from 2013-05-01 to 2013-05-02; version 2 is in charge" in lines


def month(name: str, auc: float | None) -> Month:
    return Month(
        month=name,
        rows=1000,
        loop=auc,
        frozen=auc,
        oracle=None,
        alerts=1,
        retrainings=2,
        promotions=3,
        refusals=4,
        rollbacks=5,
    )


def test_a_report_is_a_table_by_month() -> None:
    shown = screen()
    objective = ObjectiveStatus(
        metric="auc_roc", required="at least 0.62", measured=None, met=None, where="nowhere yet"
    )
    report_command.show(
        shown,
        Report(
            project="small",
            stream="s",
            task="binary",
            metric="auc_roc",
            higher_is_better=True,
            first=date(2013, 3, 1),
            last=date(2013, 4, 30),
            rows=2000,
            months=[month("2013-03", 0.7), month("2013-04", None)],
            weeks=[],
            mean_loop=0.7,
            mean_frozen=0.67,
            mean_oracle=0.71,
            gain_share=0.75,
            marks=[],
            drift=[],
            quarantined=[date(2013, 4, 3)],
            alerts=[],
            objectives=[objective],
            calibration_before=None,
            calibration_after=None,
            lineage=[],
            generated="0.1.0",
        ),
    )
    lines = [line.split() for line in shown.export_text().splitlines()]
    assert ["2013-03", "1,000", "0.7000", "0.7000", "-", "1", "2", "3", "4", "5"] in lines
    assert ["2013-04", "1,000", "-", "-", "-", "1", "2", "3", "4", "5"] in lines
    assert ["all", "2,000", "0.7000", "0.6700", "0.7100", "2", "4", "6", "8", "10"] in lines
    text = "\n".join(" ".join(line) for line in lines)
    assert "the loop gains +0.0300 over the first model left alone, 75% of what monthly training" in text
    assert "quarantined days, kept out of training: 2013-04-03" in text
    assert "not measured" in text
