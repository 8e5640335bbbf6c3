"""What a client asks, and whether a signature can answer it: pure, the same for every protocol."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Final, TypeAlias, TypeGuard, cast

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from boucle.kernel.errors import InvalidInput
from boucle.packaging.encode import tensor_rows
from boucle.packaging.records import Input, Signature

Value = float | int | str | None
Column: TypeAlias = list[Value] | NDArray[Any]
"""Values of one column: a list with None for missing, or an array of numbers with NaN for missing. Of an input of
tensors, its first axis is the rows."""
Values: TypeAlias = NDArray[Any] | list[str]
"""Values of one output: numbers as an array, texts as a list."""
MAX_TEXT: Final = 65_536
MAX_ID: Final = 256
_INFINITE: Final = (float("inf"), float("-inf"))
_NUMBER: Final = frozenset({float, int, bool, type(None)})
_TEXT: Final = frozenset({str, type(None)})


class Checked(Struct, frozen=True):
    """A question that can be answered."""

    rows: int
    inputs: dict[str, Column]
    """In the signature's order."""
    event_time: list[str] | None
    """ISO 8601 in UTC."""
    entity_key: list[str] | None
    signature: Signature
    """By which it was checked."""


_NO_NULL: Final = "null, but this model answers no row without a value here"


class Question(Struct, frozen=True):
    """One request: columns of equal length."""

    columns: dict[str, Column]
    request_id: str = ""
    """The endpoint makes one if it is empty. Row i of the request has the id `<request id>-<i>`."""
    door: str = "v2"
    """Which protocol it came by: `v2`, `v2-binary`, `v2-grpc`, `v1`, `tf`, `mlflow`, `sagemaker`, `vertex`, `arrow`."""
    deadline: float | None = None
    """A reading of `time.perf_counter` after which nobody waits for the answer."""
    checked: Checked | None = None
    """What a door has checked while it read the question; None lets the endpoint check it."""


def check(question: Question, signature: Signature, *, max_rows: int) -> Checked:
    """The question's columns by their roles. InvalidInput names the column and the row, counted from 0.

    An unseen category passes: it is served as missing.
    """
    checked = question.checked
    if checked is not None and checked.signature is signature:
        check_id(question.request_id)
        return checked
    columns = question.columns
    check_id(question.request_id)
    check_names(columns, signature)
    rows = _rows(columns, max_rows)
    inputs = {one.name: _input(one, columns[one.name]) for one in signature.inputs}
    event_time, entity_key = moments_and_keys(columns, signature)
    return Checked(rows, inputs, event_time, entity_key, signature)


def moments_and_keys(columns: dict[str, Column], signature: Signature) -> tuple[list[str] | None, list[str] | None]:
    """The event times and the entity keys of a question's rows, each if it came along."""
    return _optional(columns, signature.time, _moment), _optional(columns, signature.key, _key)


def check_id(request_id: str) -> None:
    """InvalidInput if a request id is empty or too long."""
    if not request_id or len(request_id) > MAX_ID:
        raise InvalidInput(f"a request id has 1 to {MAX_ID} characters, this one has {len(request_id):,}")


def check_names(columns: Collection[str], signature: Signature) -> None:
    """InvalidInput if a signature takes no column of one of these names, or needs one that is not among them."""
    needed = [one.name for one in signature.inputs]
    optional = [name for name in (signature.key, signature.time) if name is not None]
    known = set(needed).union(optional)
    for name in columns:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise InvalidInput(f"unknown input {_shown(name)}{meant}; allowed are {', '.join([*needed, *optional])}")
    missing = [name for name in needed if name not in columns]
    if missing:
        some = any(one.nullable for one in signature.inputs if one.name in missing)
        advice = "; send null where a value is not known" if some else "; the model answers no row without it"
        raise InvalidInput(f"missing input {', '.join(map(repr, missing))}{advice}")


def _rows(columns: dict[str, Column], max_rows: int) -> int:
    first, rows = next(((name, len(values)) for name, values in columns.items()), ("", 0))
    for name, values in columns.items():
        if len(values) != rows:
            raise InvalidInput(f"inputs differ in length: {first!r} has {rows} rows, {name!r} has {len(values)}")
    if rows > max_rows:
        raise InvalidInput(f"{rows:,} rows in one request; at most {max_rows:,} are allowed")
    return rows


def _input(one: Input, values: Column) -> Column:
    where = f"input {one.name!r}, row"
    if one.kind == "tensor":
        return _numbers(where, tensor_rows(one, values), nullable=one.nullable)
    if isinstance(values, np.ndarray):
        if one.kind == "number" and values.ndim == 1 and values.dtype.kind in "fiub":
            return _numbers(where, values, nullable=one.nullable)
        values = _as_list(values)
    allowed, kind = (_TEXT, "text") if one.kind == "category" else (_NUMBER, "a number")
    if not allowed.issuperset(map(type, values)):
        row, value = next((row, value) for row, value in enumerate(values) if type(value) not in allowed)
        raise InvalidInput(f"{where} {row}: {_shown(value)} is not {kind}{_missing(one.nullable)}")
    if not one.nullable and None in values:
        raise InvalidInput(f"{where} {values.index(None)}: {_NO_NULL}; send {kind}")
    if one.kind == "number":
        for infinite in _INFINITE:
            if infinite in values:
                raise InvalidInput(
                    f"{where} {values.index(infinite)}: {infinite} is not finite{_missing(one.nullable)}"
                )
    else:
        lengths = [len(value) if isinstance(value, str) else 0 for value in values]
        longest = max(lengths, default=0)
        if longest > MAX_TEXT:
            raise InvalidInput(
                f"{where} {lengths.index(longest)}: {longest:,} characters of text; at most {MAX_TEXT:,}"
            )
    return values


def _missing(nullable: bool) -> str:
    """What to send where a value is not known, if anything."""
    return "; null means missing" if nullable else ""


def _as_list(values: NDArray[Any]) -> list[Value]:
    items: list[Value] = values.tolist()
    return items


def _numbers(where: str, values: NDArray[Any], *, nullable: bool) -> NDArray[np.float64]:
    """An array as float64; missing is NaN."""
    numbers = values.astype(np.float64, copy=False)
    if np.isfinite(numbers).all():
        return numbers
    infinite = np.isinf(numbers)
    if infinite.any():
        row = int(infinite.reshape(len(numbers), -1).any(axis=1).argmax())
        value = numbers[row] if numbers.ndim == 1 else numbers[row][infinite[row]][0]
        raise InvalidInput(f"{where} {row}: {value} is not finite{_missing(nullable)}")
    if not nullable:
        missing = np.isnan(numbers).reshape(len(numbers), -1).any(axis=1)
        raise InvalidInput(f"{where} {int(missing.argmax())}: {_NO_NULL}; send a number")
    return numbers


def _optional(columns: dict[str, Column], name: str | None, read: Callable[[str, int, Value], str]) -> list[str] | None:
    """The key or the time, if it came along. Equal values are read once: a batch often has few moments."""
    if name is None or name not in columns:
        return None
    values = columns[name]
    if read is _key and _are_keys(values):
        return list(values)
    known: dict[tuple[type, Value], str] = {}
    texts = []
    for row, value in enumerate(values.tolist() if isinstance(values, np.ndarray) else values):
        text = known.get((type(value), value))
        if text is None:
            text = known[type(value), value] = read(name, row, value)
        texts.append(text)
    return texts


def _moment(name: str, row: int, value: Value) -> str:
    try:
        at = datetime.fromisoformat(value)  # type: ignore[arg-type] # TypeError is caught
        if at.tzinfo is not None:
            return at.astimezone(UTC).isoformat()
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidInput(
        f"input {name!r}, row {row}: {_shown(value)} is no moment in ISO 8601 with a zone, such as 2013-03-01T14:00:00Z"
    )


def _are_keys(values: Column) -> TypeGuard[list[str]]:
    """Whether all are texts that can be keys: then none needs to be looked at alone."""
    return (
        isinstance(values, list)
        and set(map(type, values)) == {str}
        and "" not in values
        and max(map(len, cast(list[str], values))) <= MAX_TEXT
    )


def _key(name: str, row: int, value: Value) -> str:
    if value is None or isinstance(value, float) or value == "" or len(str(value)) > MAX_TEXT:
        raise InvalidInput(f"input {name!r}, row {row}: {_shown(value)} is no key; send text or a whole number")
    return str(value)


def _shown(value: Value) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
