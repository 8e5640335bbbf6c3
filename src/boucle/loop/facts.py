"""Everything a decision may depend on, gathered from the store at the end of a day."""

from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from boucle.data.api import load
from boucle.evaluation.api import compare, direction, measure
from boucle.evaluation.records import Comparison
from boucle.governance.api import explain, list_reports
from boucle.kernel.errors import InvalidInput
from boucle.loop.history import Outputs
from boucle.loop.records import ChallengerFacts, ChampionFacts, Facts, Retrain
from boucle.loop.rules import WEEK
from boucle.loop.stage import Stage
from boucle.loop.standing import Standing
from boucle.loop.tolerance import LOSS
from boucle.monitoring.api import drifted_columns, quarantine_columns, windows
from boucle.monitoring.records import Performance, Window
from boucle.packaging.api import predict_table
from boucle.training.api import holdout


def gather(stage: Stage, window: Window, performance: Performance | None) -> Facts:
    """The facts at the end of the day of a window."""
    day, standing = window.day, stage.standing()
    metric = stage.metric
    trusted = windows(
        stage.store,
        stage.name,
        stage.held.stream,
        standing.promoted_on + timedelta(days=1),
        day,
        include_quarantined=False,
        newest=stage.project.loop.retrain.drift_days,
    )
    return Facts(
        today=day,
        metric=metric,
        champion=ChampionFacts(
            number=standing.champion,
            metric_at_promotion=stage.metric_of(standing.champion),
            promoted_on=standing.promoted_on,
            previous=standing.previous,
        ),
        challenger=None if standing.challenger is None else _challenger(stage, standing, standing.challenger),
        last_trained_on=standing.last_trained_on,
        performance=None if performance is None else performance.metrics[metric],
        performance_rows=0 if performance is None else performance.rows,
        drifted=[drifted_columns(one) for one in trusted],
        quarantined_today=quarantine_columns(window),
        previous_comparison=None if standing.previous is None else _previous(stage, standing, standing.previous, day),
        at=window.ends_at,
        new_rows=None if stage.project.loop.retrain.new_rows is None else _new_rows(stage, standing, day),
        trained_on=[] if stage.project.loop.retrain.trainings_per_week is None else _trained_on(stage, day),
    )


def _new_rows(stage: Stage, standing: Standing, day: date) -> int:
    """Of trusted windows, from the day after those of which the last training could know labels."""
    first = stage.labelled_through(standing.last_trained_on) + timedelta(days=1)
    last = stage.labelled_through(day)
    served = windows(stage.store, stage.name, stage.held.stream, first, last, include_quarantined=False)
    return sum(window.rows for window in served)


def _trained_on(stage: Stage, day: date) -> list[date]:
    """The days of the newest seven on which the loop trained, once for each training; one under way included."""
    week = [day - timedelta(days=n) for n in range(WEEK)]
    asked = [(one.day, one.action) for on in week for one in stage.decisions(on)]
    asked += [(one.day, one.action) for one in stage.jobs() if one.day in week]
    return sorted(on for on, action in asked if isinstance(action, Retrain) and action.trigger != "drill")


def _challenger(stage: Stage, standing: Standing, number: int) -> ChallengerFacts:
    report = list_reports(stage.store, stage.name, stage.name, number)[-1]
    return ChallengerFacts(
        number=number,
        gates_passed=report.passed,
        gates_message=explain(report),
        comparison=_shadow(stage, standing, number) if report.passed else None,
    )


def _shadow(stage: Stage, standing: Standing, number: int) -> Comparison | None:
    """Champion and challenger on the newest labelled rows: the challenger's held-out ones that neither learned from."""
    training, section = stage.project.training, stage.project.data
    _, rows = holdout(load(stage.store, stage.version(number).learned_from), training, section.time)
    seen_until = stage.last_day_of(standing.champion) - timedelta(days=training.holdout_days)
    rows = rows.filter(pl.col(stage.time) >= datetime.combine(seen_until + timedelta(days=1), time(), UTC))
    answers = [predict_table(stage.history.predictor(n), rows, nthread=2) for n in (standing.champion, number)]
    return _compared(stage, rows[section.target], (standing.champion, answers[0]), (number, answers[1]))


def _previous(stage: Stage, standing: Standing, previous: int, day: date) -> Comparison | None:
    """The version before, as challenger, on labelled rows since the promotion; None where it is not better enough."""
    rule = stage.project.loop.rollback
    first, last = standing.promoted_on + timedelta(days=1), stage.labelled_through(day)
    if (day - standing.promoted_on).days > rule.watch_days or last < first:
        return None
    labels = stage.history.labels(first, last)
    if len(labels) < rule.min_rows:
        return None
    champion = stage.history.answers(standing.champion, first, last)
    before = stage.history.answers(previous, first, last)
    metric = stage.metric
    truth, classes = stage.truth(labels, standing.champion, previous)
    worse = measure(metric, truth, champion, stage.history.threshold(standing.champion), classes=classes)
    better = measure(metric, truth, before, stage.history.threshold(previous), classes=classes)
    gained = direction(metric) * (better - worse)
    # Below that there is no rollback whatever its interval is, and an interval takes two hundred re-samplings.
    if not gained >= LOSS.of(metric, worse, rule.loss):
        return None
    return _compared(stage, labels, (standing.champion, champion), (previous, before))


def _compared(
    stage: Stage, labels: pl.Series, champion: tuple[int, Outputs], challenger: tuple[int, Outputs]
) -> Comparison | None:
    """None where these rows do not define the metric, for example because they are of one class."""
    truth, classes = stage.truth(labels, champion[0], challenger[0])
    try:
        return compare(
            stage.metric,
            truth,
            champion[1],
            challenger[1],
            confidence=stage.project.loop.promote.confidence,
            seed=stage.project.training.seed,
            thresholds=(stage.history.threshold(champion[0]), stage.history.threshold(challenger[0])),
            classes=classes,
        )
    except InvalidInput:
        return None
