"""`training.task`: what the model does, asked for or decided by the target, from the file to an answer."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from sklearn.datasets import load_diabetes, load_digits, load_iris, load_wine

from boucle.evaluation.api import load_evaluation
from boucle.kernel.errors import InvalidInput
from boucle.kernel.progress import Silent
from boucle.loop.status import status
from boucle.packaging.api import open_kept
from boucle.project.context import open_context
from boucle.project.lifecycle import RunReport, check_project, run_project
from boucle.serving.api import InferClient, ServerProcess, deploy


def write(
    folder: Path,
    frame: pl.DataFrame,
    *,
    training: str = "",
    objective: str = "",
    data: str = "",
    csv: bytes | None = None,
) -> Path:
    """A project whose target is the last column and whose other columns are numbers."""
    (folder / "t.csv").write_bytes(frame.write_csv().encode() if csv is None else csv)
    numeric = [name for name in frame.columns[:-1] if frame[name].n_unique() > 1]
    (folder / "boucle.yaml").write_text(
        f"project: p\ndata:\n  source: t.csv\n{data}  target: {frame.columns[-1]}\n"
        f"  features:\n    numeric: {json.dumps(numeric)}\n"
        f"training:\n{training}  search: {{trials: 2}}\nevaluation: {{bootstrap: 20}}\n{objective}"
    )
    return folder


def table(load: Callable[..., object]) -> pl.DataFrame:
    return pl.from_pandas(load(as_frame=True).frame)  # type: ignore[attr-defined]


def served(folder: Path, rows: dict[str, list[float]]) -> tuple[RunReport, dict[str, list[float | str]]]:
    """Run the project, and what a real server then answers for some rows."""
    with open_context(folder) as context:
        report = run_project(context, Silent())
        deploy(context.store(), project_id="p", number=report.in_charge, bundle_digest=report.version.bundle_digest)
        with ServerProcess(context.home, "p") as url, InferClient(url, "p") as client:
            answers = client.infer("r1", rows, dict.fromkeys(rows, "number"))
        assert status(context).in_charge == 1
    return report, answers


@pytest.mark.slow
def test_diabetes_a_number(tmp_path: Path) -> None:
    frame = table(load_diabetes)
    folder = write(tmp_path, frame, objective="objectives:\n  - {metric: rmse, at_most: 70}\n")
    report, answers = served(folder, frame[:, :-1].head(3).to_dict(as_series=False))
    assert report.search.score < 70  # the metric of the search is rmse, the smaller the better
    assert [verdict.gate for verdict in report.gates.verdicts][:1] == ["objective(rmse)"]
    assert list(answers) == ["value"]
    assert all(20 < value < 350 for value in answers["value"] if isinstance(value, float))


@pytest.mark.slow
def test_wine_whole_numbers_as_classes(tmp_path: Path) -> None:
    frame = table(load_wine)
    objective = "objectives:\n  - {metric: macro_f1, at_least: 0.8}\n"
    folder = write(tmp_path, frame, training="  task: multiclass\n", objective=objective)
    report, answers = served(folder, frame[:, :-1].gather([0, 60, 150]).to_dict(as_series=False))
    assert report.search.score > 0.8
    assert list(answers) == ["probability_0", "probability_1", "probability_2", "label"]
    assert answers["label"] == ["0", "1", "2"]


@pytest.mark.slow
def test_iris_text_as_classes_in_another_dialect(tmp_path: Path) -> None:
    # 150 rows in order of the class: the default folds and the default leaves must still learn something.
    frame = table(load_iris).with_columns(
        pl.col("target").replace_strict(dict(enumerate("stv")), return_dtype=pl.String)
    )
    csv = frame.write_csv(separator=";", decimal_comma=True).encode("utf-16")
    data = '  csv: {separator: ";", decimal: ",", encoding: utf-16}\n'
    with open_context(write(tmp_path, frame, data=data, csv=csv)) as context:
        report = run_project(context, Silent())
        evaluation = load_evaluation(context.store(), report.version.evaluation_digest)
        signature = open_kept(context.store(), report.version.bundle_digest).signature
    assert evaluation.metrics["macro_f1"].value > 0.85
    assert (evaluation.rows, signature.classes) == (30, ["s", "t", "v"])


@pytest.mark.slow
def test_ten_digits_keep_the_order_of_numbers(tmp_path: Path) -> None:
    frame = table(load_digits).with_columns(pl.col("target") + 5)
    training = "  task: multiclass\n  params: {max_iter: 5}\n"
    with open_context(write(tmp_path, frame, training=training)) as context:
        report = run_project(context, Silent())
        signature = open_kept(context.store(), report.version.bundle_digest).signature
    assert signature.classes == [str(one) for one in range(5, 15)]


def test_a_regression_of_two_values(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [n % 7 for n in range(200)], "y": [float(n % 7 > 3) for n in range(200)]})
    with open_context(write(tmp_path, frame, training="  task: regression\n")) as context:
        report = run_project(context, Silent())
        assert open_kept(context.store(), report.version.bundle_digest).signature.task == "regression"


@pytest.mark.parametrize(
    ("task", "values", "message"),
    [
        (
            "binary",
            ["a", "b", "c"],
            "target 'y' has 3 values (a, b, c); binary means two; allowed for it is multiclass",
        ),
        (
            "binary",
            [1, 2, 3],
            "target 'y' has 3 values (1, 2, 3); binary means two; allowed for it is multiclass or regression",
        ),
        ("multiclass", [1, 2], "target 'y' has two values (1, 2); multiclass means more; allowed for it is binary"),
        (
            "regression",
            ["a", "b", "c"],
            "target 'y' holds text; a regression needs numbers; allowed for it is multiclass",
        ),
        ("multiclass", list(range(500)), "target 'y' has 500 values (0, 1, 2, 3, ...)"),
    ],
)
def test_a_task_that_the_target_contradicts_is_told_with_its_line(
    tmp_path: Path, task: str, values: list[object], message: str
) -> None:
    rows = len(values) * 40
    frame = pl.DataFrame({"x": range(rows), "y": values * 40})
    with (
        open_context(write(tmp_path, frame, training=f"  task: {task}\n")) as context,
        pytest.raises(InvalidInput) as caught,
    ):
        check_project(context, Silent())
    assert caught.value.message.startswith(f"boucle.yaml:8: training.task: {message}")
    assert caught.value.hint is not None


def test_a_metric_that_the_target_contradicts_is_told_with_its_line(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": range(90), "y": ["a", "b", "c"] * 30})
    write(tmp_path, frame, objective="objectives:\n  - {metric: accuracy, at_least: 0.1}\nloop: {metric: auc_roc}\n")
    text = (tmp_path / "boucle.yaml").read_text().replace("accuracy", "auc_roc")
    (tmp_path / "boucle.yaml").write_text(text)
    with open_context(tmp_path) as context, pytest.raises(InvalidInput) as caught:
        check_project(context, Silent())
    assert "auc_roc does not measure a multiclass model" in caught.value.message
    assert "boucle.yaml:" in caught.value.message
    assert "accuracy, log_loss, macro_f1" in caught.value.message


@pytest.mark.slow
def test_a_rare_class_is_never_held_out_whole(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": range(200), "y": ["a", "b"] * 99 + ["rare", "seldom"]})
    with open_context(write(tmp_path, frame)) as context:
        report = run_project(context, Silent())
        signature = open_kept(context.store(), report.version.bundle_digest).signature
    assert signature.classes == ["a", "b", "rare", "seldom"]
