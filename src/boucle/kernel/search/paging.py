"""One page of a search: the question asked, and where the next page begins."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from msgspec import Struct
from sqlalchemy import Connection, Select

from boucle.kernel.errors import InvalidInput
from boucle.kernel.search.compiler import Term, after, ordered
from boucle.kernel.search.pages import SortValue, decode_token, encode_token

T = TypeVar("T")
Row = tuple[int, list[SortValue]]
"""What a row is found by again, and its sort keys."""


class Page(Struct, Generic[T], frozen=True):
    """Some of what was found; `token` asks for what follows, None if that is nothing."""

    items: list[T]
    token: str | None = None


def check_limit(limit: int, largest: int) -> None:
    """InvalidInput unless 1 <= limit <= largest."""
    if not 1 <= limit <= largest:
        raise InvalidInput(f"max_results is {limit:,}; allowed are 1 to {largest:,}")


def begin_after(token: str | None, mark: str, terms: Sequence[Term]) -> list[SortValue] | None:
    """The sort keys behind which the page begins; None for the first page."""
    return decode_token(token, mark, len(terms)) if token else None


def fetch(
    conn: Connection, query: Select[tuple[int]], terms: Sequence[Term], begin: list[SortValue] | None, limit: int
) -> list[Row]:
    """The first rows in order behind `begin`. `query` selects the number of a row; the terms are added to it."""
    asked = query.add_columns(*(term.column for term in terms)).order_by(*ordered(terms)).limit(limit)
    if begin is not None:
        asked = asked.where(after(terms, begin))
    return [(row[0], list(row[1:])) for row in conn.execute(asked)]


def page_of(rows: Sequence[Row], limit: int, mark: str) -> Page[int]:
    """A page of up to `limit` of the rows, of which there is one more if another page follows."""
    token = encode_token(mark, rows[limit - 1][1]) if len(rows) > limit else None
    return Page([number for number, _ in rows[:limit]], token)
