"""boucle.yaml is read whole, or refused with file, line, path, what is allowed, and the nearest known key."""

import contextlib
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boucle.data.records import RangeCheck
from boucle.kernel.errors import BoucleError, InvalidInput, NotFound
from boucle.project.records import CorruptDrill, Project
from boucle.project.yaml_file import read_project

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights" / "boucle.yaml"

SMALL = """\
project: small
data:
  source: table.csv
  target: late
  key: id
  time: at
  features:
    numeric: [temp, wind]
    categorical: [carrier]
  checks:
    - check: range
      column: temp
      min: -20
      max: 115
objectives:
  - {metric: auc_roc, at_least: 0.62}
training:
  until: 2013-03-01
  search:
    space:
      learning_rate: {low: 0.02, high: 0.3, log: true}
replay:
  first: 2013-03-01
  last: 2013-12-31
  drills:
    - drill: corrupt
      first: 2013-07-08
      last: 2013-07-10
      columns: {temp: (temp - 32) / 1.8}
"""

Read = Callable[[str | bytes], Project]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def of_text(text: str | bytes) -> Project:
        path = tmp_path / "boucle.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_project(path)

    return of_text


def problem(read: Read, text: str | bytes) -> dict[str, Any]:
    """The only problem of a file."""
    with pytest.raises(InvalidInput) as caught:
        read(text)
    problems = caught.value.details["problems"]
    assert isinstance(problems, list)
    assert len(problems) == 1, caught.value.message
    only: dict[str, Any] = problems[0]
    assert caught.value.message == f"boucle.yaml:{only['line']}: {only['path'] or 'the file'}: {only['message']}"
    assert caught.value.hint
    return only


def test_the_example_is_a_project() -> None:
    project = read_project(EXAMPLE)
    assert project.project == "flights"
    assert project.training.until == date(2013, 3, 1)


def test_all_keys_arrive(read: Read) -> None:
    project = read(SMALL)
    assert project.data.checks == [RangeCheck(column="temp", min=-20.0, max=115.0)]
    assert project.training.search.space["learning_rate"].log is True
    assert project.replay is not None
    drill = project.replay.drills[0]
    assert isinstance(drill, CorruptDrill)
    assert drill.columns == {"temp": "(temp - 32) / 1.8"}
    assert project.serving.port == 8080


def test_yaml_1_2_reads_words_as_words(read: Read) -> None:
    project = read(SMALL + "description: yes\n")
    assert project.description == "yes"


def test_aliases_are_followed(read: Read) -> None:
    text = SMALL.replace("numeric: [temp, wind]", "numeric: &columns [temp, wind]")
    assert read(text + "evaluation: {slices: [carrier]}\n").data.features.numeric == ["temp", "wind"]
    repeated = problem(read, text.replace("categorical: [carrier]", "categorical: *columns").replace("wind]", "]"))
    assert "listed already" in repeated["message"]


def test_a_byte_order_mark_is_no_key(read: Read) -> None:
    assert read(b"\xef\xbb\xbf" + SMALL.encode()).project == "small"


SINGLE = [
    # edit (old, new), line, path, words of the message
    ("      column: temp", "      colum: temp", 12, "data.checks[0].colum", "did you mean `column`?"),
    ("  source: table.csv\n", "", 2, "data", "the key `source` is missing"),
    ("project: small", "project: Small", 1, "project", "lower-case letters, digits and hyphens"),
    ("project: small", "project: 12", 1, "project", 'in quotes it is text: "12"'),
    ("  target: late", "  target:", 4, "data.target", "the key has no value: write text"),
    ("training:\n", "training: 3\nserving:\n", 17, "training", ""),
    ("check: range", "check: rnge", 11, "data.checks[0].check", "did you mean `range`?"),
    ("check: range", "on_fail: alert", 11, "data.checks[0]", "the key `check` is missing"),
    ("      min: -20", "      min: cold", 13, "data.checks[0].min", "write a number"),
    ("      min: -20", "      min: '-20'", 13, "data.checks[0].min", "without the quotes: -20"),
    ("      min: -20", "      min: .nan", 13, "data.checks[0].min", "a number that is finite"),
    ("      min: -20", "      at_most_failing: 1.5", 13, "data.checks[0].at_most_failing", "at least 0 and at most 1"),
    ("      min: -20", "      on_fail: alrt", 13, "data.checks[0].on_fail", "did you mean `alert`?"),
    ("log: true", "log: yes", 21, "training.search.space.learning_rate.log", "`true` or `false`"),
    ("until: 2013-03-01", "until: 2013-02-30", 18, "training.until", "a date such as `2013-03-01`"),
    ("until: 2013-03-01", "until: 1 March", 18, "training.until", "a date such as `2013-03-01`"),
    ("until: 2013-03-01", "until: 9999-03-01", 18, "training.until", "a day from 1000-01-01 to 8999-12-31"),
    ("  last: 2013-12-31", "  last: 9999-12-31", 24, "replay.last", "a day from 1000-01-01 to 8999-12-31"),
    ("  search:", "  holdout_days: 1000000\n  search:", 19, "training.holdout_days", "above 0 and at most 36500"),
    (
        "training:",
        "governance: {keep_days: 1000000}\ntraining:",
        17,
        "governance.keep_days",
        "at least 1 and at most 36500",
    ),
    (
        "training:\n",
        "loop: {retrain: {cooldown_days: 999999}}\ntraining:\n",
        17,
        "loop.retrain.cooldown_days",
        "at most",
    ),
    ("  search:", "  seed: 4294967296\n  search:", 19, "training.seed", "at most"),
    ("  search:", "  seed: 1.5\n  search:", 19, "training.seed", "a whole number"),
    ("  search:", "  cross_validation: {folds: 1}\n  search:", 19, "training.cross_validation.folds", "at least 2"),
    ("  search:", "  search:\n    retrain_trials: 4", 20, "training.search.retrain_trials", "at most 3"),
    ("  search:", "  model: forest\n  search:", 19, "training.model", "one of `gradient_boosting`"),
    ("objectives:", "serving: {port: 70000}\nobjectives:", 15, "serving.port", "at most 65535"),
    ("drill: corrupt", "drill: corupt", 26, "replay.drills[0].drill", "did you mean `corrupt`?"),
    ("objectives:\n", "objectives: auc\nserving:\n", 15, "objectives", ""),
    ("  target: late", "  target: late\n  target: later", 5, "data.target", "written twice, first in line 4"),
    ("  target: late", "  target: !str late", 4, "data.target", "the tag `!str` is not allowed"),
    ("objectives:", "objectivs:", 15, "objectivs", "did you mean `objectives`?"),
    ("  features:", "  <<: {}\n  features:", 7, "data.<<", "merge keys are not part of YAML 1.2"),
    ("  features:", "  ? [a]\n  : 1\n  features:", 2, "data", "a key must be text"),
]


@pytest.mark.parametrize(("old", "new", "line", "path", "words"), SINGLE)
def test_a_mistake_is_named_in_its_place(read: Read, old: str, new: str, line: int, path: str, words: str) -> None:
    assert old in SMALL
    with pytest.raises(InvalidInput) as caught:
        read(SMALL.replace(old, new, 1))
    problems = caught.value.details["problems"]
    assert isinstance(problems, list)
    found = {one["path"]: one for one in problems}
    assert path in found, caught.value.message
    assert found[path]["line"] == line, caught.value.message
    assert words in found[path]["message"]
    assert found[path]["file"] == "boucle.yaml"


def test_every_mistake_is_told_at_once_and_in_order(read: Read) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(
            SMALL.replace("column: temp", "colum: temp").replace("until: 2013", "until: 13").replace("project", "name")
        )
    lines = caught.value.message.splitlines()
    assert lines[0] == "boucle.yaml has 4 problems:"
    assert [line.split(":")[1] for line in lines[1:]] == ["1", "1", "12", "18"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "boucle.yaml is empty"),
        ("# only a comment\n", "boucle.yaml is empty"),
        ("a: 1\n\tb: 2\n", "boucle.yaml:2: not valid YAML: a tab is used for indentation: use spaces"),
        ("a: [1\n", "boucle.yaml:2: not valid YAML: expected ',' or ']', but got the end of the file"),
        ("a: 'x\n", "boucle.yaml:2: not valid YAML"),
        ("a: *b\n", "boucle.yaml:1: not valid YAML: found undefined alias 'b'"),
        ("a: 1\n---\nb: 2\n", "boucle.yaml:2: not valid YAML: a second document begins"),
        ("a: \x00\n", "boucle.yaml:1: a control character"),
        (b"a: 1\nb: \xff\n", "boucle.yaml:2: the byte 0xff is not UTF-8"),
        ("{" * 3000, "nested too deep"),
        ("a: &a [*a]\n", "refer to themselves or multiply"),
        ("- a\n", "the file: a list is not allowed: write a mapping with the keys `project`"),
        ("#" * 1_000_001, "at most 1000000 are allowed"),
        ("project: " + "9" * 5000, "not a number"),
        ("project: !!int ''", "boucle.yaml:1: project: `` is not a number"),
        ("project: !!float ''", "not a number"),
        ("project: !!bool xyz", "`xyz` is no value of `!!bool`"),
        ("a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} {'[' * 80}*a{n - 1}{']' * 80}\n" for n in range(1, 13)), "too deep"),
    ],
)
def test_what_is_no_yaml_is_said_in_words(read: Read, text: str | bytes, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(text)
    assert words in caught.value.message
    assert caught.value.hint


def test_aliases_that_multiply_are_stopped(read: Read) -> None:
    letters = "abcdefghi"
    lines = ["a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    lines += [f"{letter}: &{letter} [{', '.join([f'*{before}'] * 9)}]" for before, letter in pairwise(letters)]
    with pytest.raises(InvalidInput, match="multiply"):
        read("\n".join(lines))


def test_a_missing_file_says_what_to_create(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        read_project(tmp_path / "boucle.yaml")
    assert "there is no file" in caught.value.message
    assert "boucle schema" in str(caught.value.hint)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_stands_in_a_key_the_error_is_ours(read: Read, data: st.DataObject) -> None:
    """Any value in any place gives a project or an error with a message; never another exception."""
    lines = SMALL.splitlines()
    position = data.draw(st.integers(0, len(lines) - 1))
    key, _, _ = lines[position].partition(":")
    junk = data.draw(
        st.sampled_from(
            ["3", "-1", "x", "[]", "{}", "[1, [2]]", "{a: 1}", "null", "2013-01-01", "1e400", "!x y", "&a b", "*a", '"']
        )
        | LEAVES.map(repr)
    )
    lines[position] = f"{key}: {junk}"
    with contextlib.suppress(BoucleError):
        read("\n".join(lines).encode("utf-8", "surrogatepass"))
