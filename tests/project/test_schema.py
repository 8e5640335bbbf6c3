"""The published JSON Schema agrees with the reader."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from boucle.project.schema import json_schema

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights" / "boucle.yaml"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


@pytest.fixture
def example() -> dict[str, Any]:
    """The example as an editor sees it: dates are text."""
    tree = YAML(typ="safe", pure=True).load(EXAMPLE.read_text(encoding="utf-8"))
    plain: dict[str, Any] = json.loads(json.dumps(tree, default=date.isoformat))
    return plain


def test_the_example_is_valid(validator: jsonschema.Draft202012Validator, example: dict[str, Any]) -> None:
    assert [error.message for error in validator.iter_errors(example)] == []


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("data", "colour", "red"),
        ("data", "target", ""),
        ("training", "seed", -1),
        ("training", "until", "1 March"),
        ("training", "until", "9999-01-01"),
        ("training", "holdout_days", 36_501),
        ("training", "cross_validation", {"folds": 1}),
        ("replay", "batch_rows", 0),
        ("data", "checks", [{"check": "rnge"}]),
        ("data", "checks", [{"check": "set", "column": "origin", "values": []}]),
    ],
)
def test_what_the_reader_refuses_is_invalid(
    validator: jsonschema.Draft202012Validator, example: dict[str, Any], section: str, key: str, value: object
) -> None:
    example[section][key] = value
    assert not validator.is_valid(example)


def test_descriptions_come_from_the_records() -> None:
    schema = json_schema()
    assert schema["$defs"]["DataSection"]["properties"]["target"]["description"] == "Column to predict."
    assert schema["$defs"]["RangeCheck"]["description"] == "Every present value lies in [min, max]."


def test_it_is_the_same_each_time() -> None:
    assert json.dumps(json_schema()) == json.dumps(json_schema())
