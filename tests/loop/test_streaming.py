"""Detectors that follow series of windows, through the real monitor."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from monitored import monitored

from boucle.loop.live import LIVE
from boucle.monitoring.api import add_labels
from boucle.monitoring.records import StreamPolicy
from boucle.monitoring.streaming import changed

pytest.importorskip("river")

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS, TURN, ROWS = 60, 44, 40
YAML = """\
project: orders
data:
  source: orders.parquet
  time: at
  key: id
  target: late
  features: {numeric: [x, z]}
training:
  until: 2024-01-13
  holdout_days: 3
  params: {max_iter: 6, max_leaf_nodes: 4}
  search: {trials: 1, space: {learning_rate: {low: 0.1, high: 0.4}}}
  cross_validation: {folds: 2}
evaluation: {bootstrap: 20}
monitoring:
  labels_delay_days: 1
  streaming:
    - {detector: page_hinkley, on: error}
    - {detector: page_hinkley}
    - {detector: adwin, on: x}
    - {detector: adwin, on: z}
"""


def orders() -> pl.DataFrame:
    """From the turn on `x` lies elsewhere and means the opposite."""
    draw = np.random.default_rng(2)
    day = np.repeat(np.arange(DAYS), ROWS)
    x, z = draw.normal(size=(2, day.size))
    sign = np.where(day < TURN, 2.0, -2.0)
    return pl.DataFrame(
        {
            "id": [f"o{n}" for n in range(day.size)],
            "at": [START + timedelta(days=int(one), minutes=5 * (n % ROWS)) for n, one in enumerate(day)],
            "x": x + np.where(day < TURN, 0.0, 1.5),
            "z": z,
            "late": (draw.random(day.size) < 1 / (1 + np.exp(-sign * x))).astype(int),
        }
    )


def seen(folder: Path, *, killed: bool) -> list[tuple[str, str, str]]:
    """What changed, by window; the monitor begins anew before every window if it is killed."""
    folder.mkdir()
    table = orders()
    table.write_parquet(folder / "orders.parquet")
    (folder / "boucle.yaml").write_text(YAML)
    with monitored(folder) as live:
        found = []
        for number in range(13, DAYS):
            day = START + timedelta(days=number)
            rows = table.filter(pl.col("at").dt.date() == day.date())
            live.serve(rows)
            labels = rows.select(key="id", label=pl.col("late"))
            store = live.context.store()
            add_labels(store, project_id="orders", stream=LIVE, labels=labels, arrived_at=day + timedelta(days=1))
            if killed:
                live.again()
            found = live.look()
        return [(window.key, one.on, one.detector) for window in found for one in window.changes]


@pytest.mark.slow
def test_a_change_is_seen_and_the_same_whatever_is_killed(tmp_path: Path) -> None:
    changes = seen(tmp_path / "calm", killed=False)
    turned = str((START + timedelta(days=TURN)).date())
    assert {on for _, on, _ in changes} >= {"error", "x"}
    assert all(key >= turned for key, _, _ in changes)
    assert "z" not in {on for _, on, _ in changes}
    first = min(key for key, on, _ in changes if on == "error")
    assert first <= str((START + timedelta(days=TURN + 6)).date())
    assert seen(tmp_path / "killed", killed=True) == changes


@pytest.mark.parametrize("detector", ["adwin", "page_hinkley"])
def test_detectors_are_those_of_river_and_calm_without_a_change(detector: str) -> None:
    from river.drift import ADWIN, PageHinkley

    policy = StreamPolicy(detector=detector)  # type: ignore[arg-type]
    draw = np.random.default_rng(1)
    values = [*draw.normal(5, 2, 60), *draw.normal(11, 2, 40)]
    known = ADWIN(delta=0.002, clock=1) if detector == "adwin" else PageHinkley(14, delta=0.5, threshold=15)
    first = np.array(values[:14])
    expected = []
    for place, value in enumerate(values[14:], 14):
        known.update((value - first.mean()) / first.std(ddof=1))
        if known.drift_detected:
            expected.append(place)
    found = [place for place in range(len(values)) if changed(values[:place], values[place], policy)]
    assert found == expected
    assert found
    assert 60 < found[0] < 85
    assert changed([1.0] * 50, 1.0, policy) is None
    assert changed(values[:13], 90.0, policy) is None
