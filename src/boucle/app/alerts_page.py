"""Incidents as one HTML file: no network, no clock, every text escaped; charts as pictures in it."""

from collections.abc import Mapping, Sequence
from typing import Final

import altair as alt
import msgspec
import vl_convert
from markupsafe import Markup

from boucle.app.charts import LIGHT, Row, Spec, data_of, spec_of
from boucle.app.html_page import as_it_stands, plainly
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
    """The same as a Vega-Lite spec."""
    rows: list[Row] = [
        {"place": float(place), "when": when, "share": count / max(1, sum(counts))}
        for when, counts in (("reference", column.reference), ("window", column.window))
        for place, count in enumerate(counts)
    ]
    names = [name if len(name) <= 22 else name[:21] + "…" for name in column.bins]
    axis = alt.Axis(
        title=None, ticks=False, domain=False, labelLimit=150, grid=False,
        labelExpr=f"{msgspec.json.encode(names).decode()}[datum.value]",
    )  # fmt: skip
    color = alt.Scale(domain=["reference", "window"], range=[LIGHT.muted, LIGHT.loop])
    bars = alt.Chart(data_of(rows)).mark_bar().encode(
        y=alt.Y("place:O", axis=axis),
        yOffset=alt.YOffset("when:N", sort=["reference", "window"]),
        x=alt.X("share:Q", axis=None),
        color=alt.Color("when:N", scale=color, legend=None),
    )  # fmt: skip
    return spec_of(bars.properties(width=210, height=max(1, len(column.bins)) * 19))
