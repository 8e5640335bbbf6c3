"""A Grafana dashboard for a project: service, objectives, quality, drift, alerts and processes. Pure.

Dashboard JSON as Grafana 10 and 11 import it: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct, field

from boucle.integrations.prometheus import bad_share, windows
from boucle.monitoring.slo import slos
from boucle.project.records import Project

SCHEMA_VERSION: Final = 39
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
LOWEST: Final = -1e9
"""Where the first colour of a panel begins: Grafana writes null there, which its own schema does not allow."""
_WIDTH: Final = 24
_HEIGHT: Final = 8
Entry = dict[str, Any]


class Query(Struct, frozen=True):
    """One line, or set of lines, of a panel."""

    expr: str
    legend: str


class Panel(Struct, frozen=True, kw_only=True):
    """One picture."""

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: str = "timeseries"
    """Or `stat`: the newest value."""
    width: int = 12
    highest: float | None = None
    steps: Sequence[tuple[float, str]] = field(default_factory=list)
    """Colours from a value on."""


class Row(Struct, frozen=True, kw_only=True):
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


def dashboard(project: Project) -> Entry:
    """The dashboard; the source of data is chosen where it is imported."""
    return {
        "uid": f"boucle-{project.project}"[:40],
        "title": f"Boucle: {project.project}",
        "description": project.description,
        "tags": ["boucle", project.project],
        "timezone": "utc",
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": SCHEMA_VERSION,
        "time": {"from": "now-24h", "to": "now"},
        "refresh": "30s",
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "type": "datasource",
                    "label": "Prometheus",
                    "query": "prometheus",
                    "hide": 0,
                    "skipUrlSync": False,
                    "refresh": 1,
                    "multi": False,
                    "includeAll": False,
                    "options": [],
                }
            ]
        },
        "annotations": {"list": [_versions(project)]},
        "panels": _laid_out(_rows(project)),
    }


def queries(board: Entry) -> list[str]:
    """Every query of a dashboard."""
    panels = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return panels + [one["expr"] for one in board["annotations"]["list"]]


def _versions(project: Project) -> Entry:
    """A mark where another version takes charge."""
    return {
        "name": "version in charge",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "blue",
        "expr": f'changes(boucle_champion_version{{project="{project.project}"}}[1m]) > 0',
    }


def _rows(project: Project) -> list[Row]:
    rows = [_service(project), _objectives(project), _model(project), _data(project), _machine(project)]
    return [row for row in rows if row.panels]


def _service(project: Project) -> Row:
    chosen = f'{{endpoint="{project.project}"}}'
    quantiles = [
        Query(
            f"histogram_quantile({share}, sum by (le) (rate(boucle_latency_seconds_bucket{chosen}[5m])))",
            f"{share:.0%}".replace("%", "th percentile"),
        )
        for share in (0.5, 0.95, 0.99)
    ]
    return Row(
        title="Service",
        panels=[
            Panel(
                title="Requests by status",
                queries=[Query(f"sum by (status) (rate(boucle_requests_total{chosen}[5m]))", "{{status}}")],
                unit="reqps",
            ),
            Panel(title="Latency", queries=quantiles, unit="s"),
            Panel(
                title="Rows predicted, by version",
                queries=[Query(f"sum by (version) (rate(boucle_rows_total{chosen}[5m]))", "version {{version}}")],
                unit="short",
            ),
            Panel(
                title="Prediction log",
                queries=[
                    Query(f"sum(boucle_log_queued{chosen})", "waits to be written"),
                    Query(f"sum(increase(boucle_log_lost_total{chosen}[5m]))", "lost in 5 minutes"),
                    Query(f"sum(boucle_rows_waiting{chosen})", "rows that wait for the model"),
                ],
            ),
        ],
    )


def _objectives(project: Project) -> Row:
    wanted = slos(project.objectives, project.monitoring.slo)
    chosen = f'{{project="{project.project}"}}'
    shortest = windows(project.monitoring.slo.period_days)[0]
    left = Panel(
        title="Budget left",
        queries=[Query(f"boucle_slo_budget_left{chosen}", "{{slo}}")],
        unit="percentunit",
        kind="stat",
        width=_WIDTH,
        steps=[(LOWEST, "red"), (0.0, "orange"), (0.25, "green")],
    )
    burns = [
        Panel(
            title=f"{one.metric} ({one.required}): burn rate",
            queries=[
                Query(f'boucle_slo_burn_rate{{project="{project.project}",slo="{one.metric}"}}', "{{window}}"),
                Query(
                    f"({bad_share(one, project.project, shortest)}) / {one.budget:.6g}", f"{shortest}, by Prometheus"
                ),
            ],
            steps=[(LOWEST, "green"), (1.0, "orange"), (14.4, "red")],
        )
        for one in wanted
    ]
    return Row(title="Objectives", panels=[left, *burns] if wanted else [])


def _model(project: Project) -> Row:
    chosen = f'{{project="{project.project}"}}'
    return Row(
        title="Model",
        panels=[
            Panel(
                title="Version in charge",
                queries=[Query(f"boucle_champion_version{chosen}", "version")],
                kind="stat",
                width=4,
            ),
            Panel(
                title="Labels of the newest windows",
                queries=[Query(f"boucle_label_coverage{chosen}", "share of rows")],
                unit="percentunit",
                kind="stat",
                width=4,
            ),
            Panel(
                title="Open alerts",
                queries=[Query(f"boucle_alerts_open{chosen} > 0", "{{kind}}")],
                kind="stat",
                width=4,
            ),
            Panel(
                title="Quality",
                queries=[
                    Query(f"boucle_quality{chosen}", "{{metric}}, {{source}}"),
                    Query(f"boucle_quality_expected{chosen}", "{{metric}} of the champion's evaluation"),
                ],
            ),
        ],
    )


def _data(project: Project) -> Row:
    chosen = f'{{project="{project.project}"}}'
    return Row(
        title="Data",
        panels=[
            Panel(
                title="Drift by column, PSI over its threshold (drift above 1)",
                queries=[Query(f"boucle_drift_psi{chosen} / boucle_drift_psi_threshold{chosen}", "{{column}}")],
            ),
            Panel(
                title="Newest window",
                queries=[
                    Query(f"boucle_window_rows{chosen}", "rows"),
                    Query(f"sum(boucle_drifted{chosen})", "drifted columns"),
                    Query(f"boucle_window_quarantined{chosen}", "quarantined"),
                ],
            ),
            Panel(
                title="Age of the newest window",
                queries=[Query(f"boucle_window_age_seconds{chosen}", "since its end")],
                unit="s",
            ),
        ],
    )


def _machine(project: Project) -> Row:
    cost = project.monitoring.cost.is_set
    priced = Panel(
        title="A thousand predictions cost",
        queries=[Query(f'boucle_cost_per_thousand_predictions{{project="{project.project}"}}', "cost")],
        kind="stat",
        width=6,
    )
    return Row(
        title="Machine",
        panels=[
            Panel(
                title="Processor by part",
                queries=[Query("rate(boucle_part_cpu_seconds_total[5m])", "{{part}}")],
                unit="percentunit",
            ),
            Panel(
                title="Memory by part",
                queries=[Query("boucle_part_resident_memory_bytes", "{{part}}")],
                unit="bytes",
            ),
            Panel(
                title="Disk free",
                queries=[Query("boucle_disk_free_bytes / boucle_disk_total_bytes", "of the home's file system")],
                unit="percentunit",
                highest=1.0,
                width=6,
            ),
            Panel(
                title="GPU",
                queries=[
                    Query("boucle_gpu_busy_ratio", "{{gpu}} busy"),
                    Query("boucle_gpu_memory_used_bytes / boucle_gpu_memory_total_bytes", "{{gpu}} memory"),
                ],
                unit="percentunit",
                width=6,
            ),
            *([priced] if cost else []),
        ],
    )


def _laid_out(rows: Sequence[Row]) -> list[Entry]:
    """Panels where they stand: rows below each other, each as wide as the page."""
    found: list[Entry] = []
    top = 0
    for row in rows:
        found.append(
            {
                "id": len(found) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": top, "w": _WIDTH, "h": 1},
            }
        )
        top, left = top + 1, 0
        for panel in row.panels:
            if left + panel.width > _WIDTH:
                top, left = top + _HEIGHT, 0
            found.append(_panel(panel, len(found) + 1, left, top))
            left += panel.width
        top += _HEIGHT
    return found


def _panel(panel: Panel, number: int, left: int, top: int) -> Entry:
    defaults: Entry = {"unit": panel.unit}
    if panel.highest is not None:
        defaults |= {"min": 0.0, "max": panel.highest}
    if panel.steps:
        steps = [{"value": value, "color": color} for value, color in panel.steps]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {"x": left, "y": top, "w": panel.width, "h": _HEIGHT},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {},
        "transparent": False,
        "transformations": [],
        "targets": [
            {"refId": chr(65 + place), "datasource": _SOURCE, "expr": one.expr, "legendFormat": one.legend}
            for place, one in enumerate(panel.queries)
        ],
    }
