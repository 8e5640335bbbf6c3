"""Whether rows are enough for the loop to compare a challenger, as far as those of the first training tell."""

from datetime import timedelta

import polars as pl

from boucle.project.records import Project


def too_few_to_compare(table: pl.DataFrame, project: Project) -> str:
    """That each challenger would be refused for lack of rows; empty where they are enough or nobody can know."""
    time, asked, held = project.data.time, project.loop.promote, project.training.holdout_days
    if time is None or table.is_empty() or not isinstance(table.schema[time], pl.Datetime):
        return ""
    after = pl.col(time) > pl.col(time).max() - timedelta(days=held)
    newest = table.filter(after).height
    likely = newest + int(newest / held * asked.wait_days)
    if likely >= asked.min_rows:
        return ""
    return (
        f"the loop compares a challenger on {asked.min_rows:,} labelled rows (loop.promote.min_rows); the newest "
        f"{held:g} days (training.holdout_days) have {newest:,}, and with as many a day {asked.wait_days} days more "
        f"(loop.promote.wait_days) make about {likely:,}: each would be refused. Lower the first, or raise the others"
    )
