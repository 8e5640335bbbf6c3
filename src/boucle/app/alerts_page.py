"""Incidents as one HTML file: no network, no clock, every text escaped; charts as pictures in it."""

from collections.abc import Mapping, Sequence
from typing import Final

import vl_convert
from markupsafe import Markup

from boucle.app.charts import Spec
from boucle.app.html_page import as_it_stands, plainly
from boucle.app.profile_charts import bins_beside
from boucle.monitoring.alerting.records import ColumnEvidence, Evidence, Incident, Told

MOST_CHARTS: Final = 24
"""Columns of one window that have a chart: those that are farthest from the reference."""
_EVENTS: Final = {"opened": "opened", "changed": "has news", "repeated": "is still open", "closed": "is over"}


def page(
    project: str,
    incidents: Sequence[Incident],
    evidence: Mapping[int, Sequence[Evidence]],
    told: Mapping[int, Sequence[Told]],
) -> str:
    """The page's HTML. The same incidents give the same text."""
    charts = {
        (number, place, column.column): svg(column)
        for number, found in evidence.items()
        for place, one in enumerate(found)
        for column in one.columns[:MOST_CHARTS]
        if column.bins
    }
    return plainly(
        "alerts.html.j2",
        project=project,
        incidents=incidents,
        evidence=evidence,
        told=told,
        charts=charts,
        events=_EVENTS,
        more_style=as_it_stands("profile.css") + as_it_stands("alerts.css"),
    )


def svg(column: ColumnEvidence) -> Markup:
    """The share of rows in each bin, in the reference and in the window, as a picture in a page."""
    return Markup(vl_convert.vegalite_to_svg(chart(column)))


def chart(column: ColumnEvidence) -> Spec:
    """The same as a Vega-Lite spec, with room for names that a reader's font makes longer."""
    beside = bins_beside(column.bins, {"reference": column.reference, "window": column.window})
    return beside | {"padding": {"left": 40, "right": 5, "top": 5, "bottom": 5}}
