"""A profile as one HTML file: no network, no clock, every text escaped."""

from boucle.app import charts, profile_charts
from boucle.app.commands.profile import distinct_told, figure, missing_told, span
from boucle.app.html_page import as_it_stands, rendered
from boucle.data.distinct import STANDARD_ERROR
from boucle.data.profile_facts import ColumnFacts, TableFacts

_QUANTILES = {
    "0.01": "1 %",
    "0.05": "5 %",
    "0.25": "25 %",
    "0.5": "median",
    "0.75": "75 %",
    "0.95": "95 %",
    "0.99": "99 %",
}


def page(told: TableFacts) -> str:
    """The page's HTML. The same profile gives the same text."""
    specs = {
        f"column-{place}": spec
        for place, one in enumerate(told.columns)
        if (spec := profile_charts.distribution(one)) is not None
    }
    together = profile_charts.correlation_map(told.correlations)
    if together is not None:
        specs["chart-correlations"] = together
    cells = sum(one.rows for one in told.columns)
    return rendered(
        "profile.html.j2",
        specs,
        told=told,
        figures=[_figures(one) for one in told.columns],
        missing=sum(one.missing for one in told.columns) / cells if cells else 0.0,
        constant=sum(one.distinct == 1 for one in told.columns),
        estimated=any(one.distinct is not None and not one.distinct_is_exact for one in told.columns),
        error=f"{STANDARD_ERROR:.1%}",
        steps=list(
            zip(charts.heat_colors(), ("under 0.1", "0.1 to 0.3", "0.3 to 0.5", "0.5 to 0.8", "over 0.8"), strict=True)
        ),
        more_style=as_it_stands("profile.css"),
    )


def _figures(one: ColumnFacts) -> list[tuple[str, str]]:
    """A column's figures by name."""
    shown = [("missing", missing_told(one)), ("distinct", distinct_told(one))]
    if one.type in ("number", "time") and one.minimum is not None:
        deviation = span(one.deviation) if one.type == "time" else figure(one.deviation)
        shown += [("mean", figure(one.mean)), ("deviation", deviation)]
        shown += [("least", figure(one.minimum))]
        shown += [(_QUANTILES[q], figure(value)) for q, value in one.quantiles.items()]
        shown += [("most", figure(one.maximum))]
        shown += [
            (name, "-" if value is None else f"{value:.3g}")
            for name, value in (("skewness", one.skewness), ("kurtosis", one.kurtosis))
        ]
    if one.lengths is not None:
        least, mean, most = one.lengths
        shown.append(("characters", f"{least:.0f} to {most:.0f}, mean {mean:.1f}"))
    if one.top_error:
        shown.append(("counts", f"at most {one.top_error:,} too low"))
    return shown
