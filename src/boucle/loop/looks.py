"""On which rows a challenger is compared: its held-out ones, and those that were served and labelled since.

The verdict is from one look: at the first moment at which there are rows enough. What came later is looked at as well,
so that nobody takes charge on evidence that is not true any more; that look can only turn a challenger down.
"""

from datetime import UTC, date, datetime, time, timedelta
from math import isfinite

import polars as pl
from msgspec.structs import replace

from boucle.data.api import get_version as get_dataset
from boucle.data.api import load
from boucle.evaluation.records import Comparison
from boucle.loop.compared import compared, compared_by_slice
from boucle.loop.records import Looked, SliceCompared
from boucle.loop.retrain import append_logged
from boucle.loop.stage import Stage
from boucle.packaging.api import predict_table
from boucle.training.api import holdout

Days = list[tuple[date, pl.DataFrame]]
Found = tuple[Comparison | None, list[SliceCompared]]


def look(stage: Stage, champion: int, number: int, day: date, *, anew: bool = True) -> Looked:
    """What is known of the two at the end of a day; not `anew`, as it was when it was last looked at."""
    key = (champion, number)
    known = stage.looked.get(key)
    if known is None or anew:
        held, since = _held_out(stage, champion, number), _since(stage, champion, number, stage.labelled_through(day))
        first = known if known is not None and known.through is not None else _told(stage, champion, number)
        first = first or _first(stage, champion, number, held, since)
        stage.looked = {key: replace(first, newest=_newest(stage, champion, number, held, since, first.through))}
    return stage.looked[key]


def _held_out(stage: Stage, champion: int, number: int) -> pl.DataFrame:
    """The challenger's held-out rows that the champion did not learn from either."""
    training, section = stage.project.training, stage.project.data
    _, rows = holdout(load(stage.store, stage.version(number).learned_from), training, section.time)
    first = _not_learned(stage, champion)
    return rows.filter(pl.col(stage.time) >= datetime.combine(first, time(), UTC))


def _since(stage: Stage, champion: int, number: int, through: date) -> Days:
    """By day, the labelled rows that happened after the newest which the challenger was trained and measured with."""
    last = stage.last_day_of(number)
    newest = get_dataset(stage.store, stage.version(number).learned_from).last_at
    first = max(last, _not_learned(stage, champion))
    later = [(on, rows.filter(pl.col("event_time") > newest)) for on, rows in stage.history.rows(first, through)]
    return [(on, rows) for on, rows in later if rows.height]


def _not_learned(stage: Stage, champion: int) -> date:
    """From this day on a version has learned from nothing."""
    return stage.last_day_of(champion) - timedelta(days=stage.project.training.holdout_days - 1)


def _first(stage: Stage, champion: int, number: int, held: pl.DataFrame, since: Days) -> Looked:
    """On the held-out rows and as many days after them as it takes to have enough that define the metric."""
    least, rows, through = stage.project.loop.promote.min_rows, held.height, stage.last_day_of(number)
    for count in range(len(since) + 1):
        if count:
            through, rows = since[count - 1][0], rows + since[count - 1][1].height
        if rows >= least or count == len(since):
            found, slices = _compare(stage, champion, number, _together(stage, held, since[:count]))
            if rows >= least and found is not None and isfinite(found.difference):
                return Looked(comparison=found, slices=slices, through=through)
    return Looked(comparison=found, slices=slices)


def _told(stage: Stage, champion: int, number: int) -> Looked | None:
    """As a decision has it that was taken on enough rows, so that whoever takes over does not look once more."""
    for one in stage.decisions():
        facts = one.facts
        if facts is None or facts.challenger is None:
            continue
        its = facts.challenger
        if (facts.champion.number, its.number) == (champion, number) and _is_enough(stage, its.comparison):
            return Looked(comparison=its.comparison, slices=its.slices, through=stage.labelled_through(one.day))
    return None


def _is_enough(stage: Stage, found: Comparison | None) -> bool:
    return found is not None and isfinite(found.difference) and found.rows >= stage.project.loop.promote.min_rows


def _newest(
    stage: Stage, champion: int, number: int, held: pl.DataFrame, since: Days, through: date | None
) -> Comparison | None:
    """On the newest days: as many as quality is measured over, and further back until there are rows enough."""
    if through is None or not since or since[-1][0] <= through:
        return None
    least, rows, days = stage.project.loop.promote.min_rows, 0, 0
    oldest = since[-1][0] - timedelta(days=stage.project.monitoring.performance_days - 1)
    for on, frame in reversed(since):
        if rows >= least and on < oldest:
            break
        rows, days = rows + frame.height, days + 1
    rows_before = held.tail(max(0, least - rows))
    if rows + rows_before.height < least:
        return None
    return _compare(stage, champion, number, _together(stage, rows_before, since[-days:]), by_slice=False)[0]


def _together(stage: Stage, held: pl.DataFrame, since: Days) -> pl.DataFrame:
    if not since:
        return held
    logged = pl.concat([rows for _, rows in since], how="diagonal_relaxed")
    return append_logged(held, logged, stage.project.data)


def _compare(stage: Stage, champion: int, number: int, rows: pl.DataFrame, *, by_slice: bool = True) -> Found:
    """Both are asked for all of these rows, whoever had answered them."""
    if rows.is_empty():
        return None, []
    ours, its = ((n, predict_table(stage.history.predictor(n), rows, nthread=2)) for n in (champion, number))
    found = compared(stage, rows[stage.project.data.target], ours, its)
    return found, compared_by_slice(stage, rows, ours, its) if by_slice else []
