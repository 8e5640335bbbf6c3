import numpy as np
import polars as pl
import pytest

from boucle.data.records import Features
from boucle.kernel.errors import InvalidInput
from boucle.training.api import encode_table, fit, scores_of
from boucle.training.records import Fitted, Task, TrainingSection

SECTION = TrainingSection(params={"max_iter": 20})


def trees(fitted: Fitted) -> bytes:
    return b"".join(tree.nodes.tobytes() for stage in fitted.estimator._predictors for tree in stage)


def test_two_fits_and_two_threads_give_the_same_trees(flights: pl.DataFrame, features: Features) -> None:
    first, again, threaded = (
        fit(flights, SECTION, features, "late", "binary", {}, 0.5, threads=threads) for threads in (1, 1, 2)
    )
    assert trees(first) == trees(again) == trees(threaded)
    assert np.array_equal(first.matrix, again.matrix, equal_nan=True)


def test_what_is_searched_overrides_what_is_fixed(flights: pl.DataFrame, features: Features) -> None:
    fitted = fit(flights, SECTION, features, "late", "binary", {"max_iter": 3, "max_depth": None}, 0.5)
    assert fitted.estimator.n_iter_ == 3
    assert fitted.params == {"max_depth": None, "max_iter": 3}


@pytest.mark.parametrize(
    ("target", "task", "shape", "classes"),
    [
        ("late", "binary", (600,), ["0", "1"]),
        ("size", "multiclass", (600, 3), ["large", "medium", "small"]),
        ("delay", "regression", (600,), []),
    ],
)
def test_every_task_is_learned(
    flights: pl.DataFrame, features: Features, target: str, task: Task, shape: tuple[int, ...], classes: list[str]
) -> None:
    fitted = fit(flights, SECTION, features, target, task, {}, 0.5)
    matrix = encode_table(flights, fitted.encoding)
    scores = scores_of(fitted.estimator, matrix, task, len(classes))
    assert fitted.classes == classes
    assert scores.shape == shape
    assert scores_of(fitted.estimator, matrix[:0], task, len(classes)).shape == (0, *shape[1:])
    if task == "multiclass":
        assert np.mean(scores.argmax(axis=1) == [classes.index(one) for one in flights["size"]]) > 0.5
    else:
        assert np.corrcoef(scores, flights[target].to_numpy())[0, 1] > 0.5


def test_columns_without_any_value_do_not_stop_a_fit(flights: pl.DataFrame, features: Features) -> None:
    empty = flights.with_columns(
        wind=pl.lit(None, dtype=pl.Float64), origin=pl.lit(None, dtype=pl.String), temp=pl.lit(7.0)
    )
    fitted = fit(empty, SECTION, features, "late", "binary", {}, 0.5)
    served = encode_table(flights, fitted.encoding)
    assert np.isfinite(scores_of(fitted.estimator, served, "binary", 2)).all()
    calm, stormy = served.copy(), served.copy()
    calm[:, 3], stormy[:, 3] = np.nan, 1e9
    assert np.array_equal(
        scores_of(fitted.estimator, calm, "binary", 2), scores_of(fitted.estimator, stormy, "binary", 2)
    )


def test_few_bins_keep_few_categories() -> None:
    table = pl.DataFrame({"c": [f"v{i % 40:02}" for i in range(400)], "y": [i % 2 for i in range(400)]})
    fitted = fit(table, TrainingSection(params={"max_bins": 16}), Features(categorical=["c"]), "y", "binary", {}, 0.5)
    assert len(fitted.encoding.categories["c"]) == 16


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_itr": 10}, r"training\.params\.max_itr is no parameter of gradient_boosting; allowed are .*max_iter"),
        ({"max_iter": "many"}, r"training\.params: .*'max_iter'.*'many'"),
        ({"learning_rate": -0.1}, r"training\.params: .*'learning_rate'.*-0\.1"),
        ({"random_state": 3}, r"training\.params\.random_state is set by Boucle"),
        ({"early_stopping": True}, r"training\.params\.early_stopping is set by Boucle"),
    ],
)
def test_wrong_parameters_are_named(
    flights: pl.DataFrame, features: Features, params: dict[str, str | int | float | bool | None], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        fit(flights, TrainingSection(), features, "late", "binary", params, 0.5)
