"""Why questions are refused: told apart by what the encoder says, and counted in a bounded room."""

from pathlib import Path
from typing import Any

import pytest

from boucle.kernel.errors import InvalidInput
from boucle.packaging.encode import Encoder
from boucle.packaging.records import Input, Signature
from boucle.protocols.open_inference import as_kind
from boucle.protocols.rows import of_records
from boucle.protocols.tensors import Tensor
from boucle.serving.counters import open_counters
from boucle.serving.question import Question, check
from boucle.serving.refusals import FAULTS, OTHER, PAIRS, count, fault_of, refusals, refused_since, told

GOOD = {"it's": [1.0], "kind": ["a"]}


@pytest.mark.parametrize(
    ("columns", "fault", "column"),
    [
        ({"kind": ["a"]}, "missing", "it's"),
        (GOOD | {"it's": [None]}, "null", "it's"),
        (GOOD | {"it's": ["5 kg"]}, "number", "it's"),
        (GOOD | {"kind": [7]}, "text", "kind"),
        (GOOD | {"kind": ["z"]}, "value", "kind"),
        (GOOD | {"kind": ["a", "b"]}, OTHER, ""),
    ],
)
def test_each_refusal_of_the_encoder_is_known(columns: dict[str, list[object]], fault: str, column: str) -> None:
    inputs = [
        Input(name="it's", kind="number", nullable=False),
        Input(name="kind", kind="category", nullable=True, categories=["a", "b"], closed=True),
    ]
    with pytest.raises(InvalidInput) as refused:
        Encoder(inputs, unseen=-1.0).encode(columns)
    assert fault_of(refused.value.message) == (fault, column)


@pytest.mark.parametrize(
    ("columns", "fault", "column"),
    [
        ({"kind": ["a"]}, "missing", "x"),
        ({"x_": [1.0], "kind": ["a"]}, "renamed", "x"),
        ({"x": ["hot"], "kind": ["a"]}, "number", "x"),
        ({"x": [1.0], "kind": [3]}, "text", "kind"),
        ({"x": [None], "kind": ["a"]}, "null", "x"),
        ({"x": [1.0, 2.0], "kind": ["a"]}, OTHER, ""),
    ],
)
def test_each_refusal_of_a_question_is_known(columns: dict[str, list[Any]], fault: str, column: str) -> None:
    inputs = [Input(name="x", kind="number", nullable=False), Input(name="kind", kind="category", nullable=True)]
    signature = Signature(task="binary", inputs=inputs, outputs=[], classes=["0", "1"], threshold=0.5)
    with pytest.raises(InvalidInput) as refused:
        check(Question(columns, "req_1"), signature, max_rows=9)
    assert fault_of(refused.value.message) == (fault, column)


def test_each_refusal_of_a_door_is_known() -> None:
    number, text = (Input(name=name, kind=kind, nullable=True) for name, kind in (("x", "number"), ("k", "category")))
    signature = Signature(task="binary", inputs=[number, text], outputs=[], classes=["0", "1"], threshold=0.5)
    for one, datatype, fault in ((number, "BYTES", "number"), (text, "FP64", "text")):
        with pytest.raises(InvalidInput) as refused:
            as_kind(one, Tensor(name=one.name, shape=[1], datatype=datatype, data=[]), [])
        assert fault_of(refused.value.message) == (fault, one.name)
    with pytest.raises(InvalidInput) as refused:
        of_records(signature, [{"x": 1.0, "k": "a"}, {"x": 1.0}])
    assert fault_of(refused.value.message) == ("missing", "k")


def test_they_are_counted_by_column_and_what_finds_no_room_together(tmp_path: Path) -> None:
    counters = open_counters(tmp_path)
    names = [f"c{n}" for n in range(40)]
    for name in names:
        for _ in range(2):
            count(counters.view, f"column {name!r} is missing; the model needs it")
    before = refusals(tmp_path)
    found = told(refused_since({}, before), names)
    assert found == {("missing", name): 2 for name in names[: PAIRS - 1]} | {(OTHER, ""): 2 * (40 - PAIRS + 1)}
    count(counters.view, "column 'c0' is missing; the model needs it")
    assert told(refused_since(before, refusals(tmp_path)), names) == {("missing", "c0"): 1}
    assert told(refused_since(before, refusals(tmp_path)), []) == {(OTHER, ""): 1}
    assert all(words.count("{}") == (fault != OTHER) for fault, words in FAULTS.items())
    counters.close()
