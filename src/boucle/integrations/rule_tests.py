"""Unit tests of a project's Prometheus rules, for `promtool test rules`: made from the objectives, as the rules are.

https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/
"""

from typing import Any, Final

from boucle.monitoring.slo import THROUGHPUT, Slo, burn_rules, slos
from boucle.project.records import Project
from boucle.serving.meter import BUCKETS_S

Entry = dict[str, Any]
_AT: Final = "40m"
_NONE: Final = "0x45"


def rule_tests(project: Project, rule_file: str) -> Entry:
    """The content of a file of tests: each alert opens when it must, and none does while all is well."""
    wanted = slos(project.objectives, project.monitoring.slo)
    return {
        "rule_files": [rule_file],
        "evaluation_interval": "1m",
        "tests": [_all_well(project), *(_burning(project, one) for one in wanted), _monitors(project)],
    }


def _all_well(project: Project) -> Entry:
    return _case(
        "no alert while all is well",
        [*_requests(project, good=_enough(project)), *_answers(project, _enough(project), fast=True)],
        {"count(ALERTS) or vector(0)": 0},
    )


def _burning(project: Project, slo: Slo) -> Entry:
    """All is bad for forty minutes: every pair of windows fires whose rate can be reached at all."""
    pages = sum(rule.factor * slo.budget < 1.0 for rule in burn_rules(project.monitoring.slo.period_days))
    enough = _enough(project)
    if slo.metric == THROUGHPUT:
        series = _requests(project, good=_NONE)
    elif slo.metric in ("availability", "error_rate"):
        series = _requests(project, bad=enough)
    else:
        series = [*_requests(project, good=enough), *_answers(project, enough, fast=False)]
    fires = f'count(ALERTS{{alertname="BoucleBudgetBurns",slo="{slo.metric}",alertstate="firing"}}) or vector(0)'
    return _case(f"{slo.metric} burns", series, {fires: pages})


def _monitors(project: Project) -> Entry:
    name = project.project
    series = {
        f'boucle_log_lost_total{{endpoint="{name}"}}': "0+5x45",
        'boucle_part_up{part="monitor"}': _NONE,
        f'boucle_drifted{{project="{name}",column="a"}}': "1x45",
        f'boucle_drifted{{project="{name}",column="b"}}': _NONE,
        f'boucle_alerts_open{{project="{name}",kind="decay"}}': "1x45",
        f'boucle_alerts_open{{project="{name}",kind="check"}}': "2x45",
        f'boucle_alerts_open{{project="{name}",kind="shift"}}': _NONE,
        "boucle_disk_free_bytes": "5x45",
        "boucle_disk_total_bytes": "100x45",
    }
    names = {
        "BoucleEndpointGone": 1,
        "BouclePartDown": 1,
        "BoucleLogLost": 1,
        "BoucleDrift": 1,
        "BoucleDecay": 1,
        "BoucleCheck": 1,
        "BoucleShift": 0,
        "BoucleDiskFull": 1,
    }
    asked = {
        f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)': count
        for alert, count in names.items()
    }
    return _case("what monitors find", [{"series": key, "values": values} for key, values in series.items()], asked)


def _case(name: str, series: list[Entry], asked: dict[str, int]) -> Entry:
    return {
        "name": name,
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [
            {"expr": expr, "eval_time": _AT, "exp_samples": [{"labels": "{}", "value": value}]}
            for expr, value in asked.items()
        ],
    }


def _enough(project: Project) -> str:
    """Requests of every minute, more than any objective on throughput asks for."""
    least = [one.limit or 0.0 for one in slos(project.objectives, project.monitoring.slo) if one.metric == THROUGHPUT]
    return f"0+{max(600, *(int(2 * one) + 1 for one in [0.0, *least]))}x45"


def _requests(project: Project, *, good: str = _NONE, bad: str = _NONE) -> list[Entry]:
    of = f'endpoint="{project.project}",door="v2"'
    return [
        {"series": f'boucle_requests_total{{{of},status="200",version="1"}}', "values": good},
        {"series": f'boucle_requests_total{{{of},status="500",version=""}}', "values": bad},
        {"series": f'boucle_workers{{endpoint="{project.project}"}}', "values": "1x45"},
    ]


def _answers(project: Project, count: str, *, fast: bool) -> list[Entry]:
    """The histogram of answers: all within the first bound, or all beyond the last."""
    of = f'endpoint="{project.project}",door="v2",version="1"'
    buckets = [
        {"series": f'boucle_latency_seconds_bucket{{{of},le="{bound}"}}', "values": count if fast else _NONE}
        for bound in BUCKETS_S
    ]
    return [*buckets, {"series": f"boucle_latency_seconds_count{{{of}}}", "values": count}]
