from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from boucle.data.records import Features
from boucle.evaluation.api import METRICS, evaluate, keep_evaluation, load_evaluation, measure
from boucle.evaluation.records import Evaluation, EvaluationSection
from boucle.kernel.digests import Digest
from boucle.kernel.errors import Damaged, InvalidInput
from boucle.kernel.store import Store
from boucle.packaging.api import Predictor, open_bundle, package, predict_table
from boucle.packaging.records import PackagingSection
from boucle.training.api import fit, task_of
from boucle.training.records import TrainingSection

START = datetime(2013, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    random = np.random.default_rng(2)
    rows = 900
    carrier = random.choice(["AA", "B6", "UA"], rows, p=[0.6, 0.38, 0.02])
    risk = (carrier == "B6") * 1.5 + random.normal(0, 1, rows)
    return pl.DataFrame(
        {
            "at": [START + timedelta(hours=i) for i in range(rows)],
            "carrier": carrier.tolist(),
            "temp": risk + random.normal(0, 1, rows),
            "late": risk > 1,
            "delay": risk * 20,
            "size": np.select([risk < 0, risk < 1], ["small", "medium"], "large").tolist(),
        }
    )


@pytest.fixture(scope="module")
def predictors(flights: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Predictor]:
    opened = {}
    features = Features(numeric=["temp"], categorical=["carrier"])
    for target in ("late", "delay", "size"):
        task = task_of(flights[target])
        fitted = fit(flights.head(500), TrainingSection(params={"max_iter": 15}), features, target, task, {}, 0.35)
        folder = tmp_path_factory.mktemp(target) / "bundle"
        package(fitted, flights.tail(400), folder, PackagingSection(), key=None, time="at")
        opened[target] = open_bundle(folder)
    return opened


def evaluated(
    predictor: Predictor, table: pl.DataFrame, target: str = "late", section: EvaluationSection | None = None
) -> Evaluation:
    return evaluate(
        predictor,
        table,
        target=target,
        bundle_digest=Digest("b" * 64),
        dataset_digest=Digest("d" * 64),
        section=section or EvaluationSection(bootstrap=50),
        time="at",
        seed=0,
    )


def test_a_binary_bundle_gets_all_numbers_and_curves(predictors: dict[str, Predictor], flights: pl.DataFrame) -> None:
    table = flights.tail(400)
    found = evaluated(predictors["late"], table)
    assert list(found.metrics) == list(METRICS["binary"])
    assert (found.rows, found.positives) == (400, table["late"].sum())
    assert (found.first_at, found.last_at) == (START + timedelta(hours=500), START + timedelta(hours=899))
    outputs = predict_table(predictors["late"], table)
    for name, metric in found.metrics.items():
        assert metric.value == measure(name, table["late"].cast(pl.Float64).to_numpy(), outputs, threshold=0.35)
        assert metric.low <= metric.high
    assert found.metrics["accuracy"].value == np.mean(
        [label == str(late).lower() for label, late in zip(outputs["label"], table["late"], strict=True)]
    )
    assert found.metrics["auc_roc"].low > 0.7
    assert None not in (found.roc, found.precision_recall, found.calibration)
    assert evaluated(predictors["late"], table) == found


@pytest.mark.parametrize(("target", "task"), [("delay", "regression"), ("size", "multiclass")])
def test_other_tasks_get_theirs(
    predictors: dict[str, Predictor], flights: pl.DataFrame, target: str, task: str
) -> None:
    found = evaluated(predictors[target], flights.tail(400), target)
    assert list(found.metrics) == list(METRICS[task])  # type: ignore[index]
    assert (found.positives, found.roc, found.calibration) == (0, None, None)


def test_slices_report_the_primary_metric_where_rows_are_enough(
    predictors: dict[str, Predictor], flights: pl.DataFrame
) -> None:
    table = flights.tail(400)
    found = evaluated(predictors["late"], table, section=EvaluationSection(bootstrap=20, slices=["carrier"])).slices
    assert [(one.column, one.value, one.name) for one in found] == [
        ("carrier", "AA", "auc_roc"),
        ("carrier", "B6", "auc_roc"),
    ]
    chosen = table.filter(carrier="B6")
    assert found[1].rows == chosen.height
    assert found[1].metric.value == measure(
        "auc_roc", chosen["late"].cast(pl.Float64).to_numpy(), predict_table(predictors["late"], chosen)
    )


def test_labels_may_come_as_zero_and_one(predictors: dict[str, Predictor], flights: pl.DataFrame) -> None:
    table = flights.tail(400)
    numbers = table.with_columns(pl.col("late").cast(pl.Int64))
    assert evaluated(predictors["late"], numbers) == evaluated(predictors["late"], table)


def test_one_class_leaves_out_what_it_does_not_define(
    predictors: dict[str, Predictor], flights: pl.DataFrame, tmp_path: Path
) -> None:
    found = evaluated(predictors["late"], flights.tail(400).filter(late=False))
    assert {"auc_roc", "recall", "average_precision"} & set(found.metrics) == set()
    assert "accuracy" in found.metrics
    assert (found.roc, found.precision_recall) == (None, None)
    with Store.open(tmp_path) as store:
        assert load_evaluation(store, keep_evaluation(store, found)) == found


def test_evaluations_are_kept_by_content(
    predictors: dict[str, Predictor], flights: pl.DataFrame, tmp_path: Path
) -> None:
    found = evaluated(
        predictors["late"], flights.tail(400), section=EvaluationSection(bootstrap=20, slices=["carrier"])
    )
    with Store.open(tmp_path) as store:
        digest = keep_evaluation(store, found)
        assert keep_evaluation(store, found) == digest
        assert load_evaluation(store, digest) == found
        with pytest.raises(Damaged, match="is no evaluation"):
            load_evaluation(store, store.blobs.put(b"{}"))


def test_what_cannot_be_evaluated_is_refused(predictors: dict[str, Predictor], flights: pl.DataFrame) -> None:
    with pytest.raises(InvalidInput, match="no rows to evaluate on"):
        evaluated(predictors["late"], flights.clear())
    with pytest.raises(InvalidInput, match="target 'late' is missing"):
        evaluated(predictors["late"], flights.drop("late"))
    with pytest.raises(InvalidInput, match=r"evaluation\.slices names 'airline'"):
        evaluated(predictors["late"], flights, section=EvaluationSection(bootstrap=20, slices=["airline"]))
