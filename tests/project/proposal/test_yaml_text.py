"""Text that is written as YAML is read back as it was."""

import pytest
from hypothesis import given as drawn
from hypothesis import strategies
from ruamel.yaml import YAML

from boucle.project.proposal.yaml_text import flow, scalar


@drawn(strategies.text(strategies.characters(exclude_categories=("Cs",)), max_size=20))
def test_any_text_comes_back(text: str) -> None:
    assert YAML(typ="safe", pure=True).load(f"key: {scalar(text)}\nlist: {flow([text, text])}\n") == {
        "key": text,
        "list": [text, text],
    }


@drawn(strategies.floats(allow_nan=False, allow_infinity=False))
def test_any_number_comes_back(number: float) -> None:
    assert YAML(typ="safe", pure=True).load(f"key: {scalar(number)}\n") == {"key": number}


@pytest.mark.parametrize("word", ["mean radius", "source.py:load", "a-b", "x_1"])
def test_what_needs_no_quotes_has_none(word: str) -> None:
    assert scalar(word) == word
