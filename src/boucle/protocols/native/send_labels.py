"""`boucle.send_labels`: labels of what was answered live, from any Python program."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from boucle.kernel.errors import InvalidInput
from boucle.protocols.native.client import Registry
from boucle.protocols.native.labels import MOST, PATH

if TYPE_CHECKING:
    from boucle.loop.labelling import LabelsTaken

_FIELDS = ("key", "request_id", "row", "prediction_id", "label")


def send_labels(
    labels: Iterable[Mapping[str, Any]] | Any,
    *,
    url: str | None = None,
    home: str | Path | None = None,
    project: str | None = None,
    token: str | None = None,
) -> "LabelsTaken":
    """Tell the labels of rows that were answered live; what became of them.

    `labels`: mappings, or a polars or pandas table, with `label` and `key`, `request_id` and `row`, or
    `prediction_id`. The same again changes nothing. Server, store and project are found as `boucle.start_run` finds
    them.

    InvalidInput if a column is missing, Refused if the token may not write.
    """
    from boucle.loop.labelling import LabelsTaken

    registry = Registry(url, home, project, token)
    told: LabelsTaken | None = None
    for part in _parts([_row(one) for one in _rows(labels)]):
        taken = registry.ask("POST", PATH, LabelsTaken, body={"labels": part})
        told = taken if told is None else _together(told, taken)
    if told is None:
        raise InvalidInput("there are no labels to send", hint="pass rows with `key` and `label`")
    return told


def _parts(rows: list[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    for at in range(0, len(rows), MOST):
        yield rows[at : at + MOST]


def _rows(labels: Any) -> Iterable[Mapping[str, Any]]:
    if hasattr(labels, "to_dicts"):  # polars
        found: Iterable[Mapping[str, Any]] = labels.to_dicts()
    elif hasattr(labels, "to_dict"):  # pandas
        found = labels.to_dict("records")
    else:
        found = labels
    return found


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    if "label" not in row or not {"key", "request_id", "prediction_id"} & set(row):
        raise InvalidInput(
            f"a row has the columns {', '.join(map(str, row))[:200] or 'none'}; it needs `label` and `key`, "
            "`request_id` and `row`, or `prediction_id`",
            hint="rename the columns",
        )
    told = {name: _plain(row[name]) for name in _FIELDS if name in row}
    if "row" in told:
        place = _place(told["row"])
        told |= {"row": place or 0} | ({"request_id": None} if place is None else {})
    return told


def _place(value: Any) -> int | None:
    """Which row of a request, 0 where it is not said; None for what is no whole number, which names no row."""
    if value is None or value == "":
        return 0
    try:
        place = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return place if isinstance(value, str) or place == value else None


def _plain(value: Any) -> Any:
    """A number of numpy as Python's, a missing one as none."""
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and plain != plain else plain


def _together(one: "LabelsTaken", other: "LabelsTaken") -> "LabelsTaken":
    """The counts of both; some of the ids that wait, and of the labels that are not understood."""
    first, second = msgspec.structs.asdict(one), msgspec.structs.asdict(other)
    summed = {name: value + second[name] for name, value in first.items()}
    odd = [*dict.fromkeys(summed["odd_labels"])]
    return type(one)(**summed | {"waiting_ids": summed["waiting_ids"][:5], "odd_labels": odd[:5]})
