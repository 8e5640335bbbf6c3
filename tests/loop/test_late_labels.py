"""Labels that come days after traffic ended: what is in charge is judged by them all the same."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from monitored import Monitored, monitored
from msgspec.structs import replace

from boucle.data.api import profile
from boucle.loop.live import LIVE
from boucle.loop.status import status
from boucle.loop.watch import performance
from boucle.monitoring.api import add_labels, frames_to_table, keep_window, kept_window, windows

pytestmark = pytest.mark.slow
START = datetime(2024, 1, 1, tzinfo=UTC)
YAML = """\
project: orders
data: {source: orders.parquet, time: at, key: id, target: late, features: {numeric: [x]}}
training:
  until: 2024-01-20
  holdout_days: 3
  params: {max_iter: 6, max_leaf_nodes: 4}
  search: {trials: 1, space: {learning_rate: {low: 0.1, high: 0.4}}}
  cross_validation: {folds: 2}
evaluation: {bootstrap: 20}
objectives: [{metric: auc_roc, at_least: 0.7}, {metric: latency_p95_ms, at_most: 1000}]
monitoring: {performance_days: 2, window: {every: 6h}}
"""


def orders(rows_a_day: int = 120) -> pl.DataFrame:
    draw = np.random.default_rng(3)
    day = np.repeat(np.arange(40), rows_a_day)
    x = draw.normal(size=day.size)
    return pl.DataFrame(
        {
            "id": [f"o{n}" for n in range(day.size)],
            "at": [START + timedelta(days=int(one), minutes=12 * (n % rows_a_day)) for n, one in enumerate(day)],
            "x": x,
            "late": (draw.random(day.size) < 1 / (1 + np.exp(-3 * x))).astype(int),
        }
    )


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    folder = tmp_path_factory.mktemp("late")
    orders().write_parquet(folder / "orders.parquet")
    (folder / "boucle.yaml").write_text(YAML)
    with monitored(folder, START + timedelta(days=28)) as made:
        for number in range(20, 28):
            made.serve(day(number))
        made.look()
        yield made


def day(number: int) -> pl.DataFrame:
    return orders().filter(pl.col("at").dt.date() == (START + timedelta(days=number)).date())


def label(live: Monitored, number: int, *, inverted: bool = False, rows: int = 1000) -> None:
    labels = day(number).head(rows).select(key="id", label=(1 - pl.col("late") if inverted else pl.col("late")))
    arrived_at = live.clock.now()
    add_labels(live.context.store(), project_id=live.name, stream=LIVE, labels=labels, arrived_at=arrived_at)


def unjudged(live: Monitored) -> None:
    """The newest window but one, of the same day, could not be judged."""
    store = live.context.store()
    window, newest = windows(store, live.name, LIVE, newest=2)
    assert window.day == newest.day
    rows = frames_to_table([])
    keep_window(
        store, project_id=live.name, stream=LIVE, window=window, profile=profile(pl.DataFrame()), predictions=rows
    )


def test_labels_that_come_late_are_judged_though_no_window_closes(live: Monitored) -> None:
    objective, latency = status(live.context).objectives
    assert (objective.met, objective.where.startswith("evaluation of version 1")) == (True, True)
    assert latency.where.endswith("windows")
    closed = len(live.look(START + timedelta(days=33)))
    assert not [one for one in live.alerts() if one.kind == "decay"]

    label(live, 20)
    label(live, 21)
    assert len(live.look()) == closed
    objective = status(live.context).objectives[0]
    assert (objective.met, objective.where) == (
        True,
        "240 labelled rows of 2 days through 2024-01-22, the newest with labels",
    )
    assert not [one for one in live.alerts() if one.kind == "decay"]

    unjudged(live)
    for number in (22, 23):
        label(live, number, inverted=True)
    assert len(live.look()) == closed
    objective = status(live.context).objectives[0]
    assert (objective.met, "through 2024-01-24" in objective.where) == (False, True)
    [decay] = [one for one in live.alerts() if one.kind == "decay"]
    assert decay.evidence["rows"] == 240
    live.again()
    live.look()
    assert [one.id for one in live.alerts() if one.kind == "decay"] == [decay.id]
    assert kept_window(live.context.store(), live.name, LIVE, decay.id.rpartition("/")[2]) is not None


def test_a_label_or_two_of_a_newer_day_hide_nothing(live: Monitored) -> None:
    for number in (22, 23):
        label(live, number, inverted=True)
    label(live, 27, rows=1)
    live.look()
    stage = live.monitor._stage
    assert stage is not None
    stage.refresh()
    measured = performance(stage, (START + timedelta(days=28)).date())
    assert measured is not None
    assert measured.rows == 240
    objective = status(live.context).objectives[0]
    assert (objective.met, objective.where.startswith("240 labelled rows")) == (False, True)


def test_labels_that_came_before_their_window_closed_are_judged_with_it(tmp_path: Path) -> None:
    orders().write_parquet(tmp_path / "orders.parquet")
    (tmp_path / "boucle.yaml").write_text(YAML)
    with monitored(tmp_path, START + timedelta(days=28)) as made:
        made.serve(day(27))
        made.look()
        made.serve(day(28))
        label(made, 28, inverted=True)
        made.look(START + timedelta(days=30))
        [decay] = [one for one in made.alerts() if one.kind == "decay"]
        assert decay.evidence["rows"] >= 90


def test_windows_that_are_made_longer_keep_what_the_shorter_one_of_their_name_has(live: Monitored) -> None:
    before = sum(window.rows for window in live.look(START + timedelta(days=35, hours=8)))
    rows = day(35)
    begun = pl.col("at") < START + timedelta(days=35, hours=8)
    live.serve(rows.filter(begun))
    assert sum(window.rows for window in live.look()) == before + 30
    monitoring = live.context.project.monitoring
    longer = replace(monitoring, window=replace(monitoring.window, every="12h"))
    live.context.project = replace(live.context.project, monitoring=longer)
    live.again()
    live.serve(rows.filter(~begun))
    live.serve(day(36))
    closed = {window.key: window.rows for window in live.look(START + timedelta(days=37, hours=3))}
    assert sum(closed.values()) == before + 180
    assert closed["2024-02-05T00:00:00Z"] == 60
