"""Lists in conditions, however long: a database takes so many parameters in a statement, SQLite usually 32,766."""

import json
from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import ARRAY, ColumnElement, any_, func, literal, select

_FEW: Final = 100
"""So many values are a parameter each, so that a database sees how few they are."""


def among(column: ColumnElement[Any], values: Collection[Any], dialect: str) -> ColumnElement[bool]:
    """Whether a column has one of these values: texts without a null character, or whole numbers."""
    if len(values) <= _FEW:
        return column.in_(values)
    if dialect == "sqlite":
        listed = func.json_each(json.dumps(list(values), ensure_ascii=False)).table_valued("value")
        return column.in_(select(listed.c.value))
    return column == any_(literal(list(values), ARRAY(column.type)))
