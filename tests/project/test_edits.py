"""Edits change what they name and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from boucle.project.edits import apply
from boucle.project.problems import Add, Edit, Remove, Rename, Set

TEXT = """\
# A project of ours.
project: flights     # its name
data:
    features:
        numeric:     # numbers
        # the first of them
        - temp       # in Fahrenheit
        - "wind speed"
        categorical: [carrier, 'origin', dest]   # words
    known_later:
    checks:
    - {check: range, column: temp, min: 0}
    - check: set     # places
      column: origin
      values: [EWR]
objectives: []
"""


def load(text: str) -> object:
    return YAML(typ="safe", pure=True).load(text)


def lines_changed(before: str, after: str) -> tuple[set[str], set[str]]:
    was, is_now = before.splitlines(), after.splitlines()
    return {line for line in was if line not in is_now}, {line for line in is_now if line not in was}


@pytest.mark.parametrize(
    ("edit", "gone", "come"),
    [
        (Rename(("project",), "name"), {"project: flights     # its name"}, {"name: flights     # its name"}),
        (Set(("project",), "a: b"), {"project: flights     # its name"}, {'project: "a: b"     # its name'}),
        (
            Set(("data", "checks", 0, "min"), 1.5),
            {"    - {check: range, column: temp, min: 0}"},
            {"    - {check: range, column: temp, min: 1.5}"},
        ),
        (Remove(("data", "features", "numeric", 1)), {'        - "wind speed"'}, set()),
        (
            Remove(("data", "features", "categorical", 2)),
            {"        categorical: [carrier, 'origin', dest]   # words"},
            {"        categorical: [carrier, 'origin']   # words"},
        ),
        (
            Remove(("data", "checks", 1)),
            {"    - check: set     # places", "      column: origin", "      values: [EWR]"},
            set(),
        ),
        (
            Remove(("data", "checks", 1, "values", 0)),
            {"      values: [EWR]"},
            {"      values: []"},
        ),
        (Add(("data", "features", "numeric"), "dewp"), set(), {"        - dewp"}),
        (
            Add(("data", "features", "categorical"), "day of week"),
            {"        categorical: [carrier, 'origin', dest]   # words"},
            {"        categorical: [carrier, 'origin', dest, \"day of week\"]   # words"},
        ),
        (Add(("data", "known_later"), "delay"), {"    known_later:"}, {"    known_later: [delay]"}),
        (Add(("objectives",), "x"), {"objectives: []"}, {"objectives: [x]"}),
        (Add(("data", "more"), "x"), set(), {"    more: [x]"}),
    ],
)
def test_one_edit_changes_its_line_alone(edit: Edit, gone: set[str], come: set[str]) -> None:
    assert lines_changed(TEXT, apply(TEXT, [edit])) == (gone, come)


def test_a_list_that_loses_its_only_item_is_empty_and_not_nothing() -> None:
    assert apply("a:\n  - x\nb: 1\n", [Remove(("a", 0))]) == "a: []\nb: 1\n"


def test_a_file_without_a_last_line_end_and_with_windows_line_ends_stays_readable() -> None:
    assert load(apply("a: [x]", [Add(("b",), "y")])) == {"a": ["x"], "b": ["y"]}
    assert load(apply("a:\r\n  - x\r\n  - y\r\n", [Remove(("a", 0)), Add(("a",), "z")])) == {"a": ["y", "z"]}


WORDS = st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable())


@given(items=st.lists(WORDS, min_size=1, max_size=6, unique=True), block=st.booleans(), data=st.data())
def test_removing_and_adding_gives_the_list_that_it_should(items: list[str], block: bool, data: st.DataObject) -> None:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = not block
    from io import StringIO

    buffer = StringIO()
    yaml.dump({"list": items, "other": 1}, buffer)
    out = data.draw(st.sets(st.integers(0, len(items) - 1)))
    more = data.draw(st.lists(WORDS, max_size=3))
    edits: list[Edit] = [*(Remove(("list", place)) for place in out), *(Add(("list",), word) for word in more)]
    kept = [item for place, item in enumerate(items) if place not in out]
    expected = {"list": kept + list(dict.fromkeys(more)), "other": 1}
    assert load(apply(buffer.getvalue(), edits)) == expected
