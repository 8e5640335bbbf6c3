"""`boucle compliance`: what is asked for and lacks its evidence, with what to do."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from boucle.app.main import run_command
from boucle.kernel.paths import write_atomic
from boucle.loop.compliance import ComplianceReport, Control, compliance_signals, known_share
from boucle.monitoring.records import Service, Window
from boucle.serving.api import log_folder

NOTHING = Service(requests=0, errors=0, latency_p50_ms=0, latency_p95_ms=0, latency_p99_ms=0)


def window(versions: dict[str, int]) -> Window:
    return Window(
        day=date(2026, 1, 1), rows=10, versions=versions, findings=[], drift=[], service=NOTHING, quarantined=False
    )


def test_the_share_that_is_known_counts_what_the_log_lost_and_versions_that_nobody_registered() -> None:
    served = [window({"1": 60, "2": 20}), window({"9": 10})]
    assert known_share(served, {1, 2}, 0) == pytest.approx(80 / 90)
    assert known_share(served, {1, 2, 9}, 10) == pytest.approx(90 / 100)
    assert known_share(served, {1, 2, 9}, 0) == 1


def test_only_what_is_asked_for_and_missing_is_a_signal() -> None:
    controls = [Control(name="retention", subject="log", met=met, message="m", next="n") for met in (True, None, False)]
    [signal] = compliance_signals(ComplianceReport(project="p", known_share=None, controls=controls, missing=1))
    assert (signal.kind, signal.subject, signal.evidence) == ("compliance", "retention: log", {"next": "n"})


@pytest.mark.slow
def test_what_lacks_its_evidence_is_named_with_what_to_do(
    crash_project: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = crash_project.lay(tmp_path / "orders")
    subprocess.run([sys.executable, "-m", "boucle", "run"], cwd=folder, check=True, capture_output=True)
    monkeypatch.chdir(folder)

    def asked(code: int) -> dict[str, Any]:
        capsys.readouterr()
        assert run_command(["compliance", "--json"]) == code
        report = json.loads(capsys.readouterr().out)
        assert report["missing"] == sum(one["met"] is False for one in report["controls"])
        return {one["name"]: one for one in report["controls"]}

    before = asked(0)
    assert before["retention"]["met"] is None
    assert {before[name]["met"] for name in ("registered", "evaluated", "reviews")} == {True}

    file = folder / "boucle.yaml"
    file.write_text(file.read_text() + "governance: {keep_days: 30, reviews: 1}\n")
    subprocess.run([sys.executable, "-m", "boucle", "run"], cwd=folder, check=False, capture_output=True)
    old = log_folder(folder / ".boucle", "orders") / "day=2020-01-01" / "00000001-0123456789abcdef.parquet"
    write_atomic(old, b"")
    write_atomic(log_folder(folder / ".boucle", "orders") / "bound.json", b'{"dropped_rows": 7, "dropped_parts": 1}')
    after = asked(3)
    assert after["reviews"]["met"] is False
    assert after["reviews"]["next"]
    assert after["retention"]["next"] == "boucle gc --delete"
    assert "2020-01-01" in after["retention"]["message"]
    assert "7 rows" in after["completeness"]["message"]
    assert run_command(["compliance"]) == 3
    assert "lack their evidence" in capsys.readouterr().out
