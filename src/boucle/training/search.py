"""Searches parameters: Optuna's TPE, seeded, one trial after another, each scored over the same folds."""

import time as clocks
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from boucle.data.records import Features, Task
from boucle.kernel.errors import InvalidInput
from boucle.kernel.progress import Progress
from boucle.runs.records import ParamValue
from boucle.training.encode import column, encode_table, encoding_of
from boucle.training.fit import cores, fit_matrix, most_categories, scores_of
from boucle.training.labels import classes_of, numbers_of
from boucle.training.records import DEFAULT_METRIC, Range, SearchResult, TrainingSection, Trial
from boucle.training.scoring import Scoring, scoring_of, youden_threshold
from boucle.training.splits import Fold, shuffled_folds, time_folds

if TYPE_CHECKING:
    import optuna

Params = dict[str, ParamValue]
Numbers = NDArray[np.float64]

DEFAULT_SPACE: Mapping[str, Range] = {
    "max_iter": Range(low=50, high=200),
    "learning_rate": Range(low=0.02, high=0.2, log=True),
    "max_leaf_nodes": Range(low=7, high=31, log=True),
    "min_samples_leaf": Range(low=20, high=200, log=True),
    "l2_regularization": Range(low=0.01, high=10.0, log=True),
}
"""Where a project that names no space is searched, given enough rows (see `leaves`)."""
DEFAULT_START: Mapping[str, ParamValue] = {
    "max_iter": 100,
    "learning_rate": 0.05,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 100,
    "l2_regularization": 1.0,
}
"""The first trial of the default space: modest trees, for data that will drift."""


def leaves(rows: int) -> tuple[int, int, int]:
    """Where `min_samples_leaf` is searched, from which value to which, and with what it starts: few rows need small
    leaves, or no tree is ever split.

    >>> leaves(120), leaves(1_000), leaves(50_000)
    ((2, 6, 3), (5, 50, 20), (20, 200, 100))
    """
    return min(20, max(2, rows // 200)), min(200, max(5, rows // 20)), min(100, max(3, rows // 50))


RANDOM_TRIALS = 5
"""Before TPE has seen enough to model."""


def search(
    table: pl.DataFrame,
    section: TrainingSection,
    features: Features,
    target: str,
    task: Task,
    *,
    trials: int,
    start_from: Mapping[str, ParamValue] | None,
    on_trial: Callable[[Trial], None],
    progress: Progress,
    time: str | None = None,
    threads: int | None = None,
    done: Sequence[Trial] = (),
    timer: Callable[[], float] = clocks.perf_counter,
) -> SearchResult:
    """Try `trials` sets of parameters, after `start_from` if it is given, and return the best.

    Rows are in time order, or `time` names the column to sort them by. `on_trial` is called after each trial. `done`
    are the first trials of an interrupted search over the same inputs: they are not fitted again, and the result is
    the one that the whole search would have had. Sampling depends on the seed and the number of rows, so that a
    retraining on more rows tries something new.
    """
    folded = _fold(table, section, features, target, task, time, threads)
    space = _space(section, len(folded.matrix), start_from or {})
    study = _study(section, start_from, space, folded)
    distributions = {name: _distribution(name, one) for name, one in space.items()}
    tried: list[Trial] = []
    best: Trial | None = None
    best_scores: list[Numbers] = []
    total = max(1, trials + (start_from is not None))
    with progress.task("search parameters", total, even=True) as shown:
        for number in range(total):
            asked = study.ask(distributions)
            trial, scores = _try(folded, section.params, asked.params, number, done, tried, timer)
            study.tell(asked, trial.score)
            tried.append(trial)
            if best is None or folded.scoring.sign * (trial.score - best.score) > 0:
                best, best_scores = trial, scores
            if number >= len(done):
                on_trial(trial)
            shown.advance(1, f"{section.metric or DEFAULT_METRIC[task]} {trial.score:.4f}, best {best.score:.4f}")
    assert best is not None
    threshold = 0.5
    if task == "binary":
        threshold = folded.threshold(best_scores or folded.scores({**section.params, **best.params}))
    return SearchResult(best=best.params, trials=tried, threshold=threshold)


class _Folded(Struct, frozen=True):
    """An encoded table with its folds."""

    matrix: Numbers
    numbers: Numbers
    folds: list[Fold]
    task: Task
    n_categorical: int
    n_classes: int
    seed: int
    scoring: Scoring
    threads: int

    def scores(self, params: Params) -> list[Numbers]:
        """Scores of each fold's validation rows, by a model that has not seen them; `threads` folds at once."""

        def score(fold: Fold) -> Numbers:
            train, later = fold
            estimator = fit_matrix(
                self.matrix[train], self.numbers[train], self.task, self.n_categorical, params, self.seed
            )
            return scores_of(estimator, self.matrix[later], self.task, self.n_classes)

        # Several fits on one core each, not one fit on several: OpenMP's threads spin for each other at every split.
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(score, self.folds))

    def measure(self, scores: list[Numbers]) -> list[float]:
        return [
            float(self.scoring.measure(self.numbers[later], one))
            for (_, later), one in zip(self.folds, scores, strict=True)
        ]

    def threshold(self, scores: list[Numbers]) -> float:
        later = np.concatenate([rows for _, rows in self.folds])
        return youden_threshold(self.numbers[later], np.concatenate(scores))


def _fold(
    table: pl.DataFrame,
    section: TrainingSection,
    features: Features,
    target: str,
    task: Task,
    time: str | None,
    threads: int | None,
) -> _Folded:
    scoring = scoring_of(section.metric or DEFAULT_METRIC[task], task)
    ordered = table if time is None else table.sort(time, maintain_order=True)
    if section.search.rows is not None:
        ordered = ordered.tail(section.search.rows)
    encoding = encoding_of(ordered, features, most_categories(section.params, section.search.space))
    answers = column(ordered, target)
    classes = [] if task == "regression" else classes_of(answers)
    numbers = numbers_of(answers, task, classes)
    validation = section.cross_validation
    if validation.order == "time" or (validation.order is None and time is not None):
        folds = time_folds(ordered.height, validation.folds, None if time is None else ordered[time])
    else:
        folds = shuffled_folds(ordered.height, validation.folds, section.seed, numbers if classes else None)
    if task == "binary":
        _check_both_classes(numbers, folds, classes)
    return _Folded(
        matrix=encode_table(ordered, encoding),
        numbers=numbers,
        folds=folds,
        task=task,
        n_categorical=len(encoding.categorical),
        n_classes=len(classes),
        seed=section.seed,
        scoring=scoring,
        threads=threads or cores(),
    )


def _check_both_classes(numbers: Numbers, folds: list[Fold], classes: list[str]) -> None:
    for fold, parts in enumerate(folds, start=1):
        for rows, role in zip(parts, ("trains on", "validates on"), strict=True):
            present = np.unique(numbers[rows]).astype(np.int64).tolist()
            if len(present) < 2:
                raise InvalidInput(
                    f"fold {fold} of {len(folds)} {role} {len(rows)} rows of the class {classes[present[0]]!r} only",
                    hint="set training.cross_validation.folds lower, or its order to shuffled",
                )


def _try(
    folded: _Folded,
    fixed: Params,
    params: Params,
    number: int,
    done: Sequence[Trial],
    tried: Sequence[Trial],
    timer: Callable[[], float],
) -> tuple[Trial, list[Numbers]]:
    # the trial and, if it had to be fitted, the scores of its folds
    if number < len(done) and done[number].params == params:
        return done[number], []
    for known in tried:  # drawn before
        if known.params == params:
            return replace(known, number=number, seconds=0.0), []
    started = timer()
    scores = folded.scores({**fixed, **params})
    measured = folded.measure(scores)
    return Trial(
        number=number,
        params=dict(sorted(params.items())),
        score=float(np.mean(measured)),
        fold_scores=measured,
        seconds=timer() - started,
    ), scores


def _space(section: TrainingSection, rows: int, start_from: Mapping[str, ParamValue]) -> Mapping[str, Range]:
    space = section.search.space
    if not space:
        low, high, _ = leaves(rows)
        begun = start_from.get("min_samples_leaf", low)  # fitted to fewer rows, perhaps
        if isinstance(begun, int) and begun > 0:
            low, high = min(low, begun), max(high, begun)
        space = {**DEFAULT_SPACE, "min_samples_leaf": Range(low=low, high=high, log=True)}
    return {name: one for name, one in space.items() if name in section.search.space or name not in section.params}


def _study(
    section: TrainingSection, start_from: Mapping[str, ParamValue] | None, space: Mapping[str, Range], folded: _Folded
) -> "optuna.Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = len(folded.matrix)
    default = {} if section.search.space else {**DEFAULT_START, "min_samples_leaf": leaves(rows)[2]}
    start = start_from if start_from is not None else default
    first = {name: value for name, value in start.items() if name in space and _inside(value, space[name])}
    sampler = optuna.samplers.TPESampler(seed=section.seed + rows, n_startup_trials=1 if start_from else RANDOM_TRIALS)
    study = optuna.create_study(direction="maximize" if folded.scoring.sign > 0 else "minimize", sampler=sampler)
    if first:
        study.enqueue_trial(first)
    return study


def _inside(value: ParamValue, one: Range) -> bool:
    if one.choice is not None:
        return value in one.choice
    return (
        isinstance(value, int | float) and one.low is not None and one.high is not None and one.low <= value <= one.high
    )


def _distribution(name: str, one: Range) -> "optuna.distributions.BaseDistribution":
    import optuna

    where = f"training.search.space.{name}"
    if one.choice is not None:
        if not one.choice:
            raise InvalidInput(f"{where}.choice is empty; it needs at least one value")
        return optuna.distributions.CategoricalDistribution(one.choice)
    low, high = one.low, one.high
    if low is None or high is None:
        raise InvalidInput(f"{where} needs either choice, or both low and high")
    if low > high:
        raise InvalidInput(f"{where}.low is {low:g}, above its high of {high:g}")
    if one.log and low <= 0:
        raise InvalidInput(f"{where}.low is {low:g}; a logarithmic range starts above 0")
    if isinstance(low, int) and isinstance(high, int):
        return optuna.distributions.IntDistribution(low, high, log=one.log)
    return optuna.distributions.FloatDistribution(float(low), float(high), log=one.log)
