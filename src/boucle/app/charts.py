"""The report's charts as Vega-Lite specs, made with Altair: one definition for the page, for PNG and for notebooks.

Specs are drawn in the colours of `LIGHT`; `DARK` holds the same roles for a dark page, whose script swaps them.
No meaning rests on colour alone: lines differ in dashes, decisions in shape and lane, heat in lightness.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any, Final

import altair as alt
from msgspec import Struct, structs

from boucle.evaluation.records import Curve
from boucle.loop.report_records import DriftCell, Mark, Report

Spec = dict[str, Any]
"""A Vega-Lite 6 specification, JSON-ready."""
Row = dict[str, str | float | None]


class Palette(Struct, frozen=True, kw_only=True):
    """A colour for each role, `#rrggbb`; all different, so that one can be swapped for another."""

    ink: str
    muted: str
    line: str
    loop: str
    frozen: str
    oracle: str
    retrain: str
    promote: str
    refuse: str
    rollback: str
    quarantine: str
    heat_0: str
    heat_1: str
    heat_2: str
    heat_3: str
    heat_4: str
    flaw: str


LIGHT: Final = Palette(
    ink="#1d2129",
    muted="#5c6470",
    line="#e4e7eb",
    loop="#1f5fd0",
    frozen="#868e99",
    oracle="#0b8574",
    retrain="#3b6fb8",
    promote="#1c7c3f",
    refuse="#b42318",
    rollback="#b45309",
    quarantine="#7c3aad",
    heat_0="#f2f4f7",
    heat_1="#dbe5f1",
    heat_2="#b4cae4",
    heat_3="#f0a04b",
    heat_4="#b93a0e",
    flaw="#101318",
)
DARK: Final = Palette(
    ink="#e7eaee",
    muted="#9aa4b1",
    line="#2c323b",
    loop="#7cacff",
    frozen="#98a0ac",
    oracle="#45cdb4",
    retrain="#8db4ea",
    promote="#63d18c",
    refuse="#ff8f85",
    rollback="#ffb066",
    quarantine="#c79cf2",
    heat_0="#1f252d",
    heat_1="#293646",
    heat_2="#3d5777",
    heat_3="#cc7a30",
    heat_4="#ffc483",
    flaw="#ffffff",
)

WIDTH: Final = 1010
"""Of the plotting area of the wide charts, in pixels."""
HEAT_STEPS: Final = (0.5, 0.8, 1.0, 1.5)
"""Where the heat map changes colour: PSI in shares of the column's threshold."""

_HEAT_LABELS: Final = ("under 0.5", "0.5 to 0.8", "0.8 to 1", "1 to 1.5: drifted", "over 1.5")
_LINES: Final = ("the loop", "first model, left alone", "oracle, monthly")
_LANES: Final = {
    "retrain": ("retrained", "circle"),
    "promote": ("promoted", "triangle-up"),
    "refuse": ("refused", "cross"),
    "rollback": ("rolled back", "triangle-down"),
    "quarantine": ("quarantined day", "diamond"),
}
_AXIS: Final[Spec] = {"format": "%b %Y", "tickCount": "month", "title": None}


def dark_colors() -> dict[str, str]:
    """Which colour of a spec becomes which on a dark page."""
    return dict(zip(structs.astuple(LIGHT), structs.astuple(DARK), strict=True))


def metric_over_time(report: Report) -> Spec:
    """The metric of the loop and of the first model by week, of the oracle by month, with the decisions below."""
    # Only one layer and the lanes state the domain: repeated, Vega-Lite takes the same dates for a conflict.
    scale = alt.Scale(type="utc", domain=[_milliseconds(report.first), _milliseconds(report.last + timedelta(days=1))])
    series = alt.Scale(domain=list(_LINES), range=[LIGHT.loop, LIGHT.frozen, LIGHT.oracle])
    dashes = alt.Scale(domain=list(_LINES), range=[[1, 0], [6, 3], [2, 2]])
    legend = alt.Legend(orient="top", title=None, symbolType="stroke", symbolSize=600, symbolStrokeWidth=2.5)
    color = alt.Color("series:N", scale=series, legend=legend)
    dash = alt.StrokeDash("series:N", scale=dashes, legend=legend)
    value = alt.Y("value:Q", scale=alt.Scale(zero=False, nice=True, padding=6), title=report.metric)
    axis = alt.Axis(labels=False, ticks=False, tickCount="month", title=None)
    time, spanned = alt.X("at:T", scale=scale, axis=axis), alt.X("at:T", scale=alt.Scale(type="utc"), axis=axis)

    shade = alt.Chart(data_of(_quarantined(report.quarantined))).mark_rect(color=LIGHT.quarantine, opacity=0.16)
    rules = [
        alt.Chart(data_of(_marks(report.marks, [kind])))
        .mark_rule(color=color, strokeWidth=1, opacity=0.35)
        .encode(x=spanned)
        for kind, color in (("promote", LIGHT.promote), ("rollback", LIGHT.rollback))
    ]
    months = alt.Chart(data_of(_months(report))).mark_rule(strokeWidth=2.5)
    weeks = alt.Chart(data_of(_weeks(report))).mark_line(strokeWidth=2.5, interpolate="monotone", point={"size": 22})
    top = alt.layer(
        shade.encode(x=spanned, x2="until:T"),
        *rules,
        months.encode(x=spanned, x2="until:T", y=value, color=color, strokeDash=dash, tooltip=tips("month", "value")),
        weeks.encode(x=time, y=value, color=color, strokeDash=dash, tooltip=tips("series", "week", "value", "rows")),
    ).properties(width=WIDTH, height=290)
    chart = alt.vconcat(top, _lanes(report, scale), spacing=4).resolve_scale(
        color="independent", strokeDash="independent", x="independent"
    )
    return spec_of(chart)


def drift_map(report: Report) -> Spec:
    """Each column's PSI on each day, in shares of its threshold: the column that drifted most on top."""
    days = _days(report.first, report.last)
    columns = _by_drift(report.drift)
    width, height = min(22 * len(days), WIDTH), max(1, len(columns)) * 17
    x = alt.X(
        "day:O",
        scale=alt.Scale(domain=days, paddingInner=0, paddingOuter=0),
        axis=alt.Axis(
            title=None,
            values=[day for day in days if day.endswith("-01")] or days[:1],
            labelExpr="utcFormat(toDate(datum.value), '%b %Y')",
            labelAngle=0,
            labelAlign="left",
            labelOverlap=True,
            grid=False,
        ),
    )
    y = alt.Y(
        "column:N",
        scale=alt.Scale(domain=columns, paddingInner=0.08, paddingOuter=0),
        axis=alt.Axis(title=None, labelLimit=150, ticks=False, domain=False),
    )
    color = alt.Color(
        "ratio:Q",
        scale=alt.Scale(type="threshold", domain=list(HEAT_STEPS), range=heat_colors()),
        legend=None,
    )
    cells = [_cell(cell) for cell in report.drift]
    heat = alt.Chart(data_of(cells)).mark_rect().encode(x=x, y=y, color=color, tooltip=tips("day", "column", "drift"))
    jumps = [cell for cell in cells if cell["jumped"]]
    size = min(40, max(14, (width / len(days)) ** 2))
    jumped = alt.Chart(data_of(jumps)).mark_point(
        shape="diamond", filled=True, size=size, color=LIGHT.flaw, opacity=1, stroke=LIGHT.heat_0, strokeWidth=0.6
    )
    layers = [heat, jumped.encode(x=x, y=y, tooltip=tips("day", "column", "drift"))]
    if report.quarantined:
        spans: list[Row] = [
            {"day": first.isoformat(), "until": last.isoformat()} for first, last in _spans(report.quarantined)
        ]
        frame = alt.Chart(data_of(spans)).mark_rect(filled=False, stroke=LIGHT.quarantine, strokeWidth=1.5)
        ends = {"x": x.bandPosition(0), "x2": alt.X2("until", bandPosition=1)}
        layers.append(frame.encode(**ends, y=alt.value(0), y2=alt.value(height)))
    return spec_of(alt.layer(*layers).properties(width=width, height=height))


def heat_legend() -> list[tuple[str, str]]:
    """Colour and meaning of each step of the heat map, coolest first."""
    return list(zip(heat_colors(), _HEAT_LABELS, strict=True))


def calibration(before: Curve | None, after: Curve | None) -> Spec:
    """Predicted probability against observed share, of the first model and of the loop; on the diagonal is right."""
    names = (_LINES[1], _LINES[0])
    curves = [curve for curve in (before, after) if curve is not None]
    end = max([0.1, *(value for curve in curves for value in (*curve.x, *curve.y))])
    corner = min(1.0, round(end * 1.08, 2))
    rows: list[Row] = [
        {"series": name, "order": index, "predicted": round(x, 5), "observed": round(y, 5)}
        for name, curve in zip(names, (before, after), strict=True)
        if curve is not None
        for index, (x, y) in enumerate(zip(curve.x, curve.y, strict=True))
    ]
    scale = alt.Scale(domain=[0, corner], nice=False)
    legend = alt.Legend(orient="top", title=None, symbolSize=90)
    color = alt.Color("series:N", scale=alt.Scale(domain=list(names), range=[LIGHT.frozen, LIGHT.loop]), legend=legend)
    shape = alt.Shape("series:N", scale=alt.Scale(domain=list(names), range=["square", "circle"]), legend=legend)
    x = alt.X("predicted:Q", scale=scale, title="predicted probability", axis=alt.Axis(tickCount=6, format=".0%"))
    y = alt.Y("observed:Q", scale=scale, title="observed share", axis=alt.Axis(tickCount=6, format=".0%"))
    diagonal = alt.Chart(data_of([{"predicted": 0.0, "observed": 0.0}, {"predicted": corner, "observed": corner}]))
    base = alt.Chart(data_of(rows)).encode(x=x, y=y, color=color, order="order:Q")
    chart = alt.layer(
        diagonal.mark_line(color=LIGHT.muted, strokeDash=[3, 3], strokeWidth=1).encode(x=x, y=y),
        base.mark_line(strokeWidth=2),
        base.mark_point(filled=True, size=60, opacity=1).encode(
            shape=shape, tooltip=tips("series", "predicted", "observed")
        ),
    ).properties(width=440, height=340)
    return spec_of(chart)


def _lanes(report: Report, scale: alt.Scale) -> alt.Chart:
    labels = [label for label, _ in _LANES.values()]
    y = alt.Y(
        "decision:N",
        scale=alt.Scale(domain=labels),
        axis=alt.Axis(title=None, ticks=False, domain=False, grid=True, labelPadding=8),
    )
    axis = alt.Axis(**_AXIS, labelFlush=False)
    points = alt.Chart(data_of(_marks(report.marks, tuple(_LANES))), width=WIDTH, height=len(labels) * 22)
    encoded: alt.Chart = points.mark_point(filled=True, size=95, opacity=1).encode(
        x=alt.X("at:T", scale=scale, axis=axis),
        y=y,
        color=alt.Color("color:N", scale=None),
        shape=alt.Shape("shape:N", scale=None),
        tooltip=tips("decision", "day", "version", "reason"),
    )
    return encoded


def spec_of(chart: alt.TopLevelMixin) -> Spec:
    """A chart as a spec in the colours and the font of all of them."""
    font = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
    axis: Spec = {
        "labelColor": LIGHT.muted,
        "titleColor": LIGHT.muted,
        "gridColor": LIGHT.line,
        "domainColor": LIGHT.line,
        "tickColor": LIGHT.line,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    }
    configured: Spec = chart.to_dict()
    configured["config"] = {
        "font": font,
        "background": None,
        "view": {"stroke": None},
        "axis": axis,
        "legend": {"labelColor": LIGHT.ink, "labelFontSize": 12.5, "labelLimit": 240},
    }
    return configured


def data_of(rows: Iterable[Row]) -> alt.InlineData:
    """Rows that stand in the spec itself."""
    return alt.InlineData(values=list(rows))


def tips(*names: str) -> list[alt.Tooltip]:
    """What is shown of a row where the pointer is."""
    return [alt.Tooltip(f"{name}:N", title=name) for name in names]


def _weeks(report: Report) -> list[Row]:
    """A week's point stands in its middle; the clipped first and last ones in the middle of what is left."""
    rows: list[Row] = []
    for name, field in zip(_LINES, ("loop", "frozen"), strict=False):
        for week in report.weeks:
            first, last = max(week.week, report.first), min(week.week + timedelta(days=6), report.last)
            value: float | None = getattr(week, field)
            rows.append(
                {
                    "series": name,
                    "at": (first + (last - first) // 2).isoformat(),
                    "week": f"{first} to {last}",
                    "value": None if value is None else round(value, 4),
                    "rows": week.rows,
                }
            )
    return rows


def _months(report: Report) -> list[Row]:
    rows: list[Row] = []
    for month in report.months:
        if month.oracle is None:
            continue
        start = date.fromisoformat(f"{month.month}-01")
        end = (start + timedelta(days=31)).replace(day=1)
        rows.append(
            {
                "series": _LINES[2],
                "at": max(start, report.first).isoformat(),
                "until": min(end, report.last + timedelta(days=1)).isoformat(),
                "month": month.month,
                "value": round(month.oracle, 4),
            }
        )
    return rows


def _marks(marks: Sequence[Mark], kinds: Sequence[str]) -> list[Row]:
    return [
        {
            "at": f"{mark.day}T12:00:00Z",
            "day": mark.day.isoformat(),
            "decision": _LANES[mark.kind][0],
            "shape": _LANES[mark.kind][1],
            "color": str(getattr(LIGHT, mark.kind)),
            "version": "" if mark.version is None else f"version {mark.version}",
            "reason": mark.reason,
        }
        for mark in marks
        if mark.kind in kinds
    ]


def _quarantined(days: Sequence[date]) -> list[Row]:
    return [{"at": day.isoformat(), "until": (day + timedelta(days=1)).isoformat()} for day in days]


def _spans(days: Sequence[date]) -> list[tuple[date, date]]:
    """Runs of days in a row, as first and last.

    >>> [(first.day, last.day) for first, last in _spans([date(2013, 7, 15), date(2013, 7, 16), date(2013, 7, 20)])]
    [(15, 16), (20, 20)]
    """
    spans: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if spans and spans[-1][1] == day - timedelta(days=1):
            spans[-1] = (spans[-1][0], day)
        else:
            spans.append((day, day))
    return spans


def _cell(cell: DriftCell) -> Row:
    ratio = cell.psi / cell.threshold if cell.threshold > 0 else 0.0
    said = f"PSI {cell.psi:.2f}, threshold {cell.threshold:.2f}" + (", the mean jumped" if cell.shifted else "")
    return {
        "day": cell.day.isoformat(),
        "column": cell.column,
        "ratio": round(ratio, 2),
        "jumped": float(cell.shifted),
        "drift": said,
    }


def _by_drift(cells: Sequence[DriftCell]) -> list[str]:
    """Columns by the days they drifted or jumped, each day by what its drift matters, most first; then in the order
    they came."""
    days = dict.fromkeys((cell.column for cell in cells), 0.0)
    for cell in cells:
        if cell.drifted or cell.shifted:
            days[cell.column] += 1.0 if cell.matters is None else cell.matters
    return sorted(days, key=lambda column: -days[column])


def heat_colors() -> list[str]:
    """The steps of a heat map, coolest first."""
    return [LIGHT.heat_0, LIGHT.heat_1, LIGHT.heat_2, LIGHT.heat_3, LIGHT.heat_4]


def _milliseconds(day: date) -> int:
    return (day - date(1970, 1, 1)).days * 86_400_000


def _days(first: date, last: date) -> list[str]:
    return [(first + timedelta(days=day)).isoformat() for day in range((last - first).days + 1)]
