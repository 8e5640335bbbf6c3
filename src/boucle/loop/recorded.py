"""What a stream went through, as a world to simulate in: its windows, its labelled rows, and its kept versions.

Nothing is trained. A training that is asked for on a day yields the newest version that was trained by then; so what a
policy with more trainings would have learned stays unknown, and is counted. Quality over several days is the mean of
their days, weighted by rows; the interval of a difference is that of its days.
"""

from collections.abc import Sequence
from datetime import date
from math import ceil, inf, isfinite, sqrt
from statistics import NormalDist

from msgspec import Struct, field

from boucle.data.api import get_version as get_dataset
from boucle.evaluation.api import direction, load_evaluation, measure, metric_for
from boucle.evaluation.records import Comparison
from boucle.governance.api import explain, list_reports
from boucle.kernel.errors import InvalidInput
from boucle.kernel.progress import Progress
from boucle.kernel.store import Store
from boucle.loop import store as tables
from boucle.loop.facts import objective_of
from boucle.loop.live import LIVE
from boucle.loop.records import Decision, Figures, Retrain, SliceCompared, Stream
from boucle.models.api import get_kept
from boucle.monitoring.api import drifted_by_day, inputs, labelled, quarantine_columns, windows
from boucle.monitoring.records import Window
from boucle.packaging.api import open_kept, predict_table
from boucle.project.context import Context
from boucle.training.api import numbers_of, with_new_classes


class Known(Struct, frozen=True, kw_only=True):
    """A kept version. Days are counted from the first of the record."""

    trained: int
    knows: int
    """Day of the newest row that it learned from or was evaluated on."""
    own: float
    passed: bool
    gates: str
    scores: dict[int, float]
    """The metric over the labelled rows of each day on which they define it."""


class Record(Struct, frozen=True, kw_only=True):
    """What was recorded."""

    stream: str
    metric: str
    first: date
    days: int
    labels_delay_days: int
    performance_days: int
    holdout_days: int
    confidence: float
    first_version: int
    labelled: dict[int, int]
    """Rows by day, labelled and not quarantined."""
    quarantined: dict[int, list[str]]
    drifted: dict[int, list[str]]
    versions: dict[int, Known]
    decisions: list[Decision]
    estimated: dict[int, dict[int, float]] = field(default_factory=dict)
    """What the answers of each day promised that one version alone gave, by that version."""
    objective: float | None = None


class Recorded:
    """A record as a `Happening`."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.metric, self.first, self.first_version = record.metric, record.first, record.first_version
        self.days, self.labels_delay_days = record.days, record.labels_delay_days
        self.performance_days = record.performance_days
        self.sign = direction(record.metric)
        self.objective, self.rolls_out, self.may_fail = record.objective, record.stream == LIVE, False
        took = [one.minutes for one in record.decisions if one.minutes is not None]
        self.minutes = sum(took) / len(took) if took else 0.0
        self.asks = [(one.day - record.first).days for one in record.decisions if _was_asked(one)]

    def rows(self, first: int, last: int) -> int:
        """As `Happening` says; so all of these."""
        return sum(self.record.labelled.get(day, 0) for day in range(max(first, 0), last + 1))

    def quarantined(self, day: int) -> list[str]:
        return self.record.quarantined.get(day, [])

    def drifted(self, day: int) -> list[str]:
        return self.record.drifted.get(day, [])

    def own(self, number: int) -> float:
        return self.record.versions[number].own

    def gates(self, number: int) -> tuple[bool, str]:
        return self.record.versions[number].passed, self.record.versions[number].gates

    def score(self, number: int, day: int) -> float | None:
        """The metric of a version over the labelled rows of a day."""
        known = self.record.versions.get(number)
        return None if known is None else known.scores.get(day)

    def measured(self, number: int, days: Sequence[int], day: int) -> float | None:
        del day
        found = [(self.record.labelled[n], value) for n in days if (value := self.score(number, n)) is not None]
        return sum(rows * value for rows, value in found) / sum(rows for rows, _ in found) if found else None

    def compared(self, champion: int, challenger: int, first: int, last: int) -> Comparison | None:
        found = [
            (self.record.labelled[day], before, self.sign * (after - before))
            for day in _days(first, last)
            if (before := self.score(champion, day)) is not None and (after := self.score(challenger, day)) is not None
        ]
        rows = sum(weight for weight, _, _ in found)
        if not rows:
            return None
        mean = sum(weight * value for weight, value, _ in found) / rows
        gained = sum(weight * value for weight, _, value in found) / rows
        spread = sqrt(sum((weight * (value - gained)) ** 2 for weight, _, value in found)) / rows
        width = NormalDist().inv_cdf(0.5 + self.record.confidence / 2) * spread if len(found) > 1 else inf
        return Comparison(
            metric=self.metric,
            rows=rows,
            champion=mean,
            challenger=mean + self.sign * gained,
            difference=gained,
            low=gained - width,
            high=gained + width,
            confidence=self.record.confidence,
        )

    def held_days(self, champion: int, challenger: int, day: int) -> tuple[int, int]:
        del day
        before, after, held = self.record.versions[champion], self.record.versions[challenger], self.record.holdout_days
        return max(before.knows, after.knows) - held + 1, after.knows

    def looked(self, champion: int, challenger: int, first: int, last: int, day: int) -> Comparison | None:
        del day
        return self.compared(champion, challenger, first, last)

    def estimated(self, number: int, day: int) -> float | None:
        """Where it was the one that answered: what another version would have promised is not known."""
        return self.record.estimated.get(number, {}).get(day)

    def sliced(self, challenger: int, found: Comparison) -> list[SliceCompared]:
        """Nothing is known by slice."""
        del challenger, found
        return []

    def needs(self, number: int, day: int) -> list[str]:
        """When a person would have approved what is not known: at once."""
        del number, day
        return []

    def answered(self, number: int, first: int, last: int, percent: float) -> Figures:
        """Who failed at what is not recorded: as many requests as rows, and no failure."""
        del number
        return Figures(requests=int(self.rows(first, last) * percent / 100))

    def asked(self, day: int) -> int:
        return sum(on <= day for on in self.asks)

    def train(self, day: int) -> int | None:
        by_then = [number for number, known in self.record.versions.items() if known.trained <= day]
        return max(by_then, default=None)


def record(context: Context, progress: Progress) -> Record:
    """The newest stream of a project, every kept version measured on every labelled day.

    Raises:
        InvalidInput: nothing was served yet.
    """
    store, name = context.store(), context.project.project
    stream = store.read(lambda conn: tables.latest_stream(conn, name))
    served = windows(store, name, stream.stream) if stream else []
    if stream is None or not served:
        raise InvalidInput(
            "nothing was served yet, so there is no history to simulate on",
            hint="boucle replay, or: boucle loop simulate --made-up",
        )
    first, last = served[0].day, served[-1].day
    taken = store.read(lambda conn: tables.decided(conn, name, stream.stream))
    quarantined: dict[int, list[str]] = {}
    for window in served:
        at = (window.day - first).days
        quarantined[at] = sorted({*quarantined.get(at, []), *quarantine_columns(window)})
    versions, rows, metric = _measured(context, stream, taken, first, progress)
    return Record(
        stream=stream.stream,
        metric=metric,
        first=first,
        days=(last - first).days + 1,
        labels_delay_days=ceil(context.project.monitoring.labels_delay_days),
        performance_days=context.project.monitoring.performance_days,
        holdout_days=ceil(context.project.training.holdout_days),
        confidence=context.project.loop.promote.confidence,
        first_version=stream.first_version,
        labelled=rows,
        quarantined={day: columns for day, columns in quarantined.items() if columns},
        drifted={(day - first).days: sorted(names) for day, names in drifted_by_day(served).items() if names},
        versions=versions,
        decisions=taken,
        estimated=_promised(served, first, metric),
        objective=objective_of(context.project.objectives, metric),
    )


def _promised(served: Sequence[Window], first: date, metric: str) -> dict[int, dict[int, float]]:
    found: dict[int, dict[int, float]] = {}
    for one in served:
        if metric in one.estimated and len(one.versions) == 1:
            [number] = one.versions
            found.setdefault(int(number), {})[(one.day - first).days] = one.estimated[metric].value
    return found


def _was_asked(decision: Decision) -> bool:
    return isinstance(decision.action, Retrain) and decision.action.request is not None


def _measured(
    context: Context, stream: Stream, taken: list[Decision], first: date, progress: Progress
) -> tuple[dict[int, Known], dict[int, int], str]:
    store, name, project = context.store(), context.project.project, context.project
    trained = {stream.first_version: first} | {
        one.version: one.day
        for one in taken
        if isinstance(one.action, Retrain) and one.action.trigger != "drill" and one.version is not None
    }
    models = {n: open_kept(store, get_kept(store, name, name, n).bundle_digest) for n in trained}
    signature = models[stream.first_version].signature
    metric = metric_for(signature.task, project.loop.metric, project.training.metric)
    table = labelled(store, name, stream.stream, None, None)
    classes = None
    if signature.task == "multiclass":
        names = dict.fromkeys(one for model in models.values() for one in model.signature.classes)
        classes = with_new_classes(list(names), table["label"])
    scores: dict[int, dict[int, float]] = {number: {} for number in models}
    rows: dict[int, int] = {}
    dated = table.with_columns(table["event_time"].dt.date().alias("day"))
    parts = dated.partition_by("day", as_dict=True, include_key=False)
    with progress.task("measure every version on every day", len(parts), even=True) as shown:
        for (day,), part in parts.items():
            at = (day - first).days
            rows[at] = part.height
            truth = numbers_of(part["label"], signature.task, classes or signature.classes)
            for number, model in models.items():
                answers = predict_table(model, inputs(part), nthread=2)
                value = measure(metric, truth, answers, model.signature.threshold, classes=classes)
                if isfinite(value):
                    scores[number][at] = value
            shown.advance()
    return (
        {n: _known(store, name, n, (day - first).days, first, metric, scores[n]) for n, day in trained.items()},
        rows,
        metric,
    )


def _known(
    store: Store, name: str, number: int, trained: int, first: date, metric: str, scores: dict[int, float]
) -> Known:
    version = get_kept(store, name, name, number)
    report = list_reports(store, name, name, number)[-1]
    last = get_dataset(store, version.learned_from).last_at
    return Known(
        trained=trained,
        knows=-1 if last is None else (last.date() - first).days,
        own=load_evaluation(store, version.measured_by).metrics[metric].value,
        passed=report.passed,
        gates=explain(report),
        scores=scores,
    )


def _days(first: int, last: int) -> range:
    return range(max(first, 0), last + 1)
