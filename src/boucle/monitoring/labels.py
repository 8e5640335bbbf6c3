"""Labels that come later: checked, put in order, joined with the predictions they judge. Pure."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import polars as pl

from boucle.kernel.errors import InvalidInput

KEY: Final = "key"
LABEL: Final = "label"
REQUEST: Final = ["request_id", "row"]
TOLD: Final = "told"


class NewestLabels(NamedTuple):
    """The last label of each id."""

    by_key: pl.DataFrame
    """Columns `key`, `label` and `told`: in which batch."""
    by_request: pl.DataFrame
    """The same of single rows of requests: `request_id`, `row`, `label`, `told`."""


NO_LABELS: Final = NewestLabels(
    pl.DataFrame(schema={KEY: pl.String, LABEL: pl.Null, TOLD: pl.Int64}),
    pl.DataFrame(schema={"request_id": pl.String, "row": pl.Int64, LABEL: pl.Null, TOLD: pl.Int64}),
)


class Labels(NamedTuple):
    """The labels known so far, one line per id, and how many ids were given different ones."""

    by_key: pl.DataFrame
    """As `NewestLabels` has them."""
    by_request: pl.DataFrame
    contradictions: int

    @property
    def table(self) -> pl.DataFrame:
        """Those by key, columns `key` and `label`."""
        return self.by_key.select(KEY, LABEL)


def ids_of(labels: pl.DataFrame) -> list[str]:
    """The columns that say what each label is of: the key, or the request and the row in it.

    InvalidInput where a column is missing.
    """
    ids = REQUEST if "request_id" in labels.columns and KEY not in labels.columns else [KEY]
    missing = [name for name in (*ids, LABEL) if name not in labels.columns]
    if missing:
        raise InvalidInput(
            "labels need the columns 'key' and 'label', or 'request_id', 'row' and 'label'; they have "
            f"{', '.join(map(repr, labels.columns)) or 'none'}",
            hint=f"rename the columns so that {' and '.join(map(repr, missing))} exist",
        )
    return ids


def checked(labels: pl.DataFrame) -> pl.DataFrame:
    """The ids (a key is text, a row a number) and `label`, without rows that miss one; of an id twice the last."""
    ids = ids_of(labels)
    kinds = {KEY: pl.String, "request_id": pl.String, "row": pl.Int64}
    present = labels.select(*(pl.col(name).cast(kinds[name]) for name in ids), LABEL).drop_nulls()
    return present.unique(ids, keep="last", maintain_order=True)


def combined(batches: list[pl.DataFrame]) -> Labels:
    """Batches in the order they arrived; where they contradict each other the last wins and the id is counted.

    >>> first, second = (pl.DataFrame({"key": ["a", "b"], "label": labels}) for labels in ([0, 1], [0, 0]))
    >>> labels = combined([first, second])
    >>> labels.table.rows(), labels.contradictions
    ([('a', 0), ('b', 0)], 1)
    """
    told = [one.with_columns(pl.lit(place, pl.Int64).alias(TOLD)) for place, one in enumerate(batches)]
    by_key, contradicted = _last([one for one in told if KEY in one.columns], {KEY: pl.String})
    by_request, more = _last(
        [one for one in told if KEY not in one.columns], {"request_id": pl.String, "row": pl.Int64}
    )
    return Labels(by_key, by_request, contradicted + more)


def newest_of(batches: list[pl.DataFrame], told: int = 0) -> NewestLabels | None:
    """The last labels of batches in the order they arrived, of which the first one's place is `told`; None where they
    are of several kinds."""
    if not _is_one_kind(batches):
        return None
    by_key, by_request, _ = combined(batches)
    return NewestLabels(by_key.with_columns(pl.col(TOLD) + told), by_request.with_columns(pl.col(TOLD) + told))


def with_later(labels: NewestLabels | None, later: NewestLabels | None) -> NewestLabels | None:
    """The labels with those that were told after all of them; None where they are of several kinds.

    >>> first, second = (pl.DataFrame({"key": ["a", "b"], "label": labels}) for labels in ([0, 1], [0, 0]))
    >>> with_later(newest_of([first]), newest_of([second.head(1)], told=1)).by_key.rows()
    [('b', 1, 0), ('a', 0, 1)]
    """
    if labels is None or later is None or not _is_one_kind([*labels, *later]):
        return None
    by_key, by_request = (
        pl.concat([known.join(new, on=ids, how="anti"), new.select(known.columns)], how="vertical_relaxed")
        for known, new, ids in zip(labels, later, ([KEY], REQUEST), strict=True)
    )
    return NewestLabels(by_key, by_request)


def joined(predictions: pl.DataFrame, labels: Labels | NewestLabels) -> pl.DataFrame:
    """The predictions that have a label, with it in the column `label`, in their order.

    One that has a label by its key and one by its request has the one that was told later.
    """
    by_key = labels.by_key.rename({KEY: "entity_key"})
    if labels.by_request.is_empty():
        return _beside(predictions, by_key.drop(TOLD), ["entity_key"], "inner")
    asked = labels.by_request.rename({LABEL: "__label", TOLD: "__told"})
    both = _beside(_beside(predictions, by_key, ["entity_key"], "left"), asked, REQUEST, "left")
    later = pl.col("__told") > pl.col(TOLD).fill_null(-1)
    found = both.with_columns(pl.when(later).then(pl.col("__label")).otherwise(pl.col(LABEL)).alias(LABEL))
    return found.drop(TOLD, "__label", "__told").filter(pl.col(LABEL).is_not_null())


def _is_one_kind(tables: list[pl.DataFrame]) -> bool:
    return len({one[LABEL].dtype for one in tables} - {pl.Null()}) <= 1


def _last(batches: list[pl.DataFrame], ids: Mapping[str, pl.DataType | type[pl.DataType]]) -> tuple[pl.DataFrame, int]:
    """The last label of each id, and how many ids have several."""
    if not batches:
        return pl.DataFrame(schema={**ids, LABEL: pl.Null, TOLD: pl.Int64}), 0
    table = pl.concat(batches, how="vertical_relaxed")
    last = table.unique([*ids], keep="last", maintain_order=True)
    # Same id and label again is no contradiction; two different labels of an id are, however many there are.
    different = table.unique([*ids, LABEL]).group_by(*ids).len()
    return last, different.filter(pl.col("len") > 1).height


def _beside(
    predictions: pl.DataFrame, labels: pl.DataFrame, ids: list[str], how: Literal["inner", "left"]
) -> pl.DataFrame:
    return predictions.join(labels, on=ids, how=how, maintain_order="left", nulls_equal=False)
