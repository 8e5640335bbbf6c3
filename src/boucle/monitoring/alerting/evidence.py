"""What is kept with an incident: the columns of its alerts beside the reference, and some served rows. Pure."""

from collections.abc import Sequence
from datetime import date, datetime
from math import isfinite
from typing import Final

import msgspec
import polars as pl

from boucle.data.records import Profile
from boucle.monitoring.alerting.records import ColumnEvidence, Evidence
from boucle.monitoring.compare import columns_of, compared
from boucle.monitoring.records import Alert, Window

MOST_COLUMNS: Final = 60
"""Of one window; those whose distance is largest."""
_LONGEST: Final = 200
"""Characters of a value."""
Value = str | int | float | bool | None


def evidence_of(
    window: Window,
    opened: Sequence[Alert],
    *,
    reference: Profile,
    profile: Profile,
    predictions: pl.DataFrame,
    hidden: Sequence[str],
    sample_rows: int,
    names: dict[str, str],
) -> Evidence:
    """What a window shows of the alerts that it opened.

    `predictions`: its rows, as `frames_to_table` makes them. `hidden`: columns that the prediction log is to lack, by
    their own names; `names`: what the project calls the key and the time, by their columns' names here.
    """
    subjects = {one.subject for one in opened}
    order = {one.column: place for place, one in enumerate(sorted(window.drift, key=lambda one: -one.psi))}
    chosen = sorted((one for one in order if one in subjects), key=order.__getitem__)
    sample, redacted = _sample(predictions, hidden, sample_rows, names)
    return Evidence(
        window=window.key,
        rows=window.rows,
        versions=window.versions,
        columns=_columns(window, chosen[:MOST_COLUMNS], reference, profile),
        columns_left_out=max(len(chosen) - MOST_COLUMNS, 0),
        findings=[f"{one.name}: {one.message}" for one in window.findings if not one.passed],
        failing=[
            {column: _plain(value) for column, value in row.items() if column not in hidden}
            for one in window.findings
            if not one.passed
            for row in one.samples[:sample_rows]
        ][:MOST_COLUMNS],
        sample=sample,
        redacted=redacted,
    )


def _columns(window: Window, names: Sequence[str], reference: Profile, profile: Profile) -> list[ColumnEvidence]:
    ours, theirs = columns_of(reference), columns_of(profile)
    distances = compared(
        {name: ours[name] for name in names if name in ours}, {name: theirs[name] for name in names if name in theirs}
    )
    counted = {one.column: one for one in distances}
    judged = {one.column: one for one in window.drift}
    return [
        ColumnEvidence(
            column=name,
            figures={
                figure: value
                for figure, value in msgspec.to_builtins(judged[name]).items()
                if value is None or (isinstance(value, int | float) and isfinite(value))
            },
            bins=counted[name].bins if name in counted else [],
            reference=counted[name].reference_counts if name in counted else [],
            window=counted[name].window_counts if name in counted else [],
        )
        for name in names
    ]


def _sample(
    predictions: pl.DataFrame, hidden: Sequence[str], most: int, names: dict[str, str]
) -> tuple[list[dict[str, Value]], list[str]]:
    """Rows from all over the window, without what is hidden."""
    shown = {
        column: names.get(column, column.removeprefix("in.").removeprefix("out.")) for column in _told(predictions)
    }
    kept = {column: name for column, name in shown.items() if name not in hidden}
    step = max(1, -(-predictions.height // most)) if most else 0
    rows = predictions.gather_every(step).head(most).select(list(kept)) if most and kept else pl.DataFrame()
    sample = [{column: _plain(value) for column, value in row.items()} for row in rows.iter_rows(named=True)]
    return sample, sorted(set(shown.values()) - set(kept.values()))


def _told(predictions: pl.DataFrame) -> list[str]:
    """The columns that say what was asked and answered, not how."""
    told = ("event_time", "entity_key", "number")
    return [one for one in predictions.columns if one in told or one.startswith(("in.", "out."))]


def _plain(value: object) -> Value:
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
        return value
    text = value.isoformat() if isinstance(value, date | datetime) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
