import numpy as np
import polars as pl
import pytest

from boucle.data.leakage import copies, find_leaks
from boucle.data.records import Features
from boucle.data.task import task_of

KNOWN = Features(categorical=["origin", "dest", "carrier"], numeric=["sched_dep_time", "sched_arr_time", "distance"])


def with_numeric(*names: str) -> Features:
    return Features(categorical=KNOWN.categorical, numeric=[*KNOWN.numeric, *names])


def leaks(table: pl.DataFrame, features: Features, at_most: float = 0.85, target: str = "late") -> list[str]:
    found = find_leaks(
        table, features, target, task=task_of(table[target].drop_nulls()), time="scheduled_at", at_most=at_most
    )
    return [leak.column for leak in found]


def test_what_is_known_before_departure_is_no_leak(january: pl.DataFrame) -> None:
    assert leaks(january, KNOWN) == []


def test_the_departure_delay_leaks_alone(january: pl.DataFrame) -> None:
    (leak,) = find_leaks(january, with_numeric("dep_delay"), "late", task="binary", time="scheduled_at", at_most=0.85)
    assert leak.column == "dep_delay"
    assert leak.alone is not None
    assert 0.85 < leak.alone < 0.95


def test_the_arrival_time_leaks_beside_the_scheduled_one(january: pl.DataFrame) -> None:
    (leak,) = find_leaks(
        january, with_numeric("air_time", "arr_time"), "late", task="binary", time="scheduled_at", at_most=0.85
    )
    assert (leak.column, leak.alone) == ("arr_time", None)  # and not the scheduled time, which gives it its meaning
    assert leak.together is not None
    assert leak.without is not None
    assert leak.together > 0.95 > 0.75 > leak.without


def test_several_leaks_do_not_hide_each_other(january: pl.DataFrame) -> None:
    assert set(leaks(january, with_numeric("arr_delay", "dep_delay", "arr_time"))) == {
        "arr_delay",
        "dep_delay",
        "arr_time",
    }


def test_a_category_that_names_the_answer_leaks_and_a_key_does_not(january: pl.DataFrame) -> None:
    table = january.with_columns(remark=pl.when(pl.col("late") == 1).then(pl.lit("late")).otherwise(pl.lit("fine")))
    assert leaks(table, Features(categorical=["origin", "remark"])) == ["remark"]
    assert leaks(table, Features(categorical=["origin", "flight_id"])) == []


@pytest.mark.slow
def test_numbers_are_ranked(january: pl.DataFrame) -> None:
    features = with_numeric("arr_time", "dep_delay")
    assert set(leaks(january, features, at_most=0.6, target="arr_delay")) == {"dep_delay", "arr_time"}
    assert leaks(january, KNOWN, at_most=0.6, target="arr_delay") == []


def test_each_of_several_classes_is_ranked(january: pl.DataFrame) -> None:
    table = january.with_columns(
        late=pl.when(pl.col("arr_delay") > 15)
        .then(pl.lit("late"))
        .when(pl.col("arr_delay") < -15)
        .then(pl.lit("early"))
        .otherwise(pl.lit("fine"))
    )
    assert leaks(table, with_numeric("dep_delay")) == ["dep_delay"]
    assert leaks(table, KNOWN) == []


@pytest.mark.slow
def test_a_strong_model_of_many_features_is_no_leak() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=4000)
    columns = {f"x{i}": hidden + rng.normal(size=4000) * 1.2 for i in range(16)}
    table = pl.DataFrame(columns | {"y": hidden > 0})
    assert find_leaks(table, Features(numeric=list(columns)), "y", task="binary", time=None, at_most=0.88) == []


def test_a_leak_of_no_order_is_found() -> None:
    rng = np.random.default_rng(0)
    noise, code = rng.normal(size=4000), rng.integers(0, 1000, 4000)
    table = pl.DataFrame({"noise": noise, "code": code, "y": (code // 100) % 2 == 0})
    (leak,) = find_leaks(table, Features(numeric=["noise", "code"]), "y", task="binary", time=None, at_most=0.9)
    assert leak.column == "code"


@pytest.mark.parametrize("rows", [0, 1, 5, 100])
def test_too_little_to_tell(rows: int) -> None:
    table = pl.DataFrame({"x": [None] * rows, "y": [1] * rows}, schema={"x": pl.Float64, "y": pl.Int64})
    assert find_leaks(table, Features(numeric=["x"]), "y", task="binary", time=None, at_most=0.9) == []


def test_copies_keep_what_is_missing() -> None:
    table = pl.DataFrame(
        {
            "delay": [3, 1, None, 2],
            "minutes": [180.0, 60.0, None, 120.0],
            "filled": [180.0, 60.0, 0.0, 120.0],
            "earliness": [-3, -1, None, -2],
            "flag": [True, False, None, True],
        }
    )
    names = ["minutes", "filled", "earliness", "flag", "nowhere"]
    assert copies(table, names, ["delay", "elsewhere"]) == [("minutes", "delay"), ("earliness", "delay")]


def test_rows_of_alternating_classes_make_no_leak() -> None:
    rows = 200
    table = pl.DataFrame(
        {"shape": ["round" if n % 3 else "long" for n in range(rows)], "good": [n % 2 for n in range(rows)]}
    )
    assert find_leaks(table, Features(categorical=["shape"]), "good", task="binary", time=None, at_most=0.8) == []
