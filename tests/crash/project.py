"""A project that runs in a second: 15 days of orders whose world turns on the eighth, five of them replayed.

The loop trains again on 12 January, promotes, and serves one day more with what it promoted.
"""

from pathlib import Path

YAML = """\
project: orders
data:
  source: table.py:table
  time: at
  key: id
  target: late
  features: {numeric: [x, z]}
objectives:
  - {metric: auc_roc, at_least: 0.55}
training:
  until: 2024-01-09
  holdout_days: 2
  params: {max_iter: 6, min_samples_leaf: 5, max_leaf_nodes: 4}
  search: {trials: 1, retrain_trials: 1, space: {learning_rate: {low: 0.1, high: 0.4}}}
  cross_validation: {folds: 2}
evaluation: {bootstrap: 20}
monitoring: {labels_delay_days: 1, performance_days: 2}
loop:
  retrain: {cooldown_days: 3, decay: 0.1}
  promote: {min_rows: 20, margin: 0.0}
  rollback: {min_rows: 30, loss: 0.05, watch_days: 20}
replay:
  first: 2024-01-09
  last: 2024-01-13
  batch_rows: 16
  drills:
    - {drill: shuffled_labels, on: 2024-01-10}
"""

TABLE = """\
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl


def table():
    draw = np.random.default_rng(5)
    day = np.repeat(np.arange(15), 30)
    turned = day >= 8
    x, z = draw.normal(size=day.size), draw.normal(size=day.size)
    late = draw.random(day.size) < 1 / (1 + np.exp(np.where(turned, 4.0, -4.0) * x))
    start = datetime(2024, 1, 1, tzinfo=UTC)
    moments = [start + timedelta(days=int(d), minutes=n % 30 * 40) for n, d in enumerate(day)]
    x = x + np.where(turned, 8.0, 0.0)
    ids = [f"o{n}" for n in range(day.size)]
    return pl.DataFrame({"id": ids, "at": moments, "x": x, "z": z, "late": late.astype(int)})
"""


def lay(folder: Path) -> Path:
    """Write the project into a new folder."""
    folder.mkdir(parents=True)
    (folder / "boucle.yaml").write_text(YAML)
    (folder / "table.py").write_text(TABLE)
    return folder
