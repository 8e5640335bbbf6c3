"""The soak's project: a shop whose world has seasons, drifts, turns and misleads for years, replayed under the loop.

Each year has a faulty feed of three days, and a candidate trained on shuffled labels. Labels come three days late.
"""

import json
import shutil
from datetime import date, timedelta
from pathlib import Path

SHOP = Path(__file__).with_name("shop.py")
FIRST = date(2001, 3, 1)
NEWEST_DAYS = 45
"""A retraining learns from the rows of this many newest days."""

YAML = """\
project: shop
data:
  source: shop.py:load
  time: at
  key: id
  target: late
  features: {{categorical: [kind, region], numeric: [temp, load, price, weight]}}
  checks:
    - {{check: range, column: temp, min: -30, max: 60, on_fail: quarantine}}
objectives:
  - {{metric: auc_roc, at_least: 0.55}}
  - {{metric: availability, at_least: 0.99}}
training:
  until: {first}
  holdout_days: 6
  params: {{max_iter: 20, min_samples_leaf: 10, max_leaf_nodes: 6}}
  search: {{trials: 2, retrain_trials: 1, space: {{learning_rate: {{low: 0.1, high: 0.4}}}}}}
  cross_validation: {{folds: 2}}
evaluation: {{bootstrap: 20}}
governance: {{keep_days: {keep_days}}}
monitoring: {{labels_delay_days: 3, performance_days: 7}}
loop:
  retrain: {{cooldown_days: 15, decay: 0.06, newest_days: {newest_days}}}
  promote: {{min_rows: {min_rows}}}
  rollback: {{min_rows: {min_rows}, loss: 0.02, watch_days: 30}}
replay:
  first: {first}
  last: {last}
  batch_rows: 32
  drills:
{drills}
"""
FAULTY_FROM, OFFERED_ON = 140, 200
"""Days of each replayed year."""


def write_project(folder: Path, *, years: float, rows_a_day: int, seed: int = 7) -> Path:
    """Write `shop.py`, what it reads, and `boucle.yaml`."""
    folder.mkdir(parents=True)
    shutil.copy(SHOP, folder / "shop.py")
    (folder / "shop.json").write_text(json.dumps({"years": years, "rows_a_day": rows_a_day, "seed": seed}))
    last = FIRST + timedelta(days=round(years * 365.25) - 1)
    yaml = YAML.format(
        first=FIRST,
        last=last,
        newest_days=NEWEST_DAYS,
        keep_days=NEWEST_DAYS + 60,
        min_rows=3 * rows_a_day,
        drills="\n".join(_drills(last)),
    )
    (folder / "boucle.yaml").write_text(yaml)
    return folder


def _drills(last: date) -> list[str]:
    lines = []
    begins = FIRST
    while begins <= last:
        faulty, offered = begins + timedelta(days=FAULTY_FROM), begins + timedelta(days=OFFERED_ON)
        if offered <= last:
            until = faulty + timedelta(days=2)
            lines.append(
                f"    - {{drill: corrupt, first: {faulty}, last: {until}, columns: {{temp: temp * 10 + 100}}}}"
            )
            lines.append(f"    - {{drill: shuffled_labels, on: {offered}}}")
        begins = begins.replace(year=begins.year + 1)
    return lines or ["    []"]
