"""Rules, their tests and the dashboard of a project, judged by promtool, Grafana's schema and what servers export."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from boucle.app.main import run_command
from boucle.app.monitor_metrics import Metrics
from boucle.data.records import DataSection, Features
from boucle.governance.records import Objective
from boucle.integrations.grafana import dashboard, queries
from boucle.integrations.prometheus import bad_share, metrics_in, rules, windows
from boucle.kernel.store import Store
from boucle.monitoring.records import SloPolicy
from boucle.monitoring.slo import slos
from boucle.project.records import Project
from boucle.project.yaml_file import read_project
from boucle.protocols.control import Control
from boucle.serving.counters import open_counters
from boucle.serving.meter import Meter, exposition

SCHEMA = Path(__file__).parent / "schemas" / "grafana-dashboard-11.6.json"
NEEDS_PROMTOOL = pytest.mark.skipif(shutil.which("promtool") is None, reason="tests/install-prometheus brings it")
YAML_TEXT = """\
project: churn
data: {source: t.csv, target: y, key: id, time: at, features: {numeric: [x]}}
objectives:
  - {metric: availability, at_least: 0.995}
  - {metric: error_rate, at_most: 0.02}
  - {metric: latency_p95_ms, at_most: 40}
  - {metric: latency_p50_ms, at_most: 0.05}
  - {metric: requests_per_minute, at_least: 900}
monitoring: {cost: {per_hour: 1.5}, slo: {period_days: %s}}
"""


@pytest.fixture(params=[30, 7])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "boucle.yaml").write_text(YAML_TEXT % request.param)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def exported(home: Path, folder: Path) -> set[str]:
    """The names of all that both servers export."""
    counters = open_counters(home / "serving" / "churn" / "counters")
    Meter(counters).answered("v2", 1, 0.004, 1)
    with Store.open(home) as store:
        control = Metrics(Control(store=store, default_project="churn", folder=folder)).exposition()
    text = (exposition([("churn", home / "serving" / "churn" / "counters")]) + control).decode()
    counters.close()
    found = set(re.findall(r"^# TYPE (\S+) (?:gauge|counter)$", text, re.MULTILINE))
    histograms = re.findall(r"^# TYPE (\S+) histogram$", text, re.MULTILINE)
    return found | {f"{name}_{end}" for name in histograms for end in ("bucket", "count", "sum")}


def test_every_query_names_what_the_servers_export(folder: Path) -> None:
    project = read_project(folder / "boucle.yaml")
    asked = [str(rule["expr"]) for group in rules(project)["groups"] for rule in group["rules"]]
    asked += queries(dashboard(project))
    assert metrics_in(asked) <= exported(folder / ".boucle", folder)
    recorded = {rule["record"] for group in rules(project)["groups"] for rule in group["rules"] if "record" in rule}
    assert set(re.findall(r"boucle:\w+(?::\w+)*", " ".join(asked))) == recorded


def test_every_metric_is_in_the_reference(folder: Path) -> None:
    reference = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(boucle_\w+)` \|", reference, re.MULTILINE))
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in exported(folder / ".boucle", folder)} <= told


@pytest.mark.long
@pytest.mark.usefixtures("folder")
@NEEDS_PROMTOOL
def test_promtool_takes_the_rules_and_each_alert_opens_when_it_must() -> None:
    for words in (
        ["export", "prometheus", "-o", "boucle.rules.yml"],
        ["export", "prometheus-tests", "-o", "tests.yml"],
        ["export", "scrape", "--token-file", "token", "-o", "prometheus.yml"],
    ):
        assert run_command(words) == 0
    Path("token").write_text("x")
    for judge in (
        ["check", "rules", "boucle.rules.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "tests.yml"],
    ):
        done = subprocess.run(["promtool", *judge], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.usefixtures("folder")
@NEEDS_PROMTOOL
def test_a_rule_with_another_factor_fails_its_tests() -> None:
    """The tests that are made with the rules can fail."""
    run_command(["export", "prometheus-tests", "-o", "tests.yml"])
    run_command(["export", "prometheus", "-o", "right.yml"])
    wrong = Path("right.yml").read_text().replace("boucle_drifted{", "boucle_drift_psi{")
    Path("boucle.rules.yml").write_text(wrong)
    done = subprocess.run(["promtool", "test", "rules", "tests.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "BoucleDrift" in done.stdout + done.stderr


@pytest.mark.usefixtures("folder")
def test_grafana_s_own_schema_takes_the_dashboard(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run_command(["export", "grafana"]) == 0
    board = json.loads(capsys.readouterr().out)
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate(board)
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    squares = [
        (x, y)
        for panel in board["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(squares) == len(set(squares)), "panels overlap"
    assert max(x for x, _ in squares) < 24


def test_rules_are_yaml_that_reads_back_as_what_was_meant(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run_command(["export", "prometheus"]) == 0
    assert YAML(typ="safe").load(capsys.readouterr().out) == rules(read_project(folder / "boucle.yaml"))


def test_latency_between_two_bounds_is_counted_as_boucle_slo_counts_it() -> None:
    [limit] = slos([Objective(metric="latency_p95_ms", at_most=40)], SloPolicy())
    assert bad_share(limit, "churn", "5m") == (
        '1 - (0.6 * sum(rate(boucle_latency_seconds_bucket{endpoint="churn",le="0.05"}[5m])) + '
        '0.4 * sum(rate(boucle_latency_seconds_bucket{endpoint="churn",le="0.025"}[5m]))) / '
        'sum(rate(boucle_latency_seconds_count{endpoint="churn"}[5m]))'
    )
    [exact] = slos([Objective(metric="latency_p95_ms", at_most=50)], SloPolicy())
    assert bad_share(exact, "churn", "5m").count("bucket") == 1


def test_a_project_without_service_objectives_has_its_monitors() -> None:
    project = Project(project="plain", data=DataSection(source="t.csv", target="y", features=Features(numeric=["x"])))
    assert [group["name"] for group in rules(project)["groups"]] == ["boucle-plain-monitors"]
    assert windows(7) == ["2m", "7m", "14m", "84m", "1008m"]
    assert "Objectives" not in [panel["title"] for panel in dashboard(project)["panels"]]
