"""What a soak showed: a table of years, and a chart of the curves."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from .watching import Sample

HEAD = "year   RSS loop  server   fds      threads  WAL    database  blobs   cache  serving  CPU s a year"


def table(samples: Sequence[Sample]) -> str:
    """One line a simulated year; sizes in MB."""
    lines = [HEAD]
    for year, (before, now) in enumerate(pairwise([*samples[::12], samples[-1]]), start=1):
        cpu = now.loop.cpu_s + now.server.cpu_s - before.loop.cpu_s - before.server.cpu_s
        lines.append(
            f"{year:<5} {now.loop.rss_mb:9.0f} {now.server.rss_mb:7.0f}   {now.loop.descriptors:>2}, "
            f"{now.server.descriptors:<3} {now.loop.threads:>4}, {now.server.threads:<2} {now.wal:6.1f} "
            f"{now.database:8.1f} {now.blobs:8.1f} {now.cache:7.1f} {now.serving:7.1f} {cpu:10.1f}"
        )
    return "\n".join(lines)


def draw(samples: Sequence[Sample], file: Path) -> Path:
    """The curves as a PNG."""
    panels = [_panel(samples, title, curves) for title, curves in _curves(samples).items()]
    chart = alt.vconcat(*panels).resolve_scale(color="independent")
    file.write_bytes(vl_convert.vegalite_to_png(chart.to_dict(), scale=1.5))
    return file


def _curves(samples: Sequence[Sample]) -> dict[str, dict[str, list[float]]]:
    return {
        "resident memory, MB": {
            "loop": [one.loop.rss_mb for one in samples],
            "server": [one.server.rss_mb for one in samples],
        },
        "descriptors and threads": {
            "loop's descriptors": [one.loop.descriptors for one in samples],
            "server's descriptors": [one.server.descriptors for one in samples],
            "loop's threads": [one.loop.threads for one in samples],
            "server's threads": [one.server.threads for one in samples],
        },
        "home, MB": {
            part: [getattr(one, part) for one in samples] for part in ("blobs", "database", "cache", "serving", "wal")
        },
        "CPU seconds since the beginning": {"loop and server": [one.loop.cpu_s + one.server.cpu_s for one in samples]},
    }


def _panel(samples: Sequence[Sample], title: str, curves: dict[str, list[float]]) -> alt.Chart:
    rows: list[dict[str, Any]] = [
        {"day": str(one.day), "curve": name, "value": values[at]}
        for name, values in curves.items()
        for at, one in enumerate(samples)
    ]
    chart = alt.Chart(alt.InlineData(values=rows), width=640, height=150, title=title).mark_line()
    return chart.encode(
        x=alt.X("day:T", title=None), y=alt.Y("value:Q", title=None), color=alt.Color("curve:N", title=None)
    )
