"""The first stage of serving: raw columns to the model's float64 matrix. Imported by the worker: numpy and msgspec.

Training has an encoder of its own, over whole tables (`boucle.training.encode`). The parity proof sends the same raw
rows through both, so that neither can be wrong alone.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boucle.kernel.errors import InvalidInput
from boucle.packaging.records import Input

Values = Sequence[float | str | None] | NDArray[Any]
"""One column: a list with None for missing, or an array with NaN (numbers) or None (objects)."""


class Encoder:
    """Turns raw columns into a matrix (n_rows, n_inputs), columns in the order of `inputs`. Safe to share by threads.

    >>> encoder = Encoder([Input(name="carrier", kind="category", nullable=True, categories=["AA", "UA"]),
    ...                    Input(name="temp", kind="number", nullable=True)])
    >>> encoder.encode({"temp": [71.5, None, 32], "carrier": ["UA", "never seen", None]})
    array([[ 1. , 71.5],
           [ nan,  nan],
           [ nan, 32. ]])
    """

    def __init__(self, inputs: Sequence[Input], unseen: float | None = None) -> None:
        self.inputs = list(inputs)
        self._codes: dict[str, dict[object, float]] = {
            one.name: {value: float(code) for code, value in enumerate(one.categories)}
            for one in inputs
            if one.kind == "category"
        }
        self._unseen = _MISSING if unseen is None else unseen
        self._plan = [(one.name, self._codes.get(one.name)) for one in inputs]
        self._limits = np.array([np.inf if one.limit is None else one.limit for one in inputs])
        self._nullable = np.array([one.nullable for one in inputs], dtype=bool)
        self._closed = [position for position, one in enumerate(inputs) if one.closed]
        self._coded = [
            (place, self._codes[one.name]) for place, one in enumerate(self.inputs) if one.name in self._codes
        ]
        self._limit = float(self._limits.min(initial=np.inf))
        self._strict = bool(self._closed) or not self._nullable.all() or bool(np.isfinite(self._limits).any())

    def encode(self, columns: Mapping[str, Values]) -> NDArray[np.float64]:
        """The matrix; unseen categories and missing values are NaN. Columns that are no inputs are ignored.

        InvalidInput if a column is missing, lengths differ or a value is of the other kind; it names column and row.
        """
        matrix = self._single(columns)
        if matrix is None:
            matrix = self._matrix(columns)
        if self._strict:
            self._refuse(matrix, columns)
        return matrix

    def _single(self, columns: Mapping[str, Values]) -> NDArray[np.float64] | None:
        """One row of plain values, which most questions are, in a tenth of the time; None for all others."""
        row: list[float | None] = []
        for name, codes in self._plan:
            values = columns.get(name)
            if type(values) is not list or len(values) != 1:
                return None
            value = values[0]
            if codes is None:
                if type(value) not in _PLAIN:
                    return None
                row.append(value)  # None becomes NaN
            elif value is None:
                row.append(None)
            elif type(value) is str:
                row.append(codes.get(value, self._unseen))
            else:
                return None
        try:
            return np.array([row], dtype=np.float64)
        except OverflowError:
            return None

    def _matrix(self, columns: Mapping[str, Values]) -> NDArray[np.float64]:
        rows = self._rows(columns)
        matrix = np.empty((rows, len(self.inputs)), dtype=np.float64)
        for position, one in enumerate(self.inputs):
            values = columns[one.name]
            codes = self._codes.get(one.name)
            if codes is None:
                matrix[:, position] = _numbers(one.name, values)
            else:
                matrix[:, position] = _codes(one.name, values, codes, self._unseen)
        return matrix

    def row(self, values: Sequence[float | str | None]) -> list[float] | None:
        """One row of the matrix, for checked values in the order of `inputs`: a fifth of the work of `encode`.

        None where it takes a closer look: a missing value, an unseen category, a number near the limits.
        """
        row = self.coded(values)
        if row is None or None in row or (self._strict and not (-self._limit <= min(row) and max(row) <= self._limit)):
            return None
        return row

    def coded(self, values: Sequence[float | str | None]) -> list[Any] | None:
        """The same without a look at the numbers; None where a category is unseen or missing."""
        row: list[Any] = list(values)
        for place, codes in self._coded:
            code = codes.get(row[place])
            if code is None:
                return None
            row[place] = code
        return row

    def _refuse(self, matrix: NDArray[np.float64], columns: Mapping[str, Values]) -> None:
        """InvalidInput for what the fitted model itself refuses."""
        fine = np.abs(matrix) <= self._limits
        unseen = bool(self._closed) and bool((matrix[:, self._closed] < 0).any())
        if fine.all() and not unseen:
            return
        bad = ~fine & ~(np.isnan(matrix) & self._nullable)
        bad[:, self._closed] |= matrix[:, self._closed] < 0
        if not bad.any():
            return
        row, position = (int(one) for one in np.argwhere(bad)[0])
        one, value = self.inputs[position], columns[self.inputs[position].name][row]
        if np.isnan(matrix[row, position]):
            raise InvalidInput(
                f"column {one.name!r}, row {row} is missing; this model answers no row without it",
                hint=f"send a {'number' if one.kind == 'number' else 'text'} for {one.name!r}",
            )
        if one.kind == "number":
            allowed = f"allowed are numbers from {-self._limits[position]:.6g} to {self._limits[position]:.6g}"
        else:
            allowed = f"allowed are {', '.join(map(repr, one.categories[:20]))}"
        raise InvalidInput(f"column {one.name!r}, row {row}: {_shown(value)} is not answered; {allowed}")

    def _rows(self, columns: Mapping[str, Values]) -> int:
        lengths: dict[int, str] = {}
        for one in self.inputs:
            if one.name not in columns:
                near = get_close_matches(one.name, list(columns), n=1)
                hint = (
                    f"rename {near[0]!r} to {one.name!r}" if near else f"send a column {one.name!r}; null means missing"
                )
                raise InvalidInput(f"column {one.name!r} is missing; the model needs it", hint=hint)
            lengths.setdefault(len(columns[one.name]), one.name)
        if len(lengths) > 1:
            (rows, first), (other, second) = list(lengths.items())[:2]
            raise InvalidInput(f"columns differ in length: {first!r} has {rows} rows, {second!r} has {other}")
        return next(iter(lengths), 0)


def _numbers(name: str, values: Values) -> NDArray[np.float64]:
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return values.astype(np.float64, copy=False)
    if _PLAIN.issuperset(map(type, values)) or all(map(_is_number, values)):
        try:
            return np.array(list(values), dtype=np.float64)  # None becomes NaN
        except OverflowError:
            pass
    row = next(row for row, value in enumerate(values) if not _is_number(value))
    raise InvalidInput(
        f"column {name!r}, row {row}: {_shown(values[row])} is no number",
        hint="send a number, or null where the value is missing",
    )


_PLAIN = frozenset({float, int, bool, type(None)})


def _is_number(value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, str | bytes):
        return False
    try:
        float(value)  # type: ignore[arg-type] # that is the question
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _codes(name: str, values: Values, codes: Mapping[object, float], unseen: float) -> list[float]:
    items = values.tolist() if isinstance(values, np.ndarray) else values
    try:
        encoded = [codes.get(value, _MISSING) for value in items]
    except TypeError:  # a value without a hash, such as a list
        encoded = [_MISSING] * len(items)
    for row, (value, code) in enumerate(zip(items, encoded, strict=True)):
        if code is _MISSING and value is not None and not isinstance(value, str) and value == value:  # not NaN
            raise InvalidInput(
                f"column {name!r}, row {row}: {_shown(value)} is no text",
                hint="send text, or null where the value is missing",
            )
    if unseen is not _MISSING and _MISSING in encoded:
        return [
            unseen if code is _MISSING and isinstance(value, str) else code
            for value, code in zip(items, encoded, strict=True)
        ]
    return encoded


_MISSING = float("nan")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
