"""JSON rows and columns to the columns of a question, by a signature, and answers back to rows: pure.

What the protocols that send tables as JSON share: KServe V1, TensorFlow Serving, MLflow, SageMaker, Vertex AI. Whether
the values fit is for the question's check to say; here is found what could not come that far.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from boucle.kernel.errors import InvalidInput
from boucle.packaging.encode import tensor_rows
from boucle.packaging.records import Input, Signature
from boucle.protocols.tensors import MALFORMED
from boucle.serving.endpoint import Answer
from boucle.serving.question import Column

Columns = dict[str, Column]
_NUMBERS: Final = frozenset({float, int, bool, type(None)})
_SCALARS: Final = frozenset({*_NUMBERS, str})
_TOKENS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|NaN|-?Infinity', re.DOTALL)
"""Texts, ended or not, so that each byte is looked at once; and the numbers that JSON has not."""


def decode(body: bytes) -> Any:
    """JSON in which `NaN` may stand for a missing value. InvalidInput for anything else.

    >>> decode(b'[1, NaN, "NaN"]')
    [1, None, 'NaN']
    """
    try:
        return msgspec.json.decode(body)
    except MALFORMED as error:
        if not has_tokens(body):
            raise _malformed(error) from error
    try:
        return msgspec.json.decode(without_tokens(body))
    except MALFORMED as error:
        raise _malformed(error) from error


def has_tokens(body: bytes) -> bool:
    """Whether a body that is no JSON may be some with `NaN` or `Infinity` in it."""
    return b"NaN" in body or b"Infinity" in body


def without_tokens(body: bytes) -> bytes:
    """The body with null for each `NaN` that stands for a value. InvalidInput tells where an infinite number is."""
    return _TOKENS.sub(_known_to_json, body)


def _malformed(error: Exception) -> InvalidInput:
    if isinstance(error, RecursionError):
        return InvalidInput("the body is nested too deeply")
    return InvalidInput(f"the body is not JSON in UTF-8: {error}")


def _known_to_json(token: re.Match[bytes]) -> bytes:
    text = token[0]
    if text == b"NaN":
        return b"null"
    if text.endswith(b"Infinity"):
        raise InvalidInput(
            f"the body has {text.decode()} at byte {token.start()}; allowed are finite numbers, and null or NaN where "
            "a value is missing"
        )
    return text


def of_instances(signature: Signature, instances: Any, *, noun: str = "instances") -> Columns:
    """Rows as objects, as lists in the signature's order, or, where there is one input, as plain values."""
    rows = _listed(noun, instances)
    if not rows:
        return {one.name: [] for one in signature.inputs}
    if isinstance(rows[0], dict):
        return of_records(signature, rows)
    names = [one.name for one in signature.inputs]
    if len(names) == 1:
        return of_columns(signature, {names[0]: rows})
    if not isinstance(rows[0], list):
        raise InvalidInput(
            f"row 0 is {_shown(rows[0])}; allowed is an object with the inputs {', '.join(names)}, or a list of their "
            "values in this order"
        )
    return of_table(signature, names, rows)


def of_records(signature: Signature, rows: Sequence[Any], *, ragged: bool = False) -> Columns:
    """Rows as objects. What a row leaves out is missing if `ragged`, else InvalidInput."""
    for number, row in enumerate(rows):
        if type(row) is not dict:
            raise InvalidInput(f"row {number} is {_shown(row)}; allowed is an object")
    if ragged:
        names = list(dict.fromkeys(name for row in rows for name in row))
        return _built(signature, {name: [row.get(name) for row in rows] for name in names})
    names = list(rows[0]) if rows else [one.name for one in signature.inputs]
    for number, row in enumerate(rows):
        if len(row) != len(names) or not all(name in row for name in names):
            lost = next((name for name in names if name not in row), None)
            if lost is not None:
                raise InvalidInput(f"row {number} has no {_named(lost)}; send null where a value is not known")
            more = next(name for name in row if name not in rows[0])
            raise InvalidInput(f"row {number} has {_named(more)}, which row 0 has not; every row needs the same inputs")
    return _built(signature, {name: [row[name] for row in rows] for name in names})


def of_table(signature: Signature, names: Sequence[Any], rows: Any) -> Columns:
    """Rows as lists of values in the order of `names`."""
    for number, row in enumerate(_listed("data", rows)):
        if type(row) is not list or len(row) != len(names):
            has = f"has {len(row)} values" if type(row) is list else f"is {_shown(row)}"
            raise InvalidInput(f"row {number} {has}; allowed is a list with one value for each of {len(names)} columns")
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    found: dict[str, list[Any]] = {}
    for name, values in zip(names, columns, strict=True):
        if type(name) is not str:
            raise InvalidInput(f"column {_shown(name)} has no name; allowed are texts")
        if name in found:
            raise InvalidInput(f"column {_named(name)} comes twice")
        found[name] = list(values)
    return _built(signature, found)


def of_columns(signature: Signature, columns: Mapping[str, Any]) -> Columns:
    """A list of values for each input."""
    return _built(signature, {name: _listed(f"input {_named(name)}", values) for name, values in columns.items()})


def to_records(answer: Answer) -> list[dict[str, Any]]:
    """An answer's rows as objects."""
    lists = to_lists(answer)
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def to_lists(answer: Answer) -> dict[str, list[Any]]:
    """An answer's columns, as JSON has them."""
    return {name: values if isinstance(values, list) else values.tolist() for name, values in answer.outputs.items()}


def _built(signature: Signature, columns: dict[str, list[Any]]) -> Columns:
    kinds = {one.name: one for one in signature.inputs}
    return {name: _column(kinds.get(name), name, values) for name, values in columns.items()}


def _column(one: Input | None, name: str, values: list[Any]) -> Column:
    if one is not None and one.kind == "tensor":
        return tensor_rows(one, values)
    types = set(map(type, values))
    if list in types:  # a tensor of shape [rows, 1]
        values = [value[0] if type(value) is list and len(value) == 1 else value for value in values]
        types = set(map(type, values))
    if dict in types and one is not None and one.kind == "category":
        values = [_text(name, row, value) if type(value) is dict else value for row, value in enumerate(values)]
        types = set(map(type, values))
    if not types <= _SCALARS:
        row = next(row for row, value in enumerate(values) if type(value) not in _SCALARS)
        raise InvalidInput(f"input {_named(name)}, row {row}: {_shown(values[row])} is not one value")
    if one is not None and one.kind == "number" and types <= _NUMBERS:
        return _floats(name, values)
    return values


def _floats(name: str, values: list[Any]) -> Column:
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        row = next(row for row, value in enumerate(values) if type(value) is int and abs(value) > _LARGEST)
        raise InvalidInput(f"input {_named(name)}, row {row}: the number is too large for FP64") from None


_LARGEST: Final = int(np.finfo(np.float64).max)


def _text(name: str, row: int, value: dict[str, Any]) -> str:
    """`{"b64": "..."}`, which is how TensorFlow Serving's clients send bytes."""
    try:
        if list(value) == ["b64"]:
            return base64.b64decode(value["b64"], validate=True).decode()
    except (TypeError, binascii.Error, ValueError):
        pass
    raise InvalidInput(
        f'input {_named(name)}, row {row}: {_shown(value)} is not text; allowed is also {{"b64": TEXT}}, the '
        "text in UTF-8 and base64"
    )


def _listed(noun: str, value: Any) -> list[Any]:
    if type(value) is not list:
        raise InvalidInput(f"{noun} is {_shown(value)}; allowed is a list")
    return value


def _named(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:77] + "...")


def _shown(value: object) -> str:
    kinds = {dict: "an object", list: "a list", type(None): "null", bool: "true or false"}
    if type(value) in kinds:
        return kinds[type(value)]
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
