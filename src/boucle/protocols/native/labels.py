"""The native door for labels of what a project answered live: `POST /api/v1/labels`.

Threat model: labels are what the loop judges and learns by, so telling them is writing. Whoever may write may correct a
label; the one before stays in the history, and the audit log tells who told how many.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from sqlalchemy import Connection

from boucle.identity.http import Request, Response, Route
from boucle.kernel import audit
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.protocols.native.messages import asked, reply

if TYPE_CHECKING:  # a server that is told no labels loads no tables for them
    import polars as pl

PATH: Final = "/labels"
MOST: Final = 50_000
"""Labels of one request."""


class Label(Struct, frozen=True, forbid_unknown_fields=True):
    """The label of one row, by the key of the row, by the request that asked for it, or by the prediction."""

    label: str | int | float | bool | None = None
    key: str | int | None = None
    request_id: str | None = None
    row: int = 0
    """Which row of the request."""
    prediction_id: str | None = None
    """Both: `<request_id>-<row>`."""


class Labels(Struct, frozen=True, forbid_unknown_fields=True):
    """What is told."""

    labels: list[Label]


def routes(store: Store) -> list[Route]:
    """The door, for requests of any project."""
    return [Route("POST", PATH, "write", _Doors(store).take)]


@dataclass(frozen=True, slots=True)
class _Doors:
    store: Store

    def take(self, request: Request) -> Response:
        """`POST /labels`"""
        told = asked(request, Labels).labels
        if not 0 < len(told) <= MOST:
            raise InvalidInput(f"there are {len(told)} labels; allowed are 1 to {MOST:,} in one request")
        from boucle.loop.labelling import keep_labels

        taken = keep_labels(self.store, request.project, _table(told))
        details: dict[str, object] = {"rows": taken.rows, "kept": taken.kept, "corrected": taken.corrected}
        at = self.store.clock.now()

        def unit(conn: Connection) -> None:
            audit.append(
                conn,
                project_id=request.project,
                actor=request.principal.name,
                action="labels.add",
                subject=request.project,
                details=details,
                at=at,
            )

        if taken.kept > taken.known:
            self.store.write(unit)
        return reply(taken)


def _table(told: Sequence[Label]) -> "pl.DataFrame":
    """Columns `label`, and `key`, `request_id` and `row`, or `prediction_id`."""
    import polars as pl

    by_key = [one.key is not None for one in told]
    by_request = [one.request_id is not None for one in told]
    by_prediction = [one.prediction_id is not None for one in told]
    if sum(map(any, (by_key, by_request, by_prediction))) > 1:
        raise InvalidInput(
            "some labels have a key, some a request_id or a prediction_id; all of one request are told in one way"
        )
    values = [one.label for one in told]
    kinds = {type(value) for value in values if value is not None}
    # Words and numbers together are words, as in a file.
    labels = values if len(kinds) < 2 else [None if one is None else str(one) for one in values]
    columns: dict[str, list[object]] = {"label": [*labels]}
    if any(by_request):
        columns |= {"request_id": [one.request_id for one in told], "row": [one.row for one in told]}
    elif any(by_prediction):
        columns["prediction_id"] = [one.prediction_id for one in told]
    else:
        columns["key"] = [None if one.key is None else str(one.key) for one in told]
    return pl.DataFrame(columns, strict=False)
