"""What was wrong with the rows of a live window, looked for beside what is kept of the project."""

from collections.abc import Mapping
from datetime import timedelta

import polars as pl

from boucle.data.api import load
from boucle.data.records import Finding
from boucle.loop.reference import Reference
from boucle.loop.stage import Stage
from boucle.monitoring import api as monitoring
from boucle.monitoring.records import ColumnDrift
from boucle.monitoring.served_data import (
    WEEKS,
    freshness_findings,
    input_findings,
    refusal_findings,
    skew_findings,
    volume_findings,
)
from boucle.monitoring.spans import Span
from boucle.serving.refusals import told


def served_findings(
    stage: Stage,
    span: Span,
    predictions: pl.DataFrame,
    seen: pl.DataFrame,
    reference: Reference,
    drift: list[ColumnDrift],
) -> list[Finding]:
    """Findings on the inputs, how many rows came, how old they were, and on rows that were learned from otherwise."""
    policy, section = stage.project.monitoring.data, stage.project.data
    features = [*section.features.categorical, *section.features.numeric]
    found = input_findings(monitoring.inputs(predictions), seen, features, reference.profile, drift, policy)
    if span.number is None:
        first = span.day - timedelta(weeks=WEEKS)
        volumes = monitoring.volumes(stage.store, stage.name, stage.held.stream, first)
        before = [(at, rows) for at, rows in volumes if at < span.begins_at]
        length = span.ends_at - span.begins_at
        found += volume_findings(predictions.height, span.begins_at, before, policy.volume, length=length)
    found += freshness_findings(predictions, policy.freshness)
    if policy.skew and section.key is not None and not seen.is_empty():
        number = stage.compared_with(stage.standing().champion)
        trained = load(stage.store, stage.version(number).learned_from)
        found += skew_findings(seen, trained, key=section.key, time=stage.time, columns=features)
    return found


def refused_findings(stage: Stage, refused: Mapping[int, int], predictions: pl.DataFrame, errors: int) -> list[Finding]:
    """Findings on requests that were refused as wrong and leave no row: by what, and in which column."""
    section = stage.project.data
    number = stage.compared_with(stage.standing().champion)
    names = [one.name for one in stage.history.predictor(number).signature.inputs]
    columns = [*dict.fromkeys([*names, *(one for one in (section.key, section.time) if one)])]
    requests = predictions["request_id"].n_unique() + errors
    return refusal_findings(told(refused, columns), requests, stage.project.monitoring.data.refused)
