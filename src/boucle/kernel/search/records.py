"""The nouns of the search language: keys, clauses, orders, and what a language allows."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

FamilyName = Literal["attribute", "metric", "param", "tag", "dataset"]
Comparator = Literal[
    "=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL"
]  # fmt: skip
Kind = Literal["string", "number", "integer"]
Value = str | int | float | tuple[str, ...] | None

NUMERIC: tuple[Comparator, ...] = ("=", "!=", "<", "<=", ">", ">=")
TEXT: tuple[Comparator, ...] = ("=", "!=", "LIKE", "ILIKE")
LISTS: tuple[Comparator, ...] = ("IN", "NOT IN")
PRESENCE: tuple[Comparator, ...] = ("IS NULL", "IS NOT NULL")


class Key(Struct, frozen=True):
    """What a clause looks at: `metrics.acc` is the metric `acc`, `start_time` an attribute."""

    family: FamilyName
    name: str


class Clause(Struct, frozen=True):
    """One comparison. `value` is a tuple for IN and NOT IN, None for IS NULL and IS NOT NULL."""

    key: Key
    comparator: Comparator
    value: Value


Filter = tuple[Clause, ...]
"""Clauses that must all hold; none holds for everything."""


class Order(Struct, frozen=True):
    """One key to order by. Only metrics of logged models are narrowed to a dataset."""

    key: Key
    descending: bool = False
    dataset_name: str | None = None
    dataset_fingerprint: str | None = None


class Subject(Struct, frozen=True):
    """What may be done with one attribute, or with all keys of a family."""

    comparators: tuple[Comparator, ...]
    """Empty: it cannot be filtered on."""
    kind: Kind = "string"
    ordered: bool = True


class Language(Struct, frozen=True):
    """What may be said about one kind of entity."""

    noun: str
    """In the plural: `runs`."""
    attributes: Mapping[str, Subject]
    families: Mapping[FamilyName, Subject]
    """The families besides attributes."""
    synonyms: Mapping[str, str] = field(default_factory=dict)
    """Other names of attributes."""
    dataset_keys: tuple[str, ...] = ()
    bare_numbers: bool = False
    """Whether a number without quotes stands for its own text where text is compared."""
