"""A run as a notebook shows it."""

from collections.abc import Mapping
from html import escape
from typing import Final, TypeVar

from boucle.runs.spool.records import ParamValue

_MOST: Final = 50
_LONGEST: Final = 200
T = TypeVar("T")


def as_html(
    title: str, facts: Mapping[str, str], params: Mapping[str, ParamValue], metrics: Mapping[str, float]
) -> str:
    """Small tables; everything in them is escaped, and of long lists the first 50 are shown.

    >>> as_html("a<b", {"status": "running"}, {}, {"loss": 0.25})[:40]
    '<div><strong>a&lt;b</strong><table><tbod'
    """
    parts = [_table("", dict(facts))]
    parts.append(_table("params", {name: str(value) for name, value in _first(params)}, len(params)))
    parts.append(_table("metrics", {name: f"{value:.6g}" for name, value in _first(metrics)}, len(metrics)))
    return f"<div><strong>{escape(_cut(title))}</strong>{''.join(parts)}</div>"


def duration(spent_ms: int) -> str:
    """How long something took, in words.

    >>> [duration(one) for one in (840, 12_340, 754_000, 7_260_000)]
    ['0.8 s', '12.3 s', '12 min 34 s', '2 h 1 min']
    """
    seconds = max(0, spent_ms) / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _first(of: Mapping[str, T]) -> list[tuple[str, T]]:
    return sorted(of.items())[:_MOST]


def _table(title: str, rows: Mapping[str, str], of: int = 0) -> str:
    if not rows:
        return ""
    left = '<t{0} style="text-align:left;vertical-align:top">{1}</t{0}>'
    cells = "".join(
        f"<tr>{left.format('h', escape(_cut(name)))}{left.format('d', escape(_cut(value)))}</tr>"
        for name, value in rows.items()
    )
    head = f"<caption>{title}</caption>" if title else ""
    more = f"<p>… and {of - len(rows)} more {title}</p>" if of > len(rows) else ""
    return f"<table>{head}<tbody>{cells}</tbody></table>{more}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
