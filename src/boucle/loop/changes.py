"""The series of a stream's windows that detectors look at, and what they say of a new window."""

from datetime import time as time_of_day
from datetime import timedelta

import numpy as np
import polars as pl

from boucle.data.records import NumericProfile, Profile
from boucle.loop.stage import Stage
from boucle.monitoring import api as monitoring
from boucle.monitoring.compare import columns_of
from boucle.monitoring.records import Change
from boucle.monitoring.spans import Span
from boucle.monitoring.streaming import ERROR, PREDICTION, changed
from boucle.packaging.api import scores_in
from boucle.training.api import numbers_of


def series_of(stage: Stage, span: Span, own: Profile) -> dict[str, float]:
    """The number of a window for each series that is asked for; none where it has no such rows."""
    found: dict[str, float] = {}
    columns = columns_of(own)
    for name in dict.fromkeys(policy.on for policy in stage.project.monitoring.streaming):
        if name == ERROR:
            error = _error(stage, span)
            if error is not None:
                found[name] = error
            continue
        column = columns.get(name)
        if isinstance(column, NumericProfile) and column.rows > column.nulls:
            found[name] = column.total / (column.rows - column.nulls)
    return found


def changes_of(stage: Stage, span: Span, series: dict[str, float]) -> list[Change]:
    """What the detectors say of a window; what is answered and its errors begin anew with each version in charge."""
    policies = stage.project.monitoring.streaming
    if not policies or not series:
        return []
    kept = monitoring.series(stage.store, stage.name, stage.held.stream)
    known = [one for one in kept if one.begins_at < span.begins_at]
    number = str(stage.standing(before=span.day).champion)
    found = []
    for policy in policies:
        if policy.on in series:
            # What is answered, and how wrong it is, is another series for each version in charge.
            anew = policy.on in (PREDICTION, ERROR)
            of_it = [one.values for one in known if not anew or number in one.versions]
            before = [values[policy.on] for values in of_it if policy.on in values]
            found.append(changed(before, series[policy.on], policy))
    return [one for one in found if one is not None]


def _error(stage: Stage, span: Span) -> float | None:
    """Mean error of the rows of the days whose labels are due by the end of a window that begins at midnight."""
    if span.number is not None or span.begins_at.time() != time_of_day():
        return None
    days = max(1, (span.ends_at - span.begins_at).days)
    first = stage.labelled_through(span.day)
    frames = [rows for _, rows in stage.history.rows(first, first + timedelta(days=days - 1))]
    rows = pl.concat(frames, how="diagonal_relaxed") if frames else None
    if rows is None or rows.is_empty():
        return None
    signature = stage.history.predictor(stage.held.first_version).signature
    answers = monitoring.outputs(rows)
    if signature.task == "multiclass":
        return int((answers["label"] != rows["label"].cast(pl.String)).sum()) / rows.height
    scores = scores_in({one.name: one.to_numpy() for one in answers.iter_columns() if one.name != "label"})
    truth = numbers_of(rows["label"], signature.task, signature.classes)
    error = float(np.nanmean(np.abs(scores - truth)))
    return error if np.isfinite(error) else None
