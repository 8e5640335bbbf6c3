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
        widths = [one.width for one in inputs]
        self._starts = np.concatenate([[0], np.cumsum(widths, dtype=np.intp)]).astype(np.intp)
        self._lows = np.repeat([one.low for one in inputs], widths)
        self._highs = np.repeat([one.high for one in inputs], widths)
        self._nullable = np.repeat(np.array([one.nullable for one in inputs], dtype=bool), widths)
        self._closed = [int(self._starts[position]) for position, one in enumerate(inputs) if one.closed]
        self._has_tensors = any(one.kind == "tensor" for one in inputs)
        self._coded = [
            (place, self._codes[one.name]) for place, one in enumerate(self.inputs) if one.name in self._codes
        ]
        self._low = float(self._lows.max(initial=-np.inf))
        self._high = float(self._highs.min(initial=np.inf))
        has_limits = self._low > -np.inf or self._high < np.inf
        self._strict = bool(self._closed) or not self._nullable.all() or has_limits

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
        if self._has_tensors and len(self.inputs) == 1:
            return tensor_rows(self.inputs[0], columns[self.inputs[0].name])
        matrix = np.empty((rows, int(self._starts[-1])), dtype=np.float64)
        for one, start in zip(self.inputs, self._starts.tolist(), strict=False):
            values = columns[one.name]
            codes = self._codes.get(one.name)
            if one.kind == "tensor":
                matrix[:, start : start + one.width] = tensor_rows(one, values)
            elif codes is None:
                matrix[:, start] = _numbers(one.name, values)
            else:
                matrix[:, start] = _codes(one.name, values, codes, self._unseen)
        return matrix

    def row(self, values: Sequence[float | str | None]) -> list[float] | None:
        """One row of the matrix, for checked values in the order of `inputs`: a fifth of the work of `encode`.

        None where it takes a closer look: a missing value, an unseen category, a number near the limits.
        """
        row = None if self._has_tensors else self.coded(values)
        if row is None or None in row or (self._strict and not (self._low <= min(row) and max(row) <= self._high)):
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
        fine = (matrix >= self._lows) & (matrix <= self._highs)
        unseen = bool(self._closed) and bool((matrix[:, self._closed] < 0).any())
        if fine.all() and not unseen:
            return
        bad = ~fine & ~(np.isnan(matrix) & self._nullable)
        bad[:, self._closed] |= matrix[:, self._closed] < 0
        if not bad.any():
            return
        row, position = (int(one) for one in np.argwhere(bad)[0])
        one = self.inputs[int(np.searchsorted(self._starts, position, side="right")) - 1]
        value = matrix[row, position] if one.kind == "tensor" else columns[one.name][row]
        if np.isnan(matrix[row, position]):
            raise InvalidInput(
                f"column {one.name!r}, row {row} is missing; this model answers no row without it",
                hint=f"send a {'text' if one.kind == 'category' else 'number'} for {one.name!r}",
            )
        if one.kind != "category":
            allowed = f"allowed are numbers from {self._lows[position]:.6g} to {self._highs[position]:.6g}"
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


def tensor_rows(one: Input, values: Any) -> NDArray[np.float64]:
    """A column of tensors as (n_rows, width) of float64; InvalidInput where a row is of another shape.

    >>> one = Input(name="x", kind="tensor", nullable=False, shape=[2, 2])
    >>> tensor_rows(one, [[[1, 2], [3, 4]]]), tensor_rows(one, np.zeros((0, 2, 2))).shape
    (array([[1., 2., 3., 4.]]), (0, 4))
    """
    shape = one.row_shape
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        values = _tensors(one, values)
    if values.shape[1:] not in (shape, (one.width,)):
        raise InvalidInput(
            f"input {one.name!r} has rows of shape {list(values.shape[1:])}; allowed is {list(shape)}",
            hint=f"send an array of shape {[-1, *shape]}, in which the first is the number of rows",
        )
    return np.asarray(values, dtype=np.float64).reshape(len(values), one.width)


def _tensors(one: Input, values: Any) -> NDArray[np.float64]:
    rows = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if not rows:
        return np.zeros((0, *one.row_shape))
    try:
        whole = np.array(rows)
    except (ValueError, TypeError, OverflowError):
        pass
    else:
        if whole.dtype.kind in "fiub" and whole.shape[1:] in (one.row_shape, (one.width,)):
            return whole
    for row, value in enumerate(rows):
        try:
            found = np.array(value, dtype=np.float64)  # None becomes NaN
        except (ValueError, TypeError, OverflowError):
            found = None
        if found is None or _has_text(value) or found.shape not in (one.row_shape, (one.width,)):
            has = "is no array of numbers" if found is None or _has_text(value) else f"has shape {list(found.shape)}"
            raise InvalidInput(f"input {one.name!r}, row {row} {has}; allowed is shape {list(one.row_shape)}")
        rows[row] = found.reshape(one.row_shape)
    return np.stack(rows)


def _has_text(value: Any) -> bool:
    """Whether there is text among nested values, which numpy would read as numbers."""
    if isinstance(value, list | tuple):
        return any(map(_has_text, value))
    return isinstance(value, str | bytes)


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
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 80 else text[:77] + "..."
