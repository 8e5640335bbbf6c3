from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pytest

from boucle.data.records import Features
from boucle.kernel.errors import InvalidInput
from boucle.kernel.progress import Silent
from boucle.runs.records import ParamValue
from boucle.training.api import fit, search
from boucle.training.records import CrossValidation, Range, Search, SearchResult, Task, TrainingSection, Trial
from boucle.training.search import DEFAULT_START, leaves

FEATURES = Features(numeric=["temp", "wind"], categorical=["carrier", "origin"])
SPACE = {
    "max_iter": Range(low=2, high=12),
    "learning_rate": Range(low=0.05, high=0.5, log=True),
    "max_leaf_nodes": Range(choice=[3, 7]),
}
SECTION = TrainingSection(search=Search(space=SPACE), cross_validation=CrossValidation(folds=2))


def run(
    table: pl.DataFrame,
    section: TrainingSection = SECTION,
    trials: int = 4,
    *,
    target: str = "late",
    task: Task = "binary",
    start_from: Mapping[str, ParamValue] | None = None,
    done: Sequence[Trial] = (),
    seen: list[Trial] | None = None,
) -> SearchResult:
    return search(
        table,
        section,
        FEATURES,
        target,
        task,
        trials=trials,
        start_from=start_from,
        on_trial=[].append if seen is None else seen.append,
        progress=Silent(),
        time="at",
        done=done,
        timer=lambda: 0.0,
    )


def test_the_same_seed_finds_the_same(flights: pl.DataFrame) -> None:
    first = run(flights)
    assert run(flights) == first
    assert len(first.trials) == 4
    assert first.best == max(first.trials, key=lambda trial: trial.score).params
    assert 0 < first.threshold < 1
    for trial in first.trials:
        assert trial.score == pytest.approx(np.mean(trial.fold_scores))
        assert 2 <= trial.params["max_iter"] <= 12  # type: ignore[operator]
        assert trial.params["max_leaf_nodes"] in (3, 7)


@pytest.mark.parametrize("kept", [1, 3, 4])
def test_an_interrupted_search_goes_on_where_it_stopped(flights: pl.DataFrame, kept: int) -> None:
    whole = run(flights)
    seen: list[Trial] = []
    assert run(flights, done=whole.trials[:kept], seen=seen) == whole
    assert seen == whole.trials[kept:]


def test_a_retraining_starts_from_the_best_and_tries_more(flights: pl.DataFrame) -> None:
    best: dict[str, ParamValue] = {"max_iter": 9, "learning_rate": 0.2, "max_leaf_nodes": 7}
    found = run(flights, trials=2, start_from=best)
    assert len(found.trials) == 3
    assert found.trials[0].params == best
    assert run(flights, trials=0, start_from=best).trials == found.trials[:1]
    more = run(flights.head(590), trials=1, start_from=best)
    assert more.trials[1].params != found.trials[1].params


def test_a_start_outside_of_a_changed_space_is_left_out(flights: pl.DataFrame) -> None:
    found = run(flights, trials=0, start_from={"max_iter": 500, "max_leaf_nodes": 3, "gone": 1})
    assert found.trials[0].params["max_leaf_nodes"] == 3
    assert found.trials[0].params["max_iter"] <= 12  # type: ignore[operator]


def test_without_a_space_the_default_is_searched_from_its_start(flights: pl.DataFrame) -> None:
    section = TrainingSection(params={"max_iter": 5}, cross_validation=CrossValidation(folds=2))
    found = run(flights, section, trials=1)
    start = {**DEFAULT_START, "min_samples_leaf": leaves(flights.height)[2]}
    assert found.trials[0].params == {name: value for name, value in start.items() if name != "max_iter"}


def test_parameters_drawn_twice_are_fitted_once(flights: pl.DataFrame) -> None:
    section = TrainingSection(
        search=Search(space={"max_leaf_nodes": Range(choice=[3])}),
        cross_validation=CrossValidation(folds=2),
        params={"max_iter": 3},
    )
    first, second = run(flights, section, trials=2).trials
    assert first.fold_scores == second.fold_scores
    assert second.number == 1


@pytest.mark.parametrize(
    ("metric", "target", "task"),
    [("log_loss", "late", "binary"), ("rmse", "delay", "regression"), ("log_loss", "size", "multiclass")],
)
@pytest.mark.parametrize("order", ["time", "shuffled"])
def test_losses_are_minimised(flights: pl.DataFrame, metric: str, target: str, task: Task, order: str) -> None:
    validation = CrossValidation(folds=2, order="time" if order == "time" else "shuffled")
    section = TrainingSection(metric=metric, search=Search(space=SPACE), cross_validation=validation)
    found = run(flights, section, trials=3, target=target, task=task)
    assert found.best == min(found.trials, key=lambda trial: trial.score).params
    if task != "binary":
        assert found.threshold == 0.5


@pytest.mark.parametrize("bins", [Range(low=8, high=40), Range(choice=[40, 8])])
def test_a_searched_number_of_bins_may_be_below_the_number_of_categories(flights: pl.DataFrame, bins: Range) -> None:
    table = flights.with_columns(origin=pl.format("O{}", pl.int_range(pl.len()) % 30))
    section = TrainingSection(
        search=Search(space={"max_bins": bins}), params={"max_iter": 3}, cross_validation=CrossValidation(folds=2)
    )
    tried = [trial.params["max_bins"] for trial in run(table, section, trials=6).trials]
    assert min(tried) < 30 < max(tried)  # type: ignore[type-var, operator]
    fitted = fit(table, section, FEATURES, "late", "binary", {"max_bins": 40}, 0.5)
    assert {name: len(values) for name, values in fitted.encoding.categories.items()} == {"carrier": 4, "origin": 8}


def test_only_the_newest_rows_are_searched(flights: pl.DataFrame) -> None:
    section = TrainingSection(
        search=Search(space=SPACE, rows=300), cross_validation=CrossValidation(folds=2), params={}
    )
    assert run(flights, section, trials=1) == run(flights.tail(300), section, trials=1)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Range(), "max_iter needs either choice, or both low and high"),
        (Range(low=1), "max_iter needs either choice, or both low and high"),
        (Range(low=5, high=2), r"max_iter\.low is 5, above its high of 2"),
        (Range(low=0.0, high=2.0, log=True), r"max_iter\.low is 0; a logarithmic range starts above 0"),
        (Range(choice=[]), r"max_iter\.choice is empty"),
    ],
)
def test_impossible_ranges_are_refused(flights: pl.DataFrame, space: Range, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        run(flights, TrainingSection(search=Search(space={"max_iter": space})), trials=1)


def test_a_fold_of_one_class_is_refused(flights: pl.DataFrame) -> None:
    sorted_labels = flights.with_columns(late=flights["late"].sort())
    with pytest.raises(InvalidInput, match="fold 1 of 2 trains on 200 rows of the class '0' only"):
        run(sorted_labels)


def test_fewer_rows_than_folds_are_refused(flights: pl.DataFrame) -> None:
    with pytest.raises(InvalidInput, match="2 rows are too few for 2 folds"):
        run(pl.concat([flights.filter(late=0).head(1), flights.filter(late=1).head(1)]))
