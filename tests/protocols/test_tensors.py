"""Tensors to columns."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.kernel.errors import InvalidInput
from boucle.protocols.tensors import DATATYPES, Tensor, column_of


def tensor_of(data: object, datatype: str = "FP64", shape: list[int] | None = None, name: str = "temp") -> Tensor:
    raw = data if isinstance(data, bytes) else msgspec.json.encode(data)
    length = len(data) if isinstance(data, list) else 1
    return Tensor(name, [length] if shape is None else shape, datatype, msgspec.Raw(raw))


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ITEMS: dict[str, st.SearchStrategy[Any]] = {
    "BOOL": st.booleans(),
    "BYTES": st.text(st.characters(exclude_categories=["Cs"])),
    **dict.fromkeys(("FP16", "FP32", "FP64"), FLOATS),
    **{f"INT{bits}": st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}


@given(data=st.data(), datatype=st.sampled_from(DATATYPES))
def test_flat_and_nested_data_are_the_same_column(data: st.DataObject, datatype: str) -> None:
    values = data.draw(st.lists(st.none() | ITEMS[datatype]))
    flat = column_of(tensor_of(values, datatype))
    nested = column_of(tensor_of([[value] for value in values], datatype, shape=[len(values), 1]))
    assert flat == nested == values
    assert [type(value) for value in flat] == [type(value) for value in nested]


def test_integers_beyond_2_to_the_53_stay_intact() -> None:
    values = [2**63 - 1, -(2**63), 2**53 + 1]
    assert column_of(tensor_of(values, "INT64")) == values
    assert column_of(tensor_of([2**64 - 1], "UINT64")) == [2**64 - 1]


def test_whole_numbers_are_numbers_too() -> None:
    column = column_of(tensor_of([1, 2.5, None, 10**30]))
    assert column == [1.0, 2.5, None, 1e30]
    assert type(column[0]) is float


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (tensor_of([1], "FP128"), "input 'temp': unknown datatype 'FP128'; allowed are BOOL, INT8,"),
        (tensor_of([1, 2], shape=[3]), r"input 'temp': shape \[3\] has 3 values, `data` has 2"),
        (tensor_of([1, 2], shape=[1, 2]), r"shape \[1, 2\] is not one column; allowed are \[n\] and \[n, 1\]"),
        (tensor_of([1, 2], shape=[-1]), r"shape \[-1\] is not one column"),
        (tensor_of([], shape=[]), r"shape \[\] is not one column"),
        (tensor_of([1, "hot"]), "input 'temp', row 1: \"hot\" is not a number or null"),
        (tensor_of([[1], ["hot"]], shape=[2, 1]), 'row 1: "hot" is not a number or null'),
        (tensor_of([1, True]), "row 1: true is not a number or null"),
        (tensor_of([1.5], "INT32"), r"row 0: 1\.5 is not a whole number or null"),
        (tensor_of([True], "INT32"), "row 0: true is not a whole number or null"),
        (tensor_of([0, 128], "INT8"), "row 1: 128 does not fit INT8; allowed are -128 to 127"),
        (tensor_of([-1], "UINT16"), "row 0: -1 does not fit UINT16; allowed are 0 to 65535"),
        (tensor_of([10**30], "INT64"), "does not fit INT64|cannot be read|is not a whole number"),
        (tensor_of([0], "BOOL"), "row 0: 0 is not true, false or null"),
        (tensor_of(["AA", 7], "BYTES"), "row 1: 7 is not text or null"),
        (tensor_of([{"b64": "aGk="}], "BYTES"), 'row 0: {"b64":"aGk="} is not text or null'),
        (tensor_of("hot"), "input 'temp': `data` is \"hot\"; allowed is a list"),
        (tensor_of(b"[1e999]", shape=[1]), "input 'temp': `data` cannot be read: Number out of range|too large"),
        (tensor_of(b"[1" + b"0" * 400 + b"]", shape=[1]), "cannot be read|too large for FP64"),
        (tensor_of(b"", shape=[1]), "input 'temp': its `data` is missing"),
        (tensor_of(b"[" * 5000 + b"]" * 5000, shape=[1]), "input 'temp': (`data` cannot be read|has 1 values)"),
        (
            Tensor("temp", [1], "FP64", msgspec.Raw(b""), {"binary_data_size": 8}),
            "binary data needs the header",
        ),
    ],
)
def test_what_is_wrong_is_named(tensor: Tensor, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        column_of(tensor)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=8,
)


@given(data=JSON, datatype=st.sampled_from([*DATATYPES, "FP8"]), shape=st.lists(st.integers(-1, 3), max_size=3))
def test_any_json_is_a_column_or_told_what_is_wrong(data: object, datatype: str, shape: list[int]) -> None:
    try:
        column = column_of(tensor_of(msgspec.json.encode(data), datatype, shape))
    except InvalidInput:
        return
    assert len(column) == shape[0]


@given(data=st.binary(max_size=60), datatype=st.sampled_from(DATATYPES))
def test_any_bytes_are_a_column_or_told_what_is_wrong(data: bytes, datatype: str) -> None:
    try:
        column = column_of(tensor_of(data, datatype, [1]))
    except InvalidInput:
        return
    assert len(column) == 1
