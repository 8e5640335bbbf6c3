"""`boucle check` tells where the loop could compare no challenger."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from msgspec.structs import replace

from boucle.data.records import DataSection, Features
from boucle.project.comparable import too_few_to_compare
from boucle.project.records import LoopSection, Project, PromotePolicy
from boucle.training.records import TrainingSection

SECTION = DataSection(source="t.csv", target="y", time="at", key="id", features=Features(numeric=["x"]))
PROJECT = Project(project="few", data=SECTION, training=TrainingSection(holdout_days=2))


@pytest.mark.parametrize(("a_day", "said"), [(10, True), (62, True), (63, False), (500, False)])
def test_too_few_rows_a_day_are_told(a_day: int, said: bool) -> None:
    """Two days that are held out and fourteen more make sixteen."""
    at = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=n / a_day) for n in range(20 * a_day)]
    table = pl.DataFrame({"at": at})
    assert bool(too_few_to_compare(table, PROJECT)) is said
    few = replace(PROJECT, loop=LoopSection(promote=PromotePolicy(min_rows=100)))
    assert too_few_to_compare(table, few) == ""


def test_without_a_time_nobody_can_know() -> None:
    assert too_few_to_compare(pl.DataFrame({"x": [1]}), replace(PROJECT, data=replace(SECTION, time=None))) == ""
