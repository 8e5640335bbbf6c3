"""A CSV table, as clients post it, to the columns of a question: pure.

RFC 4180 with a header, in UTF-8. As MLflow's scoring server reads it: blank lines count for nothing, and what pandas
takes for missing is missing in a column of numbers. In a column of text only an empty value is.
"""

import csv
import io
from typing import Final

import numpy as np

from boucle.kernel.errors import InvalidInput
from boucle.packaging.records import Signature
from boucle.protocols.rows import Columns
from boucle.serving.question import Column

MISSING: Final = frozenset(
    ("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
     "NULL", "NaN", "None", "n/a", "nan", "null")
)  # fmt: skip
"""pandas.read_csv's own list."""
_BOOLEANS: Final = {"True": "1", "TRUE": "1", "true": "1", "False": "0", "FALSE": "0", "false": "0"}


def of_csv(signature: Signature, body: bytes, *, max_rows: int) -> Columns:
    """The columns of a CSV table. InvalidInput names the column and the row, counted from 0 below the header."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the body is not CSV in UTF-8: {error}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    try:
        header = next((line for line in reader if line), None)
        if header is None:
            raise InvalidInput("the body is empty; allowed is CSV with a header")
        for line in reader:
            if not line:
                continue
            if len(line) != len(header):
                raise InvalidInput(f"row {len(rows)} has {len(line)} values, the header names {len(header)} columns")
            if len(rows) == max_rows:
                raise InvalidInput(f"more than {max_rows:,} rows in one request")
            rows.append(line)
    except csv.Error as error:
        raise InvalidInput(f"the body is not CSV: line {reader.line_num}: {error}") from error
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise InvalidInput(f"column {twice[:80]!r} comes twice")
    numbers = {one.name for one in signature.inputs if one.kind == "number"}
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    return {
        name: _numbers(name, list(values)) if name in numbers else [value or None for value in values]
        for name, values in zip(header, columns, strict=True)
    }


def _numbers(name: str, values: list[str]) -> Column:
    plain = ["nan" if value in MISSING else _BOOLEANS.get(value, value) for value in values]
    together = ",".join(plain)
    if together.isascii() and "_" not in together:  # Python reads 1_000 and digits of every script
        try:
            return np.array(list(map(float, plain)), dtype=np.float64)
        except ValueError:
            pass
    row = next(row for row, value in enumerate(plain) if not _is_number(value))
    raise InvalidInput(f"input {name!r}, row {row}: {values[row][:80]!r} is not a number; nothing means missing")


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return value.isascii() and "_" not in value
