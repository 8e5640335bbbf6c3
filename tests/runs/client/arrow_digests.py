"""The digests of tables of Arrow that hold the same, and of some that do not, as JSON; run where Arrow is."""

import json
import struct
import sys

import pyarrow as pa

from boucle.runs.client.data_used import describe

columns = {
    "number": [None if row % 7 == 0 else row for row in range(40_000)],
    "text": [None if row % 3 == 0 else str(row) for row in range(40_000)],
    "flag": [None if row % 5 == 0 else row % 2 == 0 for row in range(40_000)],
    "several": [[row] for row in range(40_000)],
}
whole = pa.table(columns)
part = whole.slice(30_000, 10_000)
words = pa.table({"word": pa.array(["a", "b", "a"]).dictionary_encode()})


def masked(below: int) -> pa.Table:
    """1 and a null, below which lies a number."""
    values = pa.py_buffer(struct.pack("<2q", 1, below))
    return pa.table({"a": pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\1"), values])})


same = {
    "a part and its copy": [part, pa.table({name: values[30_000:] for name, values in columns.items()})],
    "one chunk and two": [whole, pa.concat_tables([whole.slice(0, 333), whole.slice(333)])],
    "two dictionaries and one": [
        words,
        pa.table({"word": pa.chunked_array([pa.array([one]).dictionary_encode() for one in "aba"])}),
    ],
    "what lies below nulls": [masked(7), masked(9), pa.table({"a": [1, None]})],
    "other words": [pa.table({"word": pa.array(["x", "y", "x"]).dictionary_encode()})],
    "the first rows": [whole.slice(0, 30_000)],
    "nulls elsewhere": [pa.table({"a": [None, 1]})],
    "columns in another order": [whole.select(["text", "number", "flag", "several"])],
}
told = {name: [describe("d", one, "training").fingerprint for one in tables] for name, tables in same.items()}
sys.stdout.write(json.dumps(told))
