"""Labels of what was answered live, as people bring them: checked, told about, kept."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Final

import polars as pl
from msgspec import Struct

from boucle.data.records import DataSection
from boucle.data.scan import scan_file
from boucle.kernel import trees
from boucle.kernel.errors import InvalidInput, NotFound
from boucle.kernel.store import Store
from boucle.loop.label_values import odd_ones, understood_by
from boucle.loop.live import LIVE
from boucle.models.api import alias, get_version
from boucle.models.records import CHAMPION, ModelVersion
from boucle.monitoring import api as monitoring
from boucle.packaging.manifest import MANIFEST, manifest_of
from boucle.packaging.records import Signature
from boucle.project.context import Context

_IDS: Final = ("key", "request_id", "row", "prediction_id")
_PREDICTION: Final = r"^(.+)-([0-9]{1,18})$"
"""The request and the row in it."""
EXAMPLES: Final = 5
"""Ids that are named."""
_READERS: Final[dict[str, Callable[[Path], pl.DataFrame]]] = {
    ".csv": lambda path: pl.read_csv(path, infer_schema=False, glob=False),
    ".parquet": lambda path: scan_file(path, "parquet").collect(),
    ".arrow": lambda path: scan_file(path, "ipc").collect(),
    ".jsonl": lambda path: pl.read_ndjson(path.read_bytes()),
}


class LabelsTaken(Struct, frozen=True, kw_only=True):
    """What became of the labels of a file."""

    rows: int
    kept: int
    incomplete: int
    """Rows without an id or a label."""
    not_understood: int
    """Labels that are none of the model's classes, or no numbers."""
    odd_labels: list[str]
    """Some of them, as they are written."""
    repeated: int
    """Rows whose id comes again further down with the same label or another; the last counts."""
    contradictory: int
    """Ids that have different labels here."""
    known: int
    """Ids that had this very label before, of which nothing is kept twice."""
    corrected: int
    """Ids that had another label before; that one stays in the history."""
    joined: int
    """Ids of closed windows, whose rows have that label from now on."""
    waiting: int
    """Ids that no closed window has yet: kept, and joined when a window closes that has them; until then one of
    today's rows and a wrong id look alike."""
    waiting_ids: list[str]
    """Some of them; of rows of requests as predictions are named, `request-row`."""


def read_labels(path: Path) -> pl.DataFrame:
    """A table of labels. NotFound if there is none, InvalidInput if it cannot be read."""
    if not path.is_file():
        raise NotFound(f"there is no file {path}", hint="name a file of labels")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidInput(
            f"{path.name} is of an unknown kind; labels are read from {', '.join(_READERS)}",
            hint="write the labels as CSV",
        )
    try:
        return reader(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(
            f"{path.name} cannot be read: {str(error).splitlines()[0]}", hint="write it again"
        ) from error


def take_labels(context: Context, table: pl.DataFrame) -> LabelsTaken:
    """Keep the labels of a table, whose columns may have the project's names. See `keep_labels`."""
    return keep_labels(context.store(), context.project.project, named(table, context.project.data))


def keep_labels(store: Store, name: str, table: pl.DataFrame) -> LabelsTaken:
    """Keep the labels of what a project answered live that can be understood; the same again changes nothing.

    Columns: `label`, and `key`, `request_id` (with `row` where the request had several) or `prediction_id`.

    Raises:
        NotFound: no version is in charge.
        InvalidInput: a column is missing.
    """
    named(table, None)
    now = alias(store, name, name, CHAMPION)
    if now is None:
        raise NotFound(f"no version of `{name}` is in charge yet", hint="boucle run")
    signature = _signature(store, get_version(store, name, name, now.version))
    told = _told(table)
    ids = [column for column in told.columns if column != "label"]
    whole = told.drop_nulls()
    understood = understood_by(signature, whole)
    last = understood.unique(ids, keep="last", maintain_order=True)
    served = monitoring.served_of(store, name, LIVE, last.select(ids))
    waiting = last.join(served, on=ids, how="anti", maintain_order="left")
    both = _with_before(last, ids, _known(store, name, served, is_waiting=waiting.height > 0), served)
    fresh = both.filter(~pl.col("is_kept"))
    if fresh.height:
        labels = fresh.select(*ids, "label")
        monitoring.add_labels(store, project_id=name, stream=LIVE, labels=labels, arrived_at=store.clock.now())
    had, same = both["before"].drop_nulls().len(), both.filter(pl.col("before") == pl.col("label")).height
    return LabelsTaken(
        rows=table.height,
        kept=last.height,
        incomplete=told.height - whole.height,
        not_understood=whole.height - understood.height,
        odd_labels=odd_ones(signature, whole["label"])[:EXAMPLES],
        repeated=understood.height - last.height,
        contradictory=understood.unique().height - last.height,
        known=same,
        corrected=had - same,
        joined=last.height - waiting.height,
        waiting=waiting.height,
        waiting_ids=["-".join(map(str, row)) for row in waiting.select(ids).head(EXAMPLES).iter_rows()],
    )


def named(table: pl.DataFrame, section: DataSection | None) -> pl.DataFrame:
    """The table with `label` and the ids of its rows alone, which may have the names of a project's data.

    InvalidInput if one is missing.
    """
    names = {} if section is None else {"label": section.target, "key": section.key}
    found = {asked: own for asked, own in names.items() if own in table.columns and asked not in table.columns}
    renamed = table.rename({own: asked for asked, own in found.items() if own is not None})
    if "label" not in renamed.columns or not {"key", "request_id", "prediction_id"} & set(renamed.columns):
        label, key = (f" or `{own}`" if own else "" for own in (names.get("label"), names.get("key")))
        raise InvalidInput(
            f"labels need a column `label`{label}, and `key`{key}, `request_id` or `prediction_id`; they have "
            f"{', '.join(table.columns)[:200] or 'none'}",
            hint="rename the columns",
        )
    return renamed.select(name for name in (*_IDS, "label") if name in renamed.columns)


def _signature(store: Store, version: ModelVersion) -> Signature:
    """What a version takes and answers, read from its manifest: no model is loaded for that."""
    files = {entry.path: entry.digest for entry in trees.entries(store.blobs, version.bundle_digest)}
    where = f"version {version.number} of {version.model}"
    if MANIFEST not in files:
        raise InvalidInput(f"{where} is no bundle of Boucle, so nothing it answers is watched", hint="boucle run")
    return manifest_of(store.blobs.get(files[MANIFEST]), where=where).signature


def _told(labels: pl.DataFrame) -> pl.DataFrame:
    """Columns `key`, or `request_id` and `row`, and `label`; null where there is none or one of the wrong kind."""
    if "key" in labels.columns:
        return labels.select(pl.col("key").cast(pl.String), "label")
    if "request_id" not in labels.columns:
        parts = [pl.col("prediction_id").cast(pl.String).str.extract(_PREDICTION, part) for part in (1, 2)]
        return labels.select(parts[0].alias("request_id"), parts[1].cast(pl.Int64).alias("row"), "label")
    first = pl.lit(0, pl.Int64)
    row = pl.lit(None, pl.Int64)
    if "row" in labels.columns:
        row = pl.col("row").cast(pl.Int64, strict=False)
        first = pl.when(pl.col("row").is_null()).then(first)
    return labels.select(pl.col("request_id").cast(pl.String), row.fill_null(first).alias("row"), "label")


def _known(store: Store, name: str, served: pl.DataFrame, *, is_waiting: bool) -> monitoring.Labels:
    """The labels that may be of these rows (`labels_from`). Of what is in no closed window, those
    that came since the newest one closed; one from before that is kept twice if it is told again, and counts once."""
    days: list[date] = served["day"].to_list()
    if is_waiting:
        closed = monitoring.cursor(store, name, LIVE).closed_through
        days.append(date.min if closed is None else closed.date())
    return monitoring.labels_of(store, name, LIVE, arrived_from=monitoring.labels_from(min(days, default=date.max)))


def _with_before(labels: pl.DataFrame, ids: list[str], known: monitoring.Labels, served: pl.DataFrame) -> pl.DataFrame:
    """The labels beside the one that counted for each id `before`, told in whichever way, and whether it `is_kept`:
    told in this way already, and by no other since, as the last one counts."""
    mine, others = (known.by_key, known.by_request) if ids == ["key"] else (known.by_request, known.by_key)
    kind = labels["label"].dtype
    kept = mine.select(*ids, pl.col("label").cast(kind, strict=False).alias("mine"), "told")
    counts = monitoring.joined(served, known).unique(ids, keep="last")
    counted = counts.select(*ids, pl.col("label").cast(kind, strict=False).alias("counted"))
    since = -1 if others.is_empty() else int(others["told"].to_numpy().max())
    both = labels.join(kept, on=ids, how="left", maintain_order="left")
    return both.join(counted, on=ids, how="left", maintain_order="left").with_columns(
        before=pl.coalesce("counted", "mine"),
        is_kept=((pl.col("mine") == pl.col("label")) & (pl.col("told") > since)).fill_null(value=False),
    )
