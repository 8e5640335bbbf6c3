"""Two tables compared, as one HTML file: no network, no clock, every text escaped."""

from typing import Final

from boucle.app.charts import Spec
from boucle.app.commands.drift import figure, told
from boucle.app.html_page import as_it_stands, rendered
from boucle.app.profile_charts import bins_beside
from boucle.monitoring.records import SERIOUS
from boucle.monitoring.verdict import ColumnVerdict, TableVerdict

MOST_CHARTS: Final = 60
"""Columns that have a chart: those that matter most."""


def page(verdict: TableVerdict, reference: str, current: str) -> str:
    """The page's HTML. The same verdict gives the same text."""
    specs = {f"column-{place}": _bins(one) for place, one in enumerate(verdict.columns[:MOST_CHARTS]) if _counts(one)}
    return rendered(
        "drift.html.j2",
        specs,
        verdict=verdict,
        told=told(verdict),
        serious=SERIOUS,
        reference=reference,
        current=current,
        figures=[_figures(one) for one in verdict.columns],
        more_style=as_it_stands("profile.css"),
    )


def _figures(one: ColumnVerdict) -> list[tuple[str, str]]:
    """A column's figures by name, each with what it passes without drift at the stated rate."""
    far = one.distances
    if far.moved is None:
        return []
    shown = [("rows moved", f"{far.moved:.1%}"), ("p, corrected", figure(one.adjusted))]
    values = {
        "psi": ("PSI", far.psi),
        "js": ("Jensen-Shannon", far.js),
        "hellinger": ("Hellinger", far.hellinger),
        "wasserstein": ("Wasserstein", far.wasserstein),
    }
    for key, (name, value) in values.items():
        if value is not None:
            limit = one.thresholds.get(key)
            shown.append((name, figure(value) + ("" if limit is None else f" (noise to {figure(limit)})")))
    if far.ks is not None:
        shown.append(("Kolmogorov-Smirnov", figure(far.ks)))
    shown.append(("chi-square", f"{figure(far.chi_square)} ({far.freedom} degrees)"))
    return shown


def _counts(one: ColumnVerdict) -> bool:
    return bool(one.distances.reference_rows and one.distances.window_rows and one.distances.bins)


def _bins(one: ColumnVerdict) -> Spec:
    """The share of rows in each bin, then and now."""
    far = one.distances
    return bins_beside(far.bins, {"reference": far.reference_counts, "current": far.window_counts})
