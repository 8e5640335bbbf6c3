"""The needs assessment over small tables: what is proposed, asked, refused, and written."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from msgspec.structs import replace

from boucle.data.records import LeakageCheck
from boucle.kernel.errors import InvalidInput
from boucle.kernel.progress import Silent
from boucle.project.problems import Problem
from boucle.project.proposal.assessment import Assessment, assess
from boucle.project.proposal.interview import Ask, Asked, Replayed
from boucle.project.proposal.quick_look import Measured
from boucle.project.proposal.render import render_project
from boucle.project.yaml_file import read_project

N = 300


def shop(**more: Any) -> pl.DataFrame:
    """Orders whose return depends on their price and their weight."""
    random = np.random.default_rng(11)
    price, weight = random.normal(50, 10, N), random.normal(5, 1, N)
    late = (price - 50) / 10 + (weight - 5) + random.normal(size=N) > 0
    columns = {
        "id": [f"o{row}" for row in range(N)],
        "price": price,
        "weight: kg": weight,
        "country": random.choice(["DE", "no", "2"], N),
        "returned": np.where(late, "yes", "no"),
    }
    return pl.DataFrame({**columns, **more})


def about(table: pl.DataFrame, ask: Ask | None = None, **answers: Any) -> Assessment:
    def refuse(problems: list[Problem]) -> Exception:
        return InvalidInput(problems[0].message)

    return assess(
        table,
        project="shop",
        source="orders.csv",
        csv=None,
        ask=ask or Replayed(answers, refuse),
        show=lambda *_, **__: None,
        progress=Silent(),
    )


def reread(found: Assessment, folder: Path) -> Any:
    (folder / "boucle.yaml").write_text(render_project(found), encoding="utf-8")
    return read_project(folder / "boucle.yaml")


def bounds(found: Assessment) -> dict[str, float | None]:
    objectives = found.project.objectives
    return {one.metric: one.at_most if one.at_least is None else one.at_least for one in objectives}


def test_what_is_written_is_the_project_value_for_value(tmp_path: Path) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    table = shop(at=[start + timedelta(hours=row) for row in range(N)], same=[1] * N)
    found = about(table, target="returned", errors="miss", systems=["sap"], labels_delay_days=2)
    assert found.project.data.time == "at"
    assert found.project.data.key == "id"
    assert found.project.data.features.categorical == ["country"]
    assert reread(found, tmp_path) == found.project


@pytest.mark.parametrize(
    ("errors", "metrics", "searched"),
    [
        ("same", {"auc_roc"}, "auc_roc"),
        ("miss", {"recall", "auc_roc"}, "auc_roc"),
        ("false_alarm", {"precision", "average_precision"}, "average_precision"),
    ],
)
def test_the_dearer_error_chooses_gate_and_search(errors: str, metrics: set[str], searched: str) -> None:
    found = about(shop(), target="returned", errors=errors)
    assert set(bounds(found)) - {"latency_p95_ms", "availability"} == metrics
    assert found.project.training.metric == searched


def test_names_and_values_with_line_breaks_are_written(tmp_path: Path) -> None:
    table = shop().with_columns(pl.col("returned").replace_strict({"yes": "yes\nseed: 3", "no": "no\x85"}))
    table = table.rename({"returned": "Net\nprice: 1", "country": "land\u2028key: 2"})
    found = about(table, target="Net\nprice: 1")
    assert reread(found, tmp_path) == found.project
    odd = render_project(replace(found, needs=replace(found.needs, source="a\nb.csv")))
    assert "of a\\u000ab.csv." in odd.splitlines()[0]


def test_the_target_of_a_number_is_an_error_in_its_unit() -> None:
    found = about(shop().drop("returned"), target="price", errors="large")
    assert found.needs.task == "regression"
    assert "rmse" in bounds(found)


def test_the_quality_lies_between_nothing_and_the_small_model() -> None:
    found = about(shop(), target="returned")
    measured = found.look.metrics["auc_roc"]
    assert measured.trivial == 0.5 < bounds(found)["auc_roc"] < measured.model  # type: ignore[operator]


def test_a_table_that_knows_nothing_is_told_of() -> None:
    found = about(shop(returned=np.random.default_rng(1).choice(["yes", "no"], N)), target="returned")
    assert any("no better than" in warning for warning in found.warnings)
    assert bounds(found)["auc_roc"] == 0.55


@pytest.mark.parametrize(
    ("measured", "target"),
    [
        (Measured(0.5, 0.9, 0.8, True), 0.73),
        (Measured(0.985, 0.99, 0.989, True), 0.988),
        (Measured(100.0, 50.0, 60.0, False), 70.0),
        (Measured(100.0, 101.0, 110.0, False), 90.0),
    ],
)
def test_a_quality_is_a_round_number(measured: Measured, target: float) -> None:
    assert measured.target == pytest.approx(target)


def test_the_answer_in_other_words_is_kept_out(tmp_path: Path) -> None:
    found = about(shop().with_columns(refund=(pl.col("returned") == "yes").cast(pl.Float64)), target="returned")
    assert found.needs.known_later == ["refund"]
    assert "refund" not in found.project.data.features.numeric
    assert any("`refund` is kept out" in warning for warning in found.warnings)
    assert reread(found, tmp_path).data.known_later == ["refund"]
    hint = pl.when(pl.col("returned") == "yes").then(pl.col("price") + 500).otherwise("price").alias("hint")
    assert about(shop().with_columns(hint), target="returned").needs.known_later == ["hint"]
    trusted = about(shop().with_columns(hint), target="returned", known_later=[]).project.data
    assert "hint" in trusted.features.numeric
    assert not any(isinstance(check, LeakageCheck) for check in trusted.checks)
    kept = about(shop(), target="returned", known_later=["price"])
    assert kept.project.data.features.numeric == ["weight: kg"]


def test_rows_without_a_target_are_counted() -> None:
    table = shop().with_columns(pl.when(pl.int_range(pl.len()) % 10 > 0).then("returned").alias("returned"))
    found = about(table, target="returned")
    assert (found.rows, found.dropped) == (N * 9 // 10, N // 10)


def test_a_time_that_parts_badly_is_not_proposed() -> None:
    day = [f"2024-01-0{1 + row % 3}" for row in range(N)]
    found = about(shop(day=day), target="returned")
    assert found.needs.time is None
    assert any("`day` is not proposed as the event time" in warning for warning in found.warnings)


def test_whole_numbers_with_few_values_are_classes_unless_said_otherwise() -> None:
    table = shop(stars=[row % 5 for row in range(N)]).drop("returned")
    assert about(table, target="stars").project.training.task == "multiclass"
    assert about(table, target="stars", task="regression").project.training.task is None


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({}, "can't be guessed"),
        ({"target": "return"}, "did you mean `returned`"),
        ({"target": "id"}, "different texts"),
        ({"target": "returned", "key": "country"}, "not unique"),
        ({"target": "returned", "time": "price"}, "timestamp in every row"),
        ({"target": "returned", "quality": 1.2}, "between 0 and 1"),
        ({"target": "returned", "errors": "over"}, "`same`, `miss`, `false_alarm`"),
        ({"target": "returned", "metric": "rmse"}, "`auc_roc`"),
        ({"target": "returned", "ahead_days": 5, "labels_delay_days": 2}, "before the outcome"),
        ({"target": "returned", "latency_ms": 0}, "above 0"),
        ({"target": "returned", "keep_days": 0}, "above 0"),
        ({"target": "returned", "keep_days": 1_000_000}, "at most 36500 days"),
        ({"target": "returned", "labels_delay_days": 1_000_000}, "at most 36500 days"),
        ({"target": "returned", "known_later": ["prize"]}, "did you mean `price`"),
    ],
)
def test_an_impossible_answer_is_explained(answers: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        about(shop(), **answers)


def test_nothing_to_learn_from_is_told() -> None:
    with pytest.raises(InvalidInput, match=r"no column of orders\.csv can be a feature"):
        about(shop().select("id", "returned"), target="returned")
    with pytest.raises(InvalidInput, match="at least 20"):
        about(shop().head(10), target="returned")


def test_days_that_could_be_months_are_neither_key_nor_time() -> None:
    days = [f"{1 + row % 12}/{1 + row // 12 % 12}/{2000 + row // 144}" for row in range(N)]
    found = about(shop(day=days).drop("id"), target="returned")
    assert (found.needs.time, found.needs.key) == (None, None)
    assert any("`day` is a time written as MM/DD/YYYY or DD/MM/YYYY" in warning for warning in found.warnings)


def test_what_predictions_have_of_their_own_is_no_key() -> None:
    table = shop(file=[f"scan-{row}" for row in range(N)])
    assert about(table.drop("id"), target="returned").needs.key is None
    with pytest.raises(InvalidInput, match="`file` is a column that predictions have of their own"):
        about(table, target="returned", key="file")


def test_a_time_without_a_key_has_no_lead_time() -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    found = about(shop(at=[start + timedelta(hours=row) for row in range(N)]).drop("id"), target="returned", key=None)
    assert found.needs.lead_time_days is None
    assert any("`at` is there but no key" in warning for warning in found.warnings)


def test_the_class_of_the_probability_is_named() -> None:
    said = []

    def ask(asked: Asked) -> Any:
        said.append(asked.why)
        return "returned" if asked.key == "target" else asked.proposed

    found = about(shop(), ask)
    assert "same: one as much as another; miss: to answer `no` where it is `yes`; false_alarm: to answer `yes`" in (
        " ".join(said)
    )
    assert 'the probability is that of "yes"' in render_project(found)


def test_who_asks_for_reviews_is_told_what_they_take() -> None:
    told = about(shop(), target="returned", reviews=2).warnings
    assert [one for one in told if "boucle users add NAME --role reviewer" in one and "boucle models approve" in one]


def test_a_header_of_numbers_is_told_of() -> None:
    random = np.random.default_rng(3)
    table = pl.DataFrame({"5.1": random.normal(size=N), "3.5": random.normal(size=N)})
    assert any("not a header" in warning for warning in about(table, target="3.5").warnings)


def test_a_time_column_that_is_not_there_is_said_to_be_unknown() -> None:
    with pytest.raises(InvalidInput, match="there is no column `prise`; did you mean `price`"):
        about(shop(), target="returned", time="prise")
