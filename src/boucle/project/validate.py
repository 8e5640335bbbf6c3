"""What the keys of boucle.yaml must be to each other. Pure; single values are limited in `limits.py`."""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from boucle.data.records import DataSection, FreshnessCheck, RangeCheck, RelationCheck, Task
from boucle.governance.records import Objective
from boucle.monitoring.references import problem_of_reference
from boucle.monitoring.spans import problem_of
from boucle.packaging.roles import RESERVED
from boucle.project.alerting import OTHER_SUBJECTS, alerting_problems
from boucle.project.problems import Path, Problem, Remove, Rename, Set, did_you_mean, listed, nearest
from boucle.project.records import CorruptDrill, Project, ReplaySection
from boucle.project.schedule import schedule_problem
from boucle.training.records import Range, TrainingSection


class MetricFacts(Struct, frozen=True):
    """What is known of a metric before anything is measured."""

    higher_is_better: bool
    lowest: float = 0.0
    highest: float = float("inf")
    tasks: tuple[Task, ...] = ()
    """Those whose models it measures; none for a metric of the service."""


BINARY: tuple[Task, ...] = ("binary",)
CLASSES: tuple[Task, ...] = ("binary", "multiclass")
REGRESSION: tuple[Task, ...] = ("regression",)
QUALITY: Mapping[str, MetricFacts] = {
    "accuracy": MetricFacts(True, highest=1, tasks=CLASSES),
    "auc_roc": MetricFacts(True, highest=1, tasks=BINARY),
    "average_precision": MetricFacts(True, highest=1, tasks=BINARY),
    "brier": MetricFacts(False, highest=1, tasks=BINARY),
    "calibration_error": MetricFacts(False, highest=1, tasks=BINARY),
    "f1": MetricFacts(True, highest=1, tasks=BINARY),
    "log_loss": MetricFacts(False, tasks=CLASSES),
    "macro_f1": MetricFacts(True, highest=1, tasks=("multiclass",)),
    "mae": MetricFacts(False, tasks=REGRESSION),
    "precision": MetricFacts(True, highest=1, tasks=BINARY),
    "r2": MetricFacts(True, lowest=float("-inf"), highest=1, tasks=REGRESSION),
    "recall": MetricFacts(True, highest=1, tasks=BINARY),
    "rmse": MetricFacts(False, tasks=REGRESSION),
    "specificity": MetricFacts(True, highest=1, tasks=BINARY),
}
"""The metrics of an evaluation; a test holds them equal to the registry of `evaluation`."""

SERVICE: Mapping[str, MetricFacts] = {
    "availability": MetricFacts(True, highest=1),
    "error_rate": MetricFacts(False, highest=1),
    "latency_p50_ms": MetricFacts(False),
    "latency_p95_ms": MetricFacts(False),
    "latency_p99_ms": MetricFacts(False),
    "lead_time_days": MetricFacts(False),
    "requests_per_minute": MetricFacts(True),
}
"""What objectives may ask of the endpoint and of the loop."""

PARAMS = frozenset(
    {
        "class_weight",
        "l2_regularization",
        "learning_rate",
        "max_bins",
        "max_depth",
        "max_features",
        "max_iter",
        "max_leaf_nodes",
        "min_samples_leaf",
    }
)
"""Parameters of `gradient_boosting` (scikit-learn's HistGradientBoosting) that a project may set or search."""


def validate(project: Project) -> Iterator[Problem]:
    """Every contradiction in a project whose single values are fine."""
    yield from _columns(project)
    yield from _checks(project)
    yield from _csv(project.data)
    yield from _objectives(project.objectives, project.training.task)
    yield from _training(project.training)
    if project.training.until is not None and project.data.time is None:
        yield Problem(("training", "until"), "needs the event time of the rows: write data.time, or remove until")
    yield from _metric(project.loop.metric, ("loop", "metric"), project.training.task)
    yield from _loop(project)
    wrong = problem_of(project.monitoring.window)
    if wrong:
        yield Problem(("monitoring", "window"), wrong)
    odd = problem_of_reference(project.monitoring.drift.reference)
    if odd:
        yield Problem(("monitoring", "drift", "reference"), odd)
    yield from alerting_problems(project.alerts, _subjects(project))
    series = ["prediction", "error", *project.data.features.numeric]
    for place, one in enumerate(project.monitoring.streaming):
        if one.on not in series:
            at: Path = ("monitoring", "streaming", place, "on")
            yield Problem(at, f"is {one.on!r}; allowed are `prediction`, `error` and numeric features")
        if one.threshold is not None and one.detector == "adwin":
            yield Problem(("monitoring", "streaming", place, "threshold"), "belongs to page_hinkley; remove it")
    if project.replay is not None:
        yield from _replay(project, project.replay)


def _subjects(project: Project) -> set[str]:
    """All that alerts can be about."""
    data = project.data
    features = {*data.features.categorical, *data.features.numeric}
    named = {data.target, data.time, data.key, "prediction", "error"} - {None}
    columns = {str(one) for one in named} | features
    checks = {f"relation({one.name})" for one in data.checks if isinstance(one, RelationCheck)}
    for one in data.checks:
        checks |= {getattr(one, "column", ""), *getattr(one, "columns", [])} - {""}
    over_time = {f"{one} over time" for one in (*features, "prediction", "error")}
    return columns | checks | over_time | {*QUALITY, *SERVICE} | OTHER_SUBJECTS


def _loop(project: Project) -> Iterator[Problem]:
    retrain, held_out = project.loop.retrain, project.training.holdout_days
    if retrain.newest_days is not None and retrain.newest_days <= held_out:
        newest = f"{retrain.newest_days} days leave no row to learn from"
        message = f"{newest}: training.holdout_days are {held_out:g}; write more days"
        yield Problem(("loop", "retrain", "newest_days"), message)
    named = {"newest_days": retrain.newest_days, "newest_rows": retrain.newest_rows}
    chosen = [*(key for key, value in named.items() if value is not None), *["since_change"] * retrain.since_change]
    if len(chosen) > 1:
        yield Problem(
            ("loop", "retrain", chosen[1]), f"{chosen[0]} says already what is learned from; write one of them"
        )
    unknown = schedule_problem(retrain.schedule) if retrain.schedule else None
    if unknown:
        yield Problem(("loop", "retrain", "schedule"), unknown)
    shares = project.loop.rollout.canary
    for n, (before, share) in enumerate(zip([0.0, *shares], shares, strict=False)):
        if not before < share < 100:
            message = f"`{share:g}` is not allowed: shares are above 0, below 100 and each above the one before"
            yield Problem(("loop", "rollout", "canary", n), message)
    categorical = project.data.features.categorical
    for n, column in enumerate(project.loop.promote.slices):
        if column not in categorical:
            allowed = ", ".join(categorical) or "none, as it has no categorical features"
            yield Problem(("loop", "promote", "slices", n), f"`{column}` is no categorical feature; allowed: {allowed}")


def _columns(project: Project) -> Iterator[Problem]:
    data = project.data
    if not _is_source(data.source):
        allowed = "a file below the project's folder: `table.csv`, `table.parquet` or `file.py:function`"
        yield Problem(("data", "source"), f"`{data.source}` is not allowed: write {allowed}")
    places = {"data.target": data.target, "data.key": data.key, "data.time": data.time}
    roles = {role: column for role, column in places.items() if column is not None}
    for role, column in roles.items():
        if column in RESERVED and role != "data.target":
            message = f"`{column}` is a column that predictions have of their own: rename it in the table"
            yield Problem(("data", role.removeprefix("data.")), message)
        twin = next(other for other in roles if roles[other] == column)
        if twin != role:
            yield Problem(
                ("data", role.removeprefix("data.")), f"`{column}` is {twin} already: one column has one role"
            )
    features = [("numeric", position, name) for position, name in enumerate(data.features.numeric)]
    features += [("categorical", position, name) for position, name in enumerate(data.features.categorical)]
    if not features:
        yield Problem(
            ("data", "features"), "no feature is named: write at least one column under numeric or categorical"
        )
    seen: dict[str, str] = {}
    for kind, position, name in features:
        path = ("data", "features", kind, position)
        fix = Remove(path) if len(features) > 1 else None
        taken = next((role for role, column in roles.items() if column == name), None)
        if name in seen:
            yield Problem(path, f"`{name}` is listed already under {seen[name]}: keep one of them", fix=fix)
        elif taken == "data.target":
            yield Problem(
                path, f"`{name}` is the target: a model that is given its answer learns nothing; remove it", fix=fix
            )
        elif taken:
            yield Problem(path, f"`{name}` is {taken}, which names a row and does not describe it: remove it", fix=fix)
        elif name in data.known_later:
            message = f"`{name}` is in data.known_later, so it is not known when the model is asked: remove it"
            yield Problem(path, message, fix=fix)
        seen.setdefault(name, kind)


def _checks(project: Project) -> Iterator[Problem]:
    names: set[str] = set()
    for position, check in enumerate(project.data.checks):
        path: Path = ("data", "checks", position)
        if check in project.data.checks[:position]:
            message = f"repeats data.checks[{project.data.checks.index(check)}]: remove it"
            yield Problem(path, message, fix=Remove(path))
        elif isinstance(check, RangeCheck):
            if check.min is None and check.max is None:
                yield Problem(path, "a range needs `min`, `max` or both")
            elif check.min is not None and check.max is not None and check.min > check.max:
                yield Problem((*path, "min"), f"min {check.min:g} is above max {check.max:g}")
        elif isinstance(check, FreshnessCheck) and project.data.time is None:
            yield Problem(path, "freshness needs the event time of the rows: write data.time, or remove the check")
        elif isinstance(check, RelationCheck):
            if check.name in names:
                yield Problem((*path, "name"), f"`{check.name}` names another relation already: choose another name")
            names.add(check.name)


def _csv(data: DataSection) -> Iterator[Problem]:
    if data.csv is None:
        return
    if not data.source.lower().endswith(".csv"):
        yield Problem(("data", "csv"), f"data.source `{data.source}` is no CSV file: remove the key", at_key=True)
    if data.csv.separator == data.csv.decimal:
        message = "`,` is data.csv.separator already: a number's fraction needs another sign, or the cells do"
        yield Problem(("data", "csv", "decimal"), message)


def _objectives(objectives: list[Objective], task: Task | None) -> Iterator[Problem]:
    known = {**QUALITY, **SERVICE}
    for position, objective in enumerate(objectives):
        path: Path = ("objectives", position)
        if objective.metric not in known:
            yield _unknown(objective.metric, known, (*path, "metric"))
            continue
        if (objective.at_least is None) == (objective.at_most is None):
            yield Problem(path, "needs exactly one of `at_least` and `at_most`")
            continue
        if any(earlier.metric == objective.metric for earlier in objectives[:position]):
            yield Problem((*path, "metric"), f"`{objective.metric}` has an objective already: keep one of them")
        facts = known[objective.metric]
        if facts.tasks and task is not None and task not in facts.tasks:
            yield _misfit(objective.metric, (*path, "metric"), task)
            continue
        key, value = ("at_least", objective.at_least) if objective.at_most is None else ("at_most", objective.at_most)
        if facts.higher_is_better != (key == "at_least"):
            better, other = ("larger", "at_least") if facts.higher_is_better else ("smaller", "at_most")
            message = f"`{objective.metric}` is better when {better}: write {other}"
            yield Problem((*path, key), message, fix=Rename((*path, key), other))
        elif value is not None and not facts.lowest <= value <= facts.highest:
            span = f"between {facts.lowest:g} and {facts.highest:g}"
            yield Problem((*path, key), f"`{value:g}` is not possible: {objective.metric} lies {span}")


LEAST: Mapping[str, float] = {
    "l2_regularization": 0,
    "learning_rate": 1e-9,
    "max_bins": 2,
    "max_depth": 1,
    "max_iter": 1,
    "max_leaf_nodes": 2,
    "min_samples_leaf": 1,
}
"""The smallest values of parameters that the estimator can be fitted with."""


def _training(training: TrainingSection) -> Iterator[Problem]:
    yield from _metric(training.metric, ("training", "metric"), training.task)
    for name in training.params:
        if name not in PARAMS:
            yield _unknown(name, PARAMS, ("training", "params", name), what="parameter", at_key=True)
        yield from _least(name, training.params[name], ("training", "params", name))
    for name, searched in training.search.space.items():
        path = ("training", "search", "space", name)
        if name not in PARAMS:
            yield _unknown(name, PARAMS, path, what="parameter", at_key=True)
        elif name in training.params:
            yield Problem(path, f"`{name}` is fixed in training.params already: fix it or search it", at_key=True)
        wrong = list(_range(searched, path))
        yield from wrong or _least(name, searched.low, (*path, "low"))
        for position, value in enumerate(searched.choice or []):
            yield from _least(name, value, (*path, "choice", position))


def _least(name: str, value: object, path: Path) -> Iterator[Problem]:
    """A number that the estimator would refuse, minutes later."""
    least = LEAST.get(name)
    if least is not None and isinstance(value, int | float) and value < least:
        yield Problem(path, f"`{value}` is not allowed: {name} must be at least {least:g}")


def _range(searched: Range, path: Path) -> Iterator[Problem]:
    if searched.choice is not None:
        if searched.low is not None or searched.high is not None or searched.log:
            yield Problem(path, "is either a `choice` or a range from `low` to `high`: remove one of them")
    elif searched.low is None or searched.high is None:
        yield Problem(path, "needs both `low` and `high`, or a `choice`")
    elif searched.low >= searched.high:
        yield Problem((*path, "low"), f"low {searched.low:g} must be below high {searched.high:g}")
    elif searched.log and searched.low <= 0:
        yield Problem((*path, "low"), f"a logarithmic range must begin above 0, not at {searched.low:g}")


def _replay(project: Project, replay: ReplaySection) -> Iterator[Problem]:
    if replay.last < replay.first:
        yield Problem(("replay", "last"), f"{replay.last} is before replay.first {replay.first}")
    for key, column in (("key", project.data.key), ("time", project.data.time)):
        if column is None:
            reason = "so that labels find their predictions" if key == "key" else "to follow the order of events"
            yield Problem(("replay",), f"a replay needs data.{key} {reason}: write data.{key}")
    until = project.training.until
    if until is None:
        yield Problem(
            ("replay",), "needs training.until: otherwise the first model is trained on the rows it is asked about"
        )
    elif replay.first < until:
        message = (
            f"{replay.first} is before training.until {until}: the first model is trained on the rows it is asked about"
        )
        yield Problem(("replay", "first"), message)
    features = [*project.data.features.numeric, *project.data.features.categorical]
    for position, drill in enumerate(replay.drills):
        path: Path = ("replay", "drills", position)
        days = {"first": drill.first, "last": drill.last} if isinstance(drill, CorruptDrill) else {"on": drill.on}
        for key, day in days.items():
            if not replay.first <= day <= replay.last:
                yield Problem((*path, key), f"{day} is outside the replay, {replay.first} to {replay.last}")
        if isinstance(drill, CorruptDrill):
            if drill.last < drill.first:
                yield Problem((*path, "last"), f"{drill.last} is before first {drill.first}")
            for column in drill.columns:
                if column not in features:
                    yield _unknown(column, features, (*path, "columns", column), what="feature", at_key=True)


def _metric(name: str | None, path: Path, task: Task | None) -> Iterator[Problem]:
    if name is None:
        return
    if name not in QUALITY:
        yield _unknown(name, QUALITY, path)
    elif task is not None and task not in QUALITY[name].tasks:
        yield _misfit(name, path, task)


def _misfit(name: str, path: Path, task: Task) -> Problem:
    """A metric that says nothing of the task that is asked for."""
    fitting = sorted(metric for metric, facts in QUALITY.items() if task in facts.tasks)
    return Problem(path, f"`{name}` does not measure a {task} model (training.task); allowed: {listed(fitting)}")


def _unknown(
    name: str,
    known: Mapping[str, MetricFacts] | frozenset[str] | list[str],
    path: Path,
    *,
    what: str = "metric",
    at_key: bool = False,
) -> Problem:
    near, word = did_you_mean(name, known), nearest(name, known)
    fix = (Rename(path, word) if at_key else Set(path, word)) if word else None
    message = f"`{name}` is not a known {what}{near or ';'} allowed: {listed(sorted(set(known)))}"
    return Problem(path, message, at_key, fix)


def _is_source(source: str) -> bool:
    """Whether the text names a file below the project's folder, in one of the three forms.

    >>> [_is_source(s) for s in ("a.csv", "in/a.parquet", "a.py:f", "../a.csv", "/a.csv", "a.py", "a.py:f-g", "a.xls")]
    [True, True, True, False, False, False, False, False]
    """
    file, _, function = source.partition(":")
    if file.startswith(("/", "\\", "~")) or ".." in file.replace("\\", "/").split("/"):
        return False
    return function.isidentifier() if file.endswith(".py") else not function and file.endswith((".csv", ".parquet"))
