"""Everything a decision may depend on, gathered from the store at the end of a day."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from msgspec.structs import replace

from boucle.evaluation.api import direction, measure
from boucle.evaluation.records import Comparison
from boucle.governance import api as governance
from boucle.governance.api import explain, list_reports
from boucle.governance.records import GateReport, Objective
from boucle.kernel.errors import NotFound
from boucle.kernel.store import Store
from boucle.loop.compared import compared
from boucle.loop.looks import look
from boucle.loop.records import ChallengerFacts, ChampionFacts, Decision, Facts, Job, Looked, Retrain
from boucle.loop.rolling import burning_before, burning_of, rollout_of, service_of
from boucle.loop.stage import Stage
from boucle.loop.standing import Standing
from boucle.loop.tolerance import LOSS
from boucle.loop.triggers import WEEK
from boucle.models.records import CHAMPION
from boucle.monitoring.api import drifted_by_day, quarantine_columns, windows
from boucle.monitoring.records import Performance, Window

FOR_PERSONS: Final = frozenset({"reviews", "signature"})
"""Gates that wait for somebody, who may still come."""


def gather(stage: Stage, window: Window, performance: Performance | None) -> Facts:
    """The facts at the end of the day of a window."""
    day, standing, asked = window.day, stage.standing(), stage.project.loop.retrain
    if stage.metric_of(standing.champion) is None:  # with what a client registered nothing can be compared
        return replace(service_facts(stage, standing, day), at=window.ends_at, asked=stage.asked())
    metric = stage.metric
    return Facts(
        today=day,
        metric=metric,
        champion=champion_of(stage, standing),
        challenger=None if standing.challenger is None else challenger_of(stage, standing, standing.challenger, day),
        last_trained_on=standing.last_trained_on,
        performance=None if performance is None else performance.metrics[metric],
        performance_rows=0 if performance is None else performance.rows,
        drifted=drifted_days(stage.store, stage.name, stage.held.stream, standing.promoted_on, day, asked.drift_days),
        quarantined_today=quarantine_columns(window),
        previous_comparison=None if standing.previous is None else _previous(stage, standing, standing.previous, day),
        at=window.ends_at,
        new_rows=None if asked.new_rows is None else _new_rows(stage, standing, day),
        trained_on=[] if asked.trainings_per_week is None else sorted(one.day for one in _trained(stage, day)),
        trained_minutes=0.0 if asked.minutes_per_week is None else sum(_minutes(one) for one in _trained(stage, day)),
        estimates=[] if asked.estimate is None else _estimates(stage, standing, day, asked.estimate_windows),
        objective=None if asked.estimate is None else objective_of(stage.project.objectives, metric),
        asked=stage.asked(),
        service=service_of(stage, standing),
        burning=burning_of(stage),
        failures=standing.failures,
        failed_on=standing.failed_on,
        failed_requests=standing.failed_requests,
        changed_on=stage.changed_on(day) if asked.since_change else None,
    )


def champion_of(stage: Stage, standing: Standing) -> ChampionFacts:
    """The version in charge."""
    return ChampionFacts(
        number=standing.champion,
        metric_at_promotion=stage.metric_of(standing.champion),
        promoted_on=standing.promoted_on,
        previous=standing.previous,
        burned=list(dict.fromkeys([*standing.burned, *burning_before(stage)])),
        barred=_barred(stage, standing.previous),
    )


def drifted_days(store: Store, name: str, stream: str, promoted_on: date, day: date, count: int) -> list[list[str]]:
    """What drifted on the newest days since a promotion that have trusted windows, oldest first."""

    def trusted(first: date, last: date, newest: int | None = None) -> list[Window]:
        return windows(store, name, stream, first, last, include_quarantined=False, newest=newest)

    found = trusted(promoted_on + timedelta(days=1), day, count + 1)
    if len({one.day for one in found}) < len(found):  # windows are shorter than days
        found, on = [], day
        while on > promoted_on and len({one.day for one in found}) < count:
            found += [one for one in trusted(on, on) if one.day == on]
            on -= timedelta(days=1)
    return list(drifted_by_day(found).values())[-count:]


def _barred(stage: Stage, previous: int | None) -> str:
    if previous is None:
        return ""
    name = stage.name
    return governance.rollback_barred(stage.store, project_id=name, model=name, alias=CHAMPION, number=previous)


def service_facts(stage: Stage, standing: Standing, day: date) -> Facts:
    """The facts of a day about the service alone, which may change at any moment."""
    return Facts(
        today=day,
        metric=stage.metric,
        champion=champion_of(stage, standing),
        challenger=None,
        last_trained_on=standing.last_trained_on,
        performance=None,
        performance_rows=0,
        drifted=[],
        quarantined_today=[],
        previous_comparison=None,
        service=service_of(stage, standing),
        burning=burning_of(stage),
    )


def _minutes(training: Decision | Job) -> float:
    """How long it took; of one that is under way it is not known yet."""
    return training.minutes or 0.0 if isinstance(training, Decision) else 0.0


def _new_rows(stage: Stage, standing: Standing, day: date) -> int:
    """Of trusted windows, from the day after those of which the last training could know labels."""
    first = stage.labelled_through(standing.last_trained_on) + timedelta(days=1)
    last = stage.labelled_through(day)
    served = windows(stage.store, stage.name, stage.held.stream, first, last, include_quarantined=False)
    return sum(window.rows for window in served)


def _trained(stage: Stage, day: date) -> list[Decision | Job]:
    """The trainings of the newest seven days, and one under way."""
    week = [day - timedelta(days=n) for n in range(WEEK)]
    found: list[Decision | Job] = [one for on in week for one in stage.decisions(on)]
    found += [one for one in stage.jobs() if one.day in week]
    return [one for one in found if isinstance(one.action, Retrain) and one.action.trigger != "drill"]


def _estimates(stage: Stage, standing: Standing, day: date, count: int) -> list[float]:
    """What the answers of trusted windows since the promotion promise, oldest first, where all are the champion's."""
    since = standing.promoted_on + timedelta(days=1)
    served = windows(stage.store, stage.name, stage.held.stream, since, day, include_quarantined=False)
    own = [one for one in served if set(one.versions) == {str(standing.champion)}]
    return [one.estimated[stage.metric].value for one in own if stage.metric in one.estimated][-count:]


def objective_of(objectives: Sequence[Objective], metric: str) -> float | None:
    """What is asked of a metric; None if nothing is."""
    limits = [one.at_most if one.at_least is None else one.at_least for one in objectives if one.metric == metric]
    return limits[0] if limits else None


def challenger_of(stage: Stage, standing: Standing, number: int, day: date, *, labels: bool = True) -> ChallengerFacts:
    """A challenger that waits; without `labels` what takes a while is left out, see `boucle.loop.rolling`."""
    report = list_reports(stage.store, stage.name, stage.name, number)[-1]
    passed, needs = report.passed, list[str]()
    said = explain(report)
    if stage.is_live:
        try:
            report, passed, needs = _now(stage, number, report)
            said = explain(report)
        except NotFound as error:  # a person deleted it
            passed, said = False, error.message
    found = look(stage, standing.champion, number, day, anew=labels) if passed else Looked(comparison=None, slices=[])
    return ChallengerFacts(
        number=number,
        gates_passed=passed,
        gates_message=said,
        comparison=found.comparison,
        slices=found.slices,
        needs=needs,
        rollout=rollout_of(stage, standing, number, labels=labels),
        newest=found.newest,
        waits_since=standing.waits_since,
    )


def _now(stage: Stage, number: int, stored: GateReport) -> tuple[GateReport, bool, list[str]]:
    """What the gates say of a version now, whether they let it pass, and which of them wait for persons.

    What a person can still give does not refuse it, unless a person rejected it.
    """
    found = governance.standing(stage.store, stage.name, stage.name, number)
    report = found.report or stored
    said = {one.reviewer: one.verdict for one in found.reviews}
    failed = {one.gate for one in report.verdicts if not one.passed}
    if failed - FOR_PERSONS or "reject" in said.values():
        return report, report.passed, []
    needs = sorted(failed)
    if stage.project.loop.promote.review and "reviews" not in failed and "approve" not in said.values():
        needs.append("reviews")
    return report, True, needs


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
    return compared(stage, labels, (standing.champion, champion), (previous, before))
