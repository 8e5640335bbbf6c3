"""Quality over labelled rows."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from boucle.evaluation.api import measure_between
from boucle.monitoring.performance import by_slice, newest_days, performance, with_interval
from boucle.packaging.records import Output, Signature

SIGNATURE = Signature(
    task="binary",
    inputs=[],
    outputs=[Output(name="probability", datatype="FP64"), Output(name="label", datatype="BYTES")],
    classes=["no", "yes"],
    threshold=0.3,
)


def labelled(labels: list[str], scores: list[float], days: list[int] | None = None) -> pl.DataFrame:
    days = days or [1] * len(labels)
    return pl.DataFrame(
        {
            "event_time": [datetime(2013, 7, day, 12, tzinfo=UTC) for day in days],
            "out.probability": scores,
            "out.label": ["yes" if score >= 0.3 else "no" for score in scores],
            "label": labels,
        }
    )


def test_metrics_of_what_was_served() -> None:
    table = labelled(["no", "yes", "no", "yes"], [0.1, 0.4, 0.35, 0.8])
    measured = performance(table, ["auc_roc", "recall", "accuracy"], SIGNATURE)
    assert measured.rows == 4
    assert measured.metrics == {"auc_roc": 1.0, "recall": 1.0, "accuracy": 0.75}


def test_what_the_rows_do_not_define_is_left_out() -> None:
    measured = performance(labelled(["no", "no"], [0.1, 0.4]), ["auc_roc", "accuracy"], SIGNATURE)
    assert measured.metrics == {"accuracy": 0.5}


def test_without_labels_there_is_nothing() -> None:
    assert performance(labelled([], []), ["auc_roc"], SIGNATURE).rows == 0
    assert newest_days(labelled([], []), 7).height == 0


@pytest.mark.parametrize(("days", "kept"), [(1, [9]), (7, [3, 9]), (9, [1, 3, 9])])
def test_the_newest_days_are_counted_in_the_calendar(days: int, kept: list[int]) -> None:
    table = labelled(["no"] * 3, [0.1] * 3, [1, 3, 9])
    assert newest_days(table, days)["event_time"].dt.day().to_list() == kept


def test_a_metric_has_its_interval_over_all_rows_and_by_slice() -> None:
    draw = np.random.default_rng(2)
    scores = draw.random(300)
    labels = ["yes" if one else "no" for one in draw.random(300) < scores]
    table = labelled(labels, scores.tolist()).with_columns(pl.Series("in.kind", ["a"] * 200 + ["b"] * 80 + [None] * 20))
    whole = with_interval(table, "auc_roc", SIGNATURE)
    assert whole is not None
    assert whole.value == performance(table, ["auc_roc"], SIGNATURE).metrics["auc_roc"]
    assert whole.low < whole.value < whole.high
    slices = by_slice(table, "kind", "auc_roc", SIGNATURE)
    assert [(one.value, one.rows) for one in slices] == [("a", 200), ("b", 80)]
    assert by_slice(table, "nowhere", "auc_roc", SIGNATURE) == []
    assert with_interval(table.clear(), "auc_roc", SIGNATURE) is None
    assert with_interval(table.filter(pl.col("label") == "no"), "auc_roc", SIGNATURE) is None


def test_a_row_is_measured_as_the_version_that_answered_it_said() -> None:
    """Of 0.4 the first version says no and the second yes."""
    table = labelled(["no", "yes"] * 40, [0.4] * 80).with_columns(
        pl.Series("number", [1, 2] * 40), pl.Series("in.kind", ["a"] * 80)
    )
    said = {1: 0.5, 2: 0.3}.__getitem__
    assert performance(table, ["recall", "accuracy"], SIGNATURE, said).metrics == {"recall": 1.0, "accuracy": 1.0}
    whole = with_interval(table, "accuracy", SIGNATURE, said)
    assert whole is not None
    assert whole.value == 1.0
    [one] = by_slice(table, "kind", "accuracy", SIGNATURE, said)
    assert one.metric.value == 1.0
    assert performance(table, ["accuracy"], SIGNATURE).metrics == {"accuracy": 0.5}


def test_of_many_rows_the_interval_is_as_narrow_as_that_of_all() -> None:
    draw = np.random.default_rng(2)
    scores = draw.random(40_000)
    found = measure_between("accuracy", (draw.random(40_000) < scores).astype(float), scores)
    assert found is not None
    expected = 2 * 1.96 * (found.value * (1 - found.value) / 40_000) ** 0.5
    assert found.high - found.low == pytest.approx(expected, rel=0.2)


def test_of_a_rare_class_the_interval_is_as_wide_as_its_few_rows_make_it() -> None:
    """50 of 200,000 rows."""
    draw = np.random.default_rng(0)
    truth = np.zeros(200_000)
    truth[draw.choice(len(truth), 50, replace=False)] = 1
    scores = 1 / (1 + np.exp(1 - 1.5 * truth - draw.normal(0, 1, len(truth))))
    recall, auc = (measure_between(metric, truth, scores) for metric in ("recall", "auc_roc"))
    assert recall is not None
    assert auc is not None
    expected = 2 * 1.96 * (recall.value * (1 - recall.value) / 50) ** 0.5
    assert recall.high - recall.low == pytest.approx(expected, rel=0.25)
    assert 0.05 < auc.high - auc.low < 0.15
