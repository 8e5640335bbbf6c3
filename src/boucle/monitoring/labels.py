"""Labels that come later: checked, put in order, joined with the predictions they judge. Pure."""

from typing import Final, NamedTuple

import polars as pl

from boucle.kernel.errors import InvalidInput

KEY: Final = "key"
LABEL: Final = "label"


class Labels(NamedTuple):
    """The labels known so far, one line per key, and how many keys were given different ones."""

    table: pl.DataFrame
    contradictions: int


def checked(labels: pl.DataFrame) -> pl.DataFrame:
    """Columns `key` (text) and `label`, without rows that miss either; of a key given twice the last.

    InvalidInput where a column is missing.
    """
    missing = [name for name in (KEY, LABEL) if name not in labels.columns]
    if missing:
        raise InvalidInput(
            f"labels need the columns 'key' and 'label'; they have {', '.join(map(repr, labels.columns)) or 'none'}",
            hint=f"rename the columns so that {' and '.join(map(repr, missing))} exist",
        )
    present = labels.select(pl.col(KEY).cast(pl.String), LABEL).drop_nulls()
    return present.unique(KEY, keep="last", maintain_order=True)


def combined(batches: list[pl.DataFrame]) -> Labels:
    """Batches in the order they arrived; where they contradict each other the last wins and the key is counted.

    >>> first, second = (pl.DataFrame({"key": ["a", "b"], "label": labels}) for labels in ([0, 1], [0, 0]))
    >>> labels = combined([first, second])
    >>> labels.table.rows(), labels.contradictions
    ([('a', 0), ('b', 0)], 1)
    """
    if not batches:
        return Labels(pl.DataFrame(schema={KEY: pl.String, LABEL: pl.Null}), 0)
    table = pl.concat(batches, how="vertical_relaxed")
    last = table.unique(KEY, keep="last", maintain_order=True)
    # Same key and label again is no contradiction; two different labels of a key are.
    return Labels(last, table.unique([KEY, LABEL]).height - last.height)


def joined(predictions: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """The predictions that have a label, with it in the column `label`, in their order."""
    return predictions.join(
        labels.rename({KEY: "entity_key"}), on="entity_key", how="inner", maintain_order="left", nulls_equal=False
    )
