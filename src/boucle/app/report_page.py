"""The report as one HTML file: no network, no clock, every text escaped."""

from collections import Counter
from pathlib import Path
from typing import Final

from boucle.app import charts
from boucle.app.html_page import rendered
from boucle.kernel.paths import write_atomic
from boucle.loop.report_records import Report

_MET: Final = {True: ("met", "✓ met"), False: ("missed", "✗ missed"), None: ("unknown", "— not measured")}
_DECISIONS: Final = {
    "retrain": "● retrained",
    "promote": "▲ promoted",
    "refuse": "✚ refused",
    "rollback": "▼ rolled back",
    "quarantine": "◆ quarantined",
}


def write(report: Report, path: Path) -> None:
    """Write the page in one step; readers see the old page or the new one."""
    write_atomic(path, page(report).encode())
    path.chmod(0o644)  # a page to hand on, unlike what the store keeps


def page(report: Report) -> str:
    """The page's HTML. The same report gives the same text."""
    specs = {
        "chart-time": charts.metric_over_time(report) if _has_values(report) else None,
        "chart-drift": charts.drift_map(report) if report.drift else None,
        "chart-calibration": charts.calibration(report.calibration_before, report.calibration_after)
        if report.calibration_before or report.calibration_after
        else None,
    }
    drawn = {name: spec for name, spec in specs.items() if spec is not None}
    return rendered(
        "report.html.j2",
        drawn,
        filters={"metric": _metric, "count": _count, "share": _share, "evidence": _evidence},
        report=report,
        totals=Counter(mark.kind for mark in report.marks),
        heat=charts.heat_legend(),
        verdicts=_MET,
        decisions=_DECISIONS,
    )


def _has_values(report: Report) -> bool:
    values = [value for week in report.weeks for value in (week.loop, week.frozen)]
    return any(value is not None for value in (*values, *(month.oracle for month in report.months)))


def _metric(value: float | None) -> str:
    """Three decimals of a share, four figures of an error in its own unit.

    >>> _metric(0.71234), _metric(2930.123)
    ('0.712', '2,930')
    """
    if value is None:
        return "—"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.{max(0, 4 - len(str(int(abs(value)))))}f}"


def _count(value: int) -> str:
    """Thousands apart by a thin space.

    >>> _count(284170)
    '284\\u202f170'
    """
    return f"{value:,}".replace(",", "\u202f")


def _share(value: float | None) -> str:
    return "—" if value is None else f"{value * 100:.0f} %"


def _evidence(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
