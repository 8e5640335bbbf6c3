"""The charts of a profile's page, in the colours and forms of the report's."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

import altair as alt
import msgspec

from boucle.app.charts import LIGHT, Row, Spec, data_of, heat_colors, spec_of, tips
from boucle.data.described import Correlation
from boucle.data.profile_facts import ColumnFacts

MOST_COLUMNS: Final = 30
"""Of the map of correlations: those with the strongest ones."""
STEPS: Final = (0.1, 0.3, 0.5, 0.8)
"""Where the map changes colour, whatever the sign."""

_PLAIN: Final[Spec] = {"title": None, "ticks": False, "domain": False, "labelLimit": 140, "grid": False}
_LABELLED: Final = 14
_MOST_LABEL: Final = 18
_TALL, _WIDE = 96, 300


def distribution(one: ColumnFacts) -> Spec | None:
    """A column's histogram, or its most frequent values; None where there is neither."""
    if one.bars:
        return _histogram(one)
    return _frequent(one) if one.top else None


def bins_beside(bins: Sequence[str], counts: Mapping[str, Sequence[int]]) -> Spec:
    """The share of rows in each bin, the first's above the second's; `counts` by what they are of."""
    rows: list[Row] = [
        {"place": float(place), "bin": name, "when": when, "share": share, "of rows": f"{share:.2%}"}
        for when, found in counts.items()
        for place, (name, share) in enumerate(zip(bins, _shares(found), strict=True))
    ]
    names = [name if len(name) <= 22 else name[:21] + "…" for name in bins]
    axis = alt.Axis(
        title=None, ticks=False, domain=False, labelLimit=150, grid=False,
        labelExpr=f"{msgspec.json.encode(names).decode()}[datum.value]",
    )  # fmt: skip
    whose = list(counts)
    color = alt.Scale(domain=whose, range=[LIGHT.muted, LIGHT.loop])
    bars = alt.Chart(data_of(rows)).mark_bar().encode(
        y=alt.Y("place:O", axis=axis),
        yOffset=alt.YOffset("when:N", sort=whose),
        x=alt.X("share:Q", axis=None),
        color=alt.Color("when:N", scale=color, legend=None),
        tooltip=tips("bin", "when", "of rows"),
    )  # fmt: skip
    return spec_of(bars.properties(width=210, height=max(1, len(bins)) * 19))


def _shares(counts: Sequence[int]) -> list[float]:
    rows = max(1, sum(counts))
    return [count / rows for count in counts]


def correlation_map(pairs: list[Correlation]) -> Spec | None:
    """Strength of each pair by lightness, with its sign in words; None without a pair that has one."""
    names: list[str] = []
    for pair in pairs:
        if pair.value is not None:
            names += [name for name in (pair.first, pair.second) if name not in names]
    names = names[:MOST_COLUMNS]
    cells: list[Row] = []
    for pair in pairs:
        if pair.value is None or pair.first not in names or pair.second not in names:
            continue
        for across, down in ((pair.first, pair.second), (pair.second, pair.first)):
            cells.append(
                {
                    "x": across,
                    "y": down,
                    "strength": abs(pair.value),
                    "r": f"{pair.value:+.3f}",
                    "label": f"{pair.value:+.2f}",
                }
            )
    if not cells:
        return None
    step = 46 if len(names) <= _LABELLED else 22
    scale = alt.Scale(domain=names, paddingInner=0.04, paddingOuter=0)
    x, y = (
        alt.X("x:N", scale=scale, axis=alt.Axis(**_PLAIN, labelAngle=-45)),
        alt.Y("y:N", scale=scale, axis=alt.Axis(**_PLAIN)),
    )
    heat = heat_colors()
    color = alt.Color("strength:Q", scale=alt.Scale(type="threshold", domain=list(STEPS), range=heat), legend=None)
    base = alt.Chart(data_of(cells))
    layers = [base.mark_rect().encode(x=x, y=y, color=color, tooltip=tips("x", "y", "r"))]
    if len(names) <= _LABELLED:
        ink = alt.condition(f"datum.strength >= {STEPS[3]}", alt.value(LIGHT.heat_0), alt.value(LIGHT.ink))
        layers.append(base.mark_text(fontSize=11.5).encode(x=x, y=y, text="label:N", color=ink))
    size = step * len(names)
    return spec_of(alt.layer(*layers).properties(width=size, height=size))


def _histogram(one: ColumnFacts) -> Spec:
    time = one.type == "time"
    rows: list[Row] = [
        {
            "low": bar.low,
            "high": bar.high,
            "share": bar.share,
            "floor": 0.0,
            "from": _told(bar.low),
            "to": _told(bar.high),
            "of values": f"{bar.share:.2%}",
        }
        for bar in one.bars
    ]
    kind = "T" if time else "Q"
    ends = alt.Scale(type="utc") if time else alt.Scale(zero=False, nice=False)
    axis = alt.Axis(title=None, grid=False, tickCount=4, labelFlush=True, labelOverlap=True)
    if len(rows) == 1:  # a constant: one bar over its value
        x = alt.X("from:N", axis=alt.Axis(title=None, labelAngle=0, grid=False))
        mark = alt.Chart(data_of(rows)).mark_bar(color=LIGHT.loop, width=24).encode(x=x)
    else:
        x = alt.X(f"low:{kind}", scale=ends, axis=axis, bin=None)
        bars = alt.Chart(data_of(rows)).mark_bar(color=LIGHT.loop, binSpacing=1)
        mark = bars.encode(x=x, x2=alt.X2("high"))
    y = alt.Y("share:Q", axis=None)
    return spec_of(
        mark.encode(y=y, y2=alt.Y2("floor"), tooltip=tips("from", "to", "of values")).properties(
            width=_WIDE, height=_TALL
        )
    )


def _frequent(one: ColumnFacts) -> Spec:
    present = max(1, one.rows - one.missing)
    rows: list[Row] = [
        {
            "place": float(place),
            "name": _short(top.value),
            "value": top.value,
            "share": top.rows / present,
            "rows": f"{top.rows:,}",
            "of values": f"{top.rows / present:.1%}",
        }
        for place, top in enumerate(one.top[:6])
    ]
    axis = alt.Axis(title=None, ticks=False, domain=False, labelLimit=150, labelExpr=_labels(rows), grid=False)
    y = alt.Y("place:O", axis=axis)
    x = alt.X("share:Q", axis=None)
    base = alt.Chart(data_of(rows)).encode(x=x, y=y)
    bars = base.mark_bar(color=LIGHT.loop).encode(tooltip=tips("value", "rows", "of values"))
    text = base.mark_text(align="left", dx=4, color=LIGHT.muted, fontSize=11.5).encode(text="of values:N")
    return spec_of(alt.layer(bars, text).properties(width=_WIDE - 90, height=max(1, len(rows)) * 19))


def _labels(rows: list[Row]) -> str:
    """Places by their names: names may be equal once they are cut."""
    return f"{json.dumps([row['name'] for row in rows])}[datum.value]"


def _short(value: str) -> str:
    return (value if len(value) <= _MOST_LABEL else value[: _MOST_LABEL - 1] + "…") or "(empty)"


def _told(value: float | str | bool) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
