"""Which requests of the log are one. Pure.

A request that is sent again (the same id, keys, times and inputs) is the first one; another question under an id that
is taken is a request of its own, and is called `<id>~2` from then on, then `<id>~3`. Of inputs that are not kept with
the rows, as tensors are, the answers tell.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import xor
from typing import Final, NamedTuple
from zlib import crc32

import polars as pl

from boucle.serving.log_rows import INPUT, OUTPUT

_NUMBERED: Final = r"~[0-9]+$"


class Call(NamedTuple):
    """A request that was answered, or its rows of one window."""

    request_id: str
    """As it was sent."""
    served_us: int
    """Microseconds since 1970."""
    base: str
    """The id without a number behind it."""
    frame: int
    """The same for what is the same line of the log, whatever was redacted there since."""
    asked: int
    """The same for what asks the same under one id."""
    name: str = ""
    """What its rows are called."""


class Calls:
    """Calls that are known."""

    def __init__(self, tables: Iterable[pl.DataFrame] = ()) -> None:
        """Those of some tables of predictions."""
        self._marks: set[int] = set()
        self._counts: Counter[str] = Counter()
        for table in tables:
            self.add(_calls(_marked(table)))

    def __contains__(self, call: Call) -> bool:
        return call.frame in self._marks or call.asked in self._marks

    def count(self, base: str) -> int:
        """How many there are under an id."""
        return self._counts.get(base, 0)

    def add(self, calls: Iterable[Call]) -> None:
        for one in calls:
            self._marks |= {one.frame, one.asked}
            self._counts[one.base] += 1

    def update(self, others: "Calls") -> None:
        self._marks |= others._marks
        self._counts.update(others._counts)


def new_calls(table: pl.DataFrame, known: Sequence[Calls]) -> tuple[pl.DataFrame, list[Call]]:
    """The rows of calls that are not known, by the names of these, and the calls as they were served."""
    marked = _marked(table)
    found = sorted(_calls(marked), key=lambda one: one.served_us)
    own, new = Calls(), []
    for one in found:
        if one in own or any(one in some for some in known):
            continue
        before = own.count(one.base) + sum(some.count(one.base) for some in known)
        new.append(one._replace(name=f"{one.base}~{before + 1}" if before else one.request_id))
        own.add([one])
    if len(new) == len(found) and all(one.name == one.request_id for one in new):
        return table, new
    names = pl.DataFrame(
        {"__frame": [one.frame for one in new], "__name": [one.name for one in new]},
        schema={"__frame": pl.UInt64, "__name": pl.String},
    )
    kept = marked.join(names, on="__frame", how="inner", maintain_order="left")
    return kept.with_columns(request_id=pl.col("__name")).select(table.columns), new


def _marked(table: pl.DataFrame) -> pl.DataFrame:
    """The table with the columns `__base`, `__frame` and `__asked`, that of each row."""
    base = pl.col("request_id").str.replace(_NUMBERED, "")
    at = pl.col("event_time")
    asked = [_hash(pl.col("row"), "row")]
    if "entity_key" in table.columns:
        asked.append(_hash(pl.col("entity_key"), "entity_key"))
    # One without a time of its own has that of its answer, which is another one when it is sent again.
    asked.append(_hash(pl.when(at != pl.col("served_at")).then(at), "event_time"))
    inputs, outputs = (_values(table, prefix) for prefix in (INPUT, OUTPUT))
    asked.append(pl.when(inputs == 0).then(outputs).otherwise(inputs))
    return table.with_columns(
        base.alias("__base"),
        (_hash(base, "id") ^ _hash(pl.col("served_at"), "at") ^ _hash(pl.col("latency_ms"), "ms")).alias("__frame"),
        reduce(xor, asked).hash(1).alias("__asked"),
    )


def _calls(marked: pl.DataFrame) -> list[Call]:
    calls = marked.group_by("__frame", maintain_order=True).agg(
        pl.col("request_id", "__base").first(),
        pl.col("served_at").first().dt.epoch("us"),
        pl.col("__asked").bitwise_xor(),
    )
    own = pl.col("__asked") ^ _hash(pl.col("__base"), "id")
    return [Call(*one) for one in calls.select("request_id", "served_at", "__base", "__frame", own).iter_rows()]


def _values(table: pl.DataFrame, prefix: str) -> pl.Expr:
    """Of each row: the same for the same values, whatever the type that a column has in this table; 0 without any."""
    found = [pl.lit(0, pl.UInt64)]
    for name, dtype in table.schema.items():
        if not name.startswith(prefix):
            continue
        if dtype == pl.String:
            number = pl.col(name).cast(pl.Float64, strict=False)
            as_text = pl.when(number.is_null()).then(pl.col(name))
            found += [_hash(number, name), _hash(as_text, name)]
        elif dtype.is_numeric() or dtype == pl.Boolean:
            found.append(_hash(pl.col(name).cast(pl.Float64).fill_nan(None), name))
    return reduce(xor, found)


def _hash(value: pl.Expr, name: str) -> pl.Expr:
    return pl.when(value.is_null()).then(pl.lit(0, pl.UInt64)).otherwise(value.hash(crc32(name.encode())))
