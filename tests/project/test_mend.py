"""What is certain is mended, what a person must choose is left alone."""

from pathlib import Path

import polars as pl
import pytest

from boucle.project.mend import mend_features, mend_text
from boucle.project.problems import InvalidProject
from boucle.project.yaml_file import parse_project

VALID = """\
project: sweets
data:
  source: table.csv
  target: good
  features:
    numeric: [sugar, weight]
    categorical: [shape]
  checks:
    - {check: leakage, at_most: 0.95}
training: {search: {trials: 1}}
"""


def mended(text: str) -> str:
    result = mend_text(text)
    parse_project(result.text, "boucle.yaml")
    return result.text


@pytest.mark.parametrize(
    ("was", "wrong"),
    [
        ("source: table.csv", "sorce: table.csv"),
        ("check: leakage", "check: leakge"),
        ("trials: 1", 'trials: "1"'),
        ("project: sweets", "projet: sweets"),
    ],
)
def test_a_slip_of_the_pen_is_mended(was: str, wrong: str) -> None:
    assert mended(VALID.replace(was, wrong)) == VALID


@pytest.mark.parametrize("check", ["check: range, colum: sugar, min: 0", "check: unique, columns: [shape, sugar]"])
def test_a_file_with_aliases_is_left_to_its_author(check: str) -> None:
    text = VALID.replace("- {check: leakage, at_most: 0.95}", f"- &one {{{check}}}\n    - *one")
    text = text.replace("[sugar, weight]", "[sugar, weight, sugar]")
    assert mend_text(text).text == text


def test_the_side_of_an_objective_is_mended() -> None:
    text = VALID + "objectives:\n  - {metric: acuracy, at_most: 0.7}   # by far\n"
    assert mended(text).endswith("  - {metric: accuracy, at_least: 0.7}   # by far\n")


def test_features_that_are_something_else_or_stand_there_twice_go() -> None:
    text = VALID.replace("[sugar, weight]", "[sugar, good, weight, sugar]")
    assert mended(text) == VALID


def test_what_a_person_must_choose_is_left_with_its_error() -> None:
    text = VALID.replace("target: good", "colour: good").replace("trials: 1", "trials: 0")
    result = mend_text(text)
    assert result.text == text
    assert result.reasons == []
    with pytest.raises(InvalidProject):
        parse_project(result.text, "boucle.yaml")


def test_the_last_feature_is_never_taken() -> None:
    text = VALID.replace("[sugar, weight]", "[good]").replace("    categorical: [shape]\n", "")
    assert mend_text(text).text == text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = 200
    pl.DataFrame(
        {
            "sugar": [float(n % 17) for n in range(rows)],
            "weight": [float(n % 5) for n in range(rows)],
            "shape": ["round" if n % 3 else "long" for n in range(rows)],
            "same": [7] * rows,
            "nothing": [None] * rows,
            "sold": [n % 2 for n in range(rows)],
            "good": ["yes" if n % 2 else "no" for n in range(rows)],
        }
    ).write_csv(tmp_path / "table.csv")
    return tmp_path


@pytest.mark.parametrize(
    ("numeric", "categorical", "known_later"),
    [
        ("[sugar, weight, same]", "[shape]", None),
        ("[sugar, weight, nothing]", "[shape]", None),
        ("[sugar, wieght]", "[shape]", None),
        ("[sugar, weight, shape]", "[]", None),
        ("[sugar, weight, sold]", "[shape]", ["sold"]),
    ],
    ids=["constant", "empty", "misspelt", "text among numbers", "gives the answer away"],
)
def test_features_that_the_data_contradict(
    folder: Path, numeric: str, categorical: str, known_later: list[str] | None
) -> None:
    text = VALID.replace("[sugar, weight]", numeric).replace("[shape]", categorical)
    result = mend_features(text, folder)
    section = parse_project(result.text, "boucle.yaml").data
    assert section.features.numeric == ["sugar", "weight"]
    assert section.features.categorical == ["shape"]
    assert section.known_later == (known_later or [])
    assert len(result.reasons) == 1


@pytest.mark.parametrize("wrong", ["suger", "Sugar"])
def test_checks_of_a_misspelt_column_are_mended(folder: Path, wrong: str) -> None:
    right = VALID.replace(
        "at_most: 0.95}\n",
        "at_most: 0.95}\n"
        "    - {check: range, column: sugar, min: 0}\n"
        "    - {check: null_rate, column: nowhere}   # whatever that was\n"
        "    - {check: unique, columns: [shape, sugar], on_fail: alert}\n",
    )
    text = right.replace("column: sugar", f"column: {wrong}").replace("shape, sugar", f"shape, {wrong}")
    result = mend_features(text, folder)
    assert result.text == right
    assert len(result.reasons) == 1


@pytest.mark.parametrize(
    ("separator", "null", "expected"),
    [
        (";", "", {"separator": ";"}),
        (",", "NA", {"nulls": ["", "NA"]}),
        ("\t", "?", {"separator": "\t", "nulls": ["", "?"]}),
    ],
)
def test_a_csv_file_of_another_form_is_read_as_it_is_written(
    folder: Path, separator: str, null: str, expected: dict[str, object]
) -> None:
    table = pl.read_csv(folder / "table.csv").with_columns(pl.when(pl.col("sugar") > 2).then("sugar").alias("sugar"))
    table.write_csv(folder / "table.csv", separator=separator, null_value=null)
    result = mend_features(VALID, folder)
    section = parse_project(result.text, "boucle.yaml").data
    assert section.csv is not None
    assert {name: getattr(section.csv, name) for name in expected} == expected
    assert section.features.numeric == ["sugar", "weight"]
    assert len(result.reasons) == 1


def test_a_sound_project_stays_as_it_is(folder: Path) -> None:
    assert mend_text(VALID).text == VALID
    assert mend_features(VALID, folder).text == VALID
