"""What a day of a stream needs at hand: project, store, the stream that is held, and what was looked up once."""

from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from functools import reduce
from math import ceil
from typing import Final

import numpy as np
import polars as pl
from msgspec.structs import replace
from numpy.typing import NDArray

from boucle.data.api import get_version as get_dataset
from boucle.data.api import load
from boucle.data.records import Profile, Task
from boucle.evaluation.api import load_evaluation, metric_for
from boucle.kernel.digests import Digest, digest_json
from boucle.kernel.errors import Damaged
from boucle.kernel.progress import Progress
from boucle.kernel.store import Store
from boucle.loop import store as tables
from boucle.loop.expected import Expected, expected_of
from boucle.loop.history import History
from boucle.loop.records import Asked, Decision, Job, Looked, Retrain, Stream
from boucle.loop.reference import PREDICTION, Reference, day_profiles, reference_of, without
from boucle.loop.reference_windows import ReferenceWindows
from boucle.loop.standing import Standing, after, standing, without_rollout
from boucle.models.api import alias, get_kept
from boucle.models.records import CHAMPION, ModelVersion
from boucle.monitoring.api import Calibration, alerts, labels_known, of_curve, profiles, windows
from boucle.monitoring.records import Alert, WindowPolicy
from boucle.monitoring.spans import Span, plan_of
from boucle.monitoring.streaming import require
from boucle.project.context import Context
from boucle.runs.records import ParamValue
from boucle.training.api import numbers_of, with_new_classes

MIDNIGHT: Final = time_of_day()


class Stage:
    """One process at work on one stream. Not thread-safe."""

    def __init__(
        self,
        context: Context,
        held: Stream,
        start_from: dict[str, ParamValue],
        *,
        first_day: date,
        time: str,
        progress: Progress,
        is_live: bool = False,
    ) -> None:
        require(context.project.monitoring.streaming)
        self.context = context
        self.project = context.project
        self.store: Store = context.store()
        self.held = held
        self.start_from = start_from
        """Best parameters of the first search."""
        self.is_live = is_live
        self.first_day = first_day
        self.time = time
        self.progress = progress
        self.history = History(self.store, self.name, held.stream)
        self.base = self.version(held.first_version).learned_from
        self._base_days: list[tuple[date, Profile]] = []
        self._references: dict[int, Reference] = {}
        self._windows: ReferenceWindows | None = None
        self._calibrations: dict[int, Calibration | None] = {}
        self._expected: dict[int, Expected] = {}
        self._standing: Standing | None = None
        self._fold: tuple[int, Standing] | None = None
        """What the decisions come to up to a place, see `decided_since`."""
        self._began: tuple[date, Standing] | None = None
        self.looked: dict[tuple[int, int], Looked] = {}
        """What was found of a champion and a challenger, see `boucle.loop.looks`."""
        self.problems: dict[int, str] = {}
        """Why a version cannot have the place at the endpoint that its rollout gives it."""

    @property
    def name(self) -> str:
        """The project's name: also that of its model and endpoint."""
        return self.project.project

    @property
    def labels_delay_days(self) -> int:
        """Whole days until a day's labels have come."""
        return ceil(self.project.monitoring.labels_delay_days)

    def version(self, number: int) -> ModelVersion:
        """A version of the project's model; a person may have deleted it since."""
        return get_kept(self.store, self.name, self.name, number)

    @property
    def task(self) -> Task:
        """That of the first version, which those after it keep."""
        return self.history.predictor(self.held.first_version).signature.task

    @property
    def metric(self) -> str:
        """What the loop judges by."""
        return metric_for(self.task, self.project.loop.metric, self.project.training.metric)

    def metric_of(self, number: int) -> float | None:
        """The loop's metric in a version's own evaluation; None where a client registered it, so that it has none."""
        measured_by = self.version(number).evaluation_digest
        return None if measured_by is None else load_evaluation(self.store, measured_by).metrics[self.metric].value

    def compared_with(self, number: int) -> int:
        """The version whose training data and answers windows are compared with while one is in charge: itself, or the
        stream's first where a client registered it, so that nobody knows what it learned from."""
        return self.held.first_version if self.version(number).dataset_digest is None else number

    def truth(self, labels: pl.Series, *numbers: int) -> tuple[NDArray[np.float64], list[str] | None]:
        """Labels as evaluation wants them: class positions or values, and of more than two classes which they are:
        all that one of these versions knows, and those that are new."""
        signature = self.history.predictor(self.held.first_version).signature
        if signature.task != "multiclass":
            return numbers_of(labels, signature.task, signature.classes), None
        known = dict.fromkeys(name for number in numbers for name in self.history.predictor(number).signature.classes)
        classes = with_new_classes(list(known), labels)
        return numbers_of(labels, signature.task, classes), classes

    def decisions(self, day: date | None = None) -> list[Decision]:
        """What was decided so far, or on a day, oldest first."""
        return self.store.read(lambda conn: tables.decided(conn, self.name, self.held.stream, day))

    def standing(self, *, before: date | None = None) -> Standing:
        """Who is in charge and what waits; `before` a day: as it began, whatever was decided on it already.

        Each decision is read once. Live, people move the alias as well, so it is
        read again after `refresh`; and a day begins with whoever is in charge.
        """
        if self._standing is None:
            self._standing = self._decided()
            if self.is_live:
                self._standing = self._as_it_is(self._standing)
        if before is None or self.is_live:
            return self._standing
        if self._began is None or self._began[0] != before:
            began = self._standing
            if self.decisions(before):  # it was interrupted and is done again
                began = self._folded([decision for decision in self.decisions() if decision.day < before])
            self._began = (before, began)
        return self._began[1]

    def took(self, decision: Decision) -> None:
        """A decision was carried out and recorded."""
        self._standing = after(self.standing(), decision)

    def forget(self, day: date) -> None:
        """Let go of what no day after this one asks for, so that memory does not grow with the history."""
        now, project = self.standing(), self.project
        asked_for = max(project.loop.rollback.watch_days, self.labels_delay_days + project.monitoring.performance_days)
        waiting = {now.champion, now.previous, now.challenger, self.held.first_version}
        self.history.forget(before=day - timedelta(days=asked_for), versions=waiting)
        self._references = {number: kept for number, kept in self._references.items() if number in waiting}
        self._expected = {number: kept for number, kept in self._expected.items() if number in waiting}

    def refresh(self) -> None:
        """Forget what others may have changed since: labels, the alias."""
        self.history.renew()
        self._standing = None

    def forget_standing(self) -> None:
        """Look again who is in charge and what waits."""
        self._standing = None

    def jobs(self) -> list[Job]:
        """What is being carried out."""
        return self.store.read(lambda conn: tables.list_jobs(conn, self.name, self.held.stream, unfinished=True))

    def asked(self) -> Asked | None:
        """The oldest training that a person asks for and that was not begun, after all others those that failed; people
        ask the live loop alone."""
        if not self.is_live:
            return None
        failed = self.standing().failed_requests
        return self.store.read(lambda conn: tables.oldest_asked(conn, self.name, self.held.stream, after=failed))

    def changed_on(self, day: date) -> date | None:
        """The day since which the world is as it is now: of the newest drift that was seen on several days, or the
        first of the labelled days that showed the newest decay."""
        known = alerts(self.store, self.name, self.held.stream)
        drifts = [
            one.opened_on for one in known if one.kind == "drift" and (one.seen_on or one.opened_on) > one.opened_on
        ]
        decays = [self._shown_since(one) for one in known if one.kind == "decay"]
        return max((on for on in [*drifts, *decays] if on <= day), default=None)

    def _shown_since(self, decay: Alert) -> date:
        since = decay.evidence.get("since")
        if isinstance(since, str):
            return date.fromisoformat(since)
        # One that was opened before alerts said it.
        shown = self.labels_delay_days + self.project.monitoring.performance_days - 1
        return decay.opened_on - timedelta(days=shown)

    def effective_at(self, day: date) -> datetime:
        """When what is decided on a day takes effect: in a replay at its end, live at once."""
        return self.store.clock.now() if self.is_live else datetime.combine(day + timedelta(days=1), MIDNIGHT, UTC)

    def _as_it_is(self, decided: Standing) -> Standing:
        """With what people did: a version that they put in charge, which the loop does not undo; and with the training
        that is under way, which counts as the last one."""
        now = alias(self.store, self.name, self.name, CHAMPION)
        if now is not None and now.number is not None and now.number != decided.champion:
            newest = windows(self.store, self.name, self.held.stream, newest=1)
            on = min([now.effective_at.date(), *(one.day for one in newest)])
            decided = replace(
                without_rollout(decided), champion=now.number, promoted_on=on, previous=None, waits_since=on
            )
            if decided.challenger == now.number:
                decided = replace(decided, challenger=None)
        under_way = [job.day for job in self.jobs() if isinstance(job.action, Retrain)]
        return replace(decided, last_trained_on=max([decided.last_trained_on, *under_way]))

    def _decided(self) -> Standing:
        """The fold of all decisions, which goes on from where it was when it was asked for last."""
        written, now = self._fold or (0, self._folded([]))
        written, found = self.store.read(lambda conn: tables.decided_since(conn, self.name, self.held.stream, written))
        now = reduce(after, found, now)
        self._fold = written, now
        return now

    def _folded(self, decisions: list[Decision]) -> Standing:
        return standing(decisions, first_version=self.held.first_version, first_day=self.first_day)

    def labelled_through(self, day: date) -> date:
        """The newest event day whose labels have come by the end of `day`."""
        return day - timedelta(days=self.labels_delay_days)

    def rows_digest(self, first: date, through: date) -> Digest:
        """Names what was served and may be learned from on these event days."""
        served = windows(self.store, self.name, self.held.stream, first, through)
        known = [[window.day, window.rows, window.quarantined] for window in served]
        # Live, labels come at any time; in a replay the days say which have come.
        return digest_json([known, labels_known(self.store, self.name, self.held.stream)] if self.is_live else known)

    def reference(self, number: int) -> Reference:
        """What served rows are compared with while a version is in charge."""
        number = self.compared_with(number)
        if number not in self._references:
            self._references[number] = reference_of(
                self.store,
                self.version(number).learned_from,
                self._features(),
                self.history.predictor(number),
                self.project.monitoring.drift,
                time=self.time,
            )
        return self._references[number]

    def reference_for(self, span: Span, number: int) -> Reference:
        """What the window of a span is compared with, as `monitoring.drift.reference` says; the training data as long
        as there are too few windows of that kind."""
        training, policy = self.reference(number), self.project.monitoring.drift
        if policy.reference.kind == "training":
            return training
        if self._windows is None:
            plan = plan_of(self.project.monitoring.window if self.is_live else WindowPolicy())
            self._windows = ReferenceWindows(
                self.store, self.name, self.held.stream, self.base, self._features(), time=self.time, plan=plan
            )
        number = self.compared_with(number)
        found = self._windows.reference(span, policy, number, self.history.predictor(number), training.weights)
        return found or training

    def calibration(self, number: int) -> Calibration | None:
        """From a version's probabilities to chances, as its own evaluation shows them; None where there is none."""
        if number not in self._calibrations:
            measured_by = self.version(number).evaluation_digest
            measured = None if measured_by is None else load_evaluation(self.store, measured_by)
            curve = None if measured is None else measured.calibration
            self._calibrations[number] = None if measured is None or curve is None else of_curve(curve, measured.rows)
        return self._calibrations[number]

    def expected(self, number: int) -> Expected:
        """What a version's held-out rows say of answers without labels; None for a classifier of two classes."""
        if number not in self._expected:
            predictor = self.history.predictor(number)
            self._expected[number] = expected_of(self.store, self.project, self.version(number), predictor)
        return self._expected[number]

    def day_profiles(self, first: date, last: date) -> list[Profile]:
        """Profiles of the features of single days, oldest first: the base's days, then those of trusted windows."""
        if not self._base_days:
            self._base_days = day_profiles(load(self.store, self.base), self._features(), self.time)
        base = [kept for day, kept in self._base_days if first <= day <= last]
        served = profiles(self.store, self.name, self.held.stream, first, last, include_quarantined=False)
        return [*base, *(without(kept, PREDICTION) for kept in served.values())]

    def last_day_of(self, number: int) -> date:
        """The event day of the newest row in a version's dataset."""
        last = get_dataset(self.store, self.version(number).learned_from).last_at
        if last is None:
            raise Damaged(f"the dataset of version {number} has no event time, though the project names a time column")
        return last.date()

    def _features(self) -> list[str]:
        features = self.project.data.features
        return [*features.categorical, *features.numeric]
