"""Prometheus rules for a project: its objectives as burn rates, and what its monitors find, as alerts.

Every query names metrics that `boucle serve` or `boucle up` export; a test scrapes both and compares. The windows,
factors and shares are those of `boucle slo`. Pure.

https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, Final

from boucle.monitoring.slo import THROUGHPUT, Rule, Slo, burn_rules, duration, slos
from boucle.monitoring.spans import plan_of
from boucle.project.records import Project
from boucle.serving.meter import BUCKETS_S

SERVING_JOB: Final = "boucle-serving"
CONTROL_JOB: Final = "boucle-control"
BAD: Final = "boucle:slo_bad_share:rate"
"""Begins the names of recorded shares; the window follows."""
Entry = dict[str, Any]


def rules(project: Project) -> Entry:
    """The content of a file of rules."""
    wanted = slos(project.objectives, project.monitoring.slo)
    groups = [
        {
            "name": f"boucle-{project.project}-slo-{one.metric}",
            "rules": [*_records(project, one), *_burns(project, one)],
        }
        for one in wanted
    ]
    return {"groups": [*groups, {"name": f"boucle-{project.project}-monitors", "rules": list(_monitors(project))}]}


def scrape_config(project: Project, control: str, serving: str, rule_file: str, token_file: str | None) -> Entry:
    """The content of a prometheus.yml that scrapes both servers (`host:port` each) and has the rules."""
    jobs: list[Entry] = [
        {"job_name": SERVING_JOB, "static_configs": [{"targets": [serving], "labels": {"project": project.project}}]},
        {"job_name": CONTROL_JOB, "honor_labels": True, "static_configs": [{"targets": [control]}]},
    ]
    if token_file is not None:
        for job in jobs:
            job["authorization"] = {"credentials_file": token_file}
    timing = {"scrape_interval": "15s", "evaluation_interval": "15s"}
    return {"global": timing, "rule_files": [rule_file], "scrape_configs": jobs}


def windows(period_days: float) -> list[str]:
    """Every window of the burn rates, the shortest first.

    >>> windows(30)
    ['5m', '30m', '1h', '6h', '3d']
    """
    lengths = {length for rule in burn_rules(period_days) for length in (rule.long_s, rule.short_s)}
    return [duration(round(length)) for length in sorted(lengths)]


def bad_share(slo: Slo, endpoint: str, window: str) -> str:
    """The share of bad events of a window, in PromQL.

    >>> print(bad_share(Slo(metric="availability", required="", target=0.99), "churn", "5m"))
    (sum(rate(boucle_requests_total{endpoint="churn",status=~"5.."}[5m])) or vector(0)) / \
sum(rate(boucle_requests_total{endpoint="churn",status!~"4.."}[5m]))
    """

    def asked(status: str) -> str:
        return f'sum(rate(boucle_requests_total{{endpoint="{endpoint}"{status}}}[{window}]))'

    if slo.metric == "availability":
        failed, possible = asked(',status=~"5.."'), asked(',status!~"4.."')
        return f"({failed} or vector(0)) / {possible}"
    if slo.metric == "error_rate":
        unanswered, all_of = asked(',status=~"[45].."'), asked("")
        return f"({unanswered} or vector(0)) / {all_of}"
    if slo.metric == THROUGHPUT:
        minute = f'sum(rate(boucle_requests_total{{endpoint="{endpoint}"}}[2m])) * 60'
        return f"1 - avg_over_time((({minute}) >= bool {slo.limit:g})[{window}:1m])"
    return f"1 - ({_within(endpoint, (slo.limit or 0.0) / 1000, window)}) / {_answers(endpoint, window)}"


def _within(endpoint: str, seconds: float, window: str) -> str:
    """Answers within a time: between two bounds of the histogram as `boucle.monitoring.slo.within` has it."""

    def below(bound: float) -> str:
        return f'sum(rate(boucle_latency_seconds_bucket{{endpoint="{endpoint}",le="{bound}"}}[{window}]))'

    above = next((bound for bound in BUCKETS_S if bound >= seconds), BUCKETS_S[-1])
    if seconds >= above:
        return below(above)
    low = max((bound for bound in BUCKETS_S if bound < seconds), default=0.0)
    part = (seconds - low) / (above - low)
    rest = f" + {1 - part:.6g} * {below(low)}" if low else ""
    return f"{part:.6g} * {below(above)}{rest}"


def _answers(endpoint: str, window: str) -> str:
    return f'sum(rate(boucle_latency_seconds_count{{endpoint="{endpoint}"}}[{window}]))'


def _labels(project: Project, slo: Slo) -> dict[str, str]:
    return {"project": project.project, "slo": slo.metric}


def _records(project: Project, slo: Slo) -> Iterator[Entry]:
    for window in windows(project.monitoring.slo.period_days):
        yield {
            "record": f"{BAD}{window}",
            "expr": bad_share(slo, project.project, window),
            "labels": _labels(project, slo),
        }


def _burns(project: Project, slo: Slo) -> Iterator[Entry]:
    for rule in burn_rules(project.monitoring.slo.period_days):
        yield {
            "alert": "BoucleBudgetBurns",
            "expr": _burn(project, slo, rule),
            "labels": {**_labels(project, slo), "severity": rule.severity, "window": duration(round(rule.long_s))},
            "annotations": {
                "summary": f"{project.project}: {slo.metric} ({slo.required}) burns its budget more than "
                f"{rule.factor:g} times too fast over {duration(round(rule.long_s))}",
                "description": "Share of bad events: {{ $value | humanizePercentage }}. See: boucle slo",
            },
        }


def _burn(project: Project, slo: Slo, rule: Rule) -> str:
    limit = f"{rule.factor * slo.budget:.6g}"
    chosen = f'{{project="{project.project}",slo="{slo.metric}"}}'
    pair = [f"{BAD}{duration(round(length))}{chosen} > {limit}" for length in (rule.long_s, rule.short_s)]
    both = " and ".join(dict.fromkeys(pair))
    if slo.metric == THROUGHPUT:
        return both
    asked = f'sum(increase(boucle_requests_total{{endpoint="{project.project}"}}[{duration(round(rule.long_s))}]))'
    return f"{both} and on () ({asked} >= {project.monitoring.slo.min_requests})"


def _monitors(project: Project) -> Iterator[Entry]:
    name = project.project
    of_project, of_endpoint = f'{{project="{name}"}}', f'{{endpoint="{name}"}}'
    yield _alert(
        "BoucleEndpointGone",
        f"absent(boucle_workers{of_endpoint}) or sum(boucle_workers{of_endpoint}) == 0",
        "page",
        f"{name} is not answered for",
        "Nobody exports the endpoint's metrics, or it has no worker. See: boucle status",
        project=name,
        wait="2m",
    )
    yield _alert(
        "BouclePartDown",
        "boucle_part_up == 0",
        "page",
        "{{ $labels.part }} of boucle up does not run",
        "It is started again; what it printed last says why it ends. See: boucle status",
        project=name,
        wait="2m",
    )
    yield _alert(
        "BoucleLogLost",
        f"increase(boucle_log_lost_total{of_endpoint}[10m]) > 0",
        "ticket",
        f"{name}: predictions were answered that the log could not keep",
        "{{ $value | humanize }} in ten minutes: a full disk, a killed worker, or more than the disk can take.",
        project=name,
    )
    yield _alert(
        "BoucleDrift",
        f"boucle_drifted{of_project} == 1",
        "ticket",
        f"{name}: {{{{ $labels.column }}}} drifted from the training data",
        "See: boucle status",
        project=name,
    )
    for kind, words in (
        ("decay", "the metric is worse than the evaluation of the version in charge allows"),
        ("check", "a check of the served rows fails"),
        ("shift", "a column jumped"),
    ):
        yield _alert(
            f"Boucle{kind.capitalize()}",
            f'boucle_alerts_open{{project="{name}",kind="{kind}"}} > 0',
            "ticket",
            f"{name}: {words}",
            "See: boucle status",
            project=name,
        )
    late_s = _late(project)
    if late_s is not None:
        yield _alert(
            "BoucleWindowLate",
            f"boucle_window_age_seconds{of_project} > {late_s:.0f}",
            "ticket",
            f"{name}: no window closed for {{{{ $value | humanizeDuration }}}}",
            "Nothing was asked, or the monitor does not run. See: boucle status",
            project=name,
        )
    yield _alert(
        "BoucleDiskFull",
        "boucle_disk_free_bytes / boucle_disk_total_bytes < 0.1",
        "ticket",
        "the disk of the home is nearly full",
        "{{ $value | humanizePercentage }} are free. Next: boucle gc --delete",
        project=name,
        wait="10m",
    )


def _late(project: Project) -> float | None:
    """From how old on the newest window says that one is missing; None of windows by count."""
    plan = plan_of(project.monitoring.window)
    return None if plan.rows else (2 * plan.every + plan.lateness + timedelta(minutes=10)).total_seconds()


def _alert(
    name: str, expr: str, severity: str, summary: str, description: str, *, project: str, wait: str | None = None
) -> Entry:
    found: Entry = {"alert": name, "expr": expr}
    if wait is not None:
        found["for"] = wait
    return {
        **found,
        "labels": {"project": project, "severity": severity},
        "annotations": {"summary": summary, "description": description},
    }


def metrics_in(texts: Iterable[str]) -> set[str]:
    """The names of exported metrics that queries use.

    >>> sorted(metrics_in(["sum(rate(boucle_requests_total{endpoint='x'}[5m])) / boucle:slo_bad_share:rate5m"]))
    ['boucle_requests_total']
    """
    import re

    return {name for text in texts for name in re.findall(r"\bboucle_[a-z0-9_]+", text)}
