"""A run as a notebook shows it."""

from collections.abc import Mapping
from html import escape

_SHOWN = 12


def as_html(title: str, facts: Mapping[str, str], metrics: Mapping[str, float]) -> str:
    """A small table; everything in it is escaped.

    >>> as_html("a<b", {"status": "running"}, {"loss": 0.25})[:40]
    '<table><caption>a&lt;b</caption><tbody><'
    """
    rows = [*facts.items(), *((name, f"{value:.6g}") for name, value in list(metrics.items())[:_SHOWN])]
    if len(metrics) > _SHOWN:
        rows.append(("…", f"{len(metrics) - _SHOWN} more metrics"))
    cells = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in rows
    )
    return f"<table><caption>{escape(title)}</caption><tbody>{cells}</tbody></table>"
