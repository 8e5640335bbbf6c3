"""The loop for models that are no yes or no: a number and several classes, from a CSV file as spreadsheets write it."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from boucle.kernel.store import Store
from boucle.models.api import get_version
from boucle.monitoring.api import joined, kept_window, labels_of, windows, with_interval
from boucle.packaging.api import open_kept

pytestmark = pytest.mark.slow

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS, ROWS_A_DAY, TURN, NEW = 36, 40, 17, 24
YAML = """\
project: parcels
data:
  source: parcels.csv
  csv: {separator: ";", decimal: ",", nulls: ["", "-"]}
  time: at
  key: id
  target: TARGET
  features: {numeric: [x, z], categorical: [kind]}
objectives:
  - OBJECTIVE
training:
  until: 2024-01-16
  holdout_days: 2
  params: {max_iter: 25, min_samples_leaf: 5, max_leaf_nodes: 8, learning_rate: 0.3}
  search: {trials: 1, retrain_trials: 0}
  cross_validation: {folds: 2}
evaluation: {bootstrap: 20}
monitoring: {labels_delay_days: 1, performance_days: 3}
loop:
  retrain: {cooldown_days: 4, newest_days: 8}
  promote: {min_rows: 50}
replay: {first: 2024-01-16, last: 2024-02-04, batch_rows: 20}
"""


def write(folder: Path, target: str, objective: str) -> Path:
    """A world that turns about after seventeen days; from the twenty-fifth on there is a class that nobody has seen."""
    draw = np.random.default_rng(3)
    day = np.repeat(np.arange(DAYS), ROWS_A_DAY)
    x, z = draw.normal(size=day.size).round(3), draw.normal(size=day.size).round(3)
    sign = np.where(day < TURN, 1.0, -1.0)
    days_late = (20 * sign * x + 5 * z + draw.normal(size=day.size)).round(2)
    size = np.digitize(sign * x, [-0.5, 0.5]) + 9  # 9, 10, 11: as text they would have another order
    size = np.where((day >= NEW) & (z > 1), 100, size)
    table = pl.DataFrame(
        {
            "id": [f"p{n}" for n in range(day.size)],
            "at": [
                (START + timedelta(days=int(one), minutes=30 * (n % ROWS_A_DAY))).strftime("%Y-%m-%d %H:%M")
                for n, one in enumerate(day)
            ],
            "kind": draw.choice(["a", "b", "-"], day.size),
            "x": x,
            "z": z,
            "days_late": days_late,
            "size": size,
        }
    )
    folder.mkdir(parents=True)
    table.write_csv(folder / "parcels.csv", separator=";", decimal_comma=True)
    (folder / "boucle.yaml").write_text(YAML.replace("TARGET", target).replace("OBJECTIVE", objective))
    return folder


def boucle(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "boucle", "--project", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def facts(folder: Path, *arguments: str) -> Any:
    return json.loads(boucle(folder, *arguments, "--json"))


def near_what_labels_say(folder: Path, metric: str) -> None:
    """Before the world turns, what each window promised without labels is what they say later."""
    with Store.open(folder / ".boucle") as store:
        stream = facts(folder, "status")["stream"]
        served = windows(store, "parcels", stream)
        assert all(metric in one.estimated for one in served)
        calm = [one for one in served if one.day < date(2024, 1, 17)]
        assert calm
        known = labels_of(store, "parcels", stream)
        for window in calm:
            kept = kept_window(store, "parcels", stream, window.key)
            assert kept is not None
            number = next(iter(window.versions))
            bundle = get_version(store, "parcels", "parcels", int(number)).bundle_digest
            said = with_interval(joined(kept[1], known), metric, open_kept(store, bundle).signature)
            assert said is not None
            promised = window.estimated[metric]
            assert promised.low <= said.high
            assert said.low <= promised.high


def test_a_regression_is_retrained_promoted_and_told_in_its_own_unit(tmp_path: Path) -> None:
    folder = write(tmp_path / "project", "days_late", "{metric: rmse, at_most: 30}")
    decisions = facts(folder, "replay")["decisions"]
    [first, *_] = [one["action"] for one in decisions if one["action"]["action"] == "retrain"]
    assert first["trigger"] == "decay"
    assert "rmse is" in first["reason"]
    promoted = [one["action"]["reason"] for one in decisions if one["action"]["action"] == "promote"]
    assert "rmse" in promoted[0]
    assert not [one for one in decisions if one["action"]["action"] == "rollback"]
    report = facts(folder, "report", "--html", str(tmp_path / "report.html"))
    assert (report["task"], report["metric"], report["higher_is_better"]) == ("regression", "rmse", False)
    assert report["mean_loop"] < report["mean_frozen"] - 2
    assert report["gain_share"] > 0.2
    assert report["calibration_after"] is None
    page = (tmp_path / "report.html").read_text()
    head = page[page.index("<body>") : page.index('id="data"')]
    assert "less is better" in head
    assert not [word for word in ("AUC", "auc", "alibration", "probability") if word in head]
    shown = boucle(folder, "report")
    assert "rmse by month (less is better)" in shown
    [rmse] = facts(folder, "status")["objectives"]
    assert rmse["met"] is True
    assert "labelled rows" in rmse["where"]
    near_what_labels_say(folder, "rmse")


def test_whole_numbers_are_classes_and_a_new_one_is_learned(tmp_path: Path) -> None:
    folder = write(tmp_path / "project", "size", "{metric: macro_f1, at_least: 0.1}")
    text = (folder / "boucle.yaml").read_text()
    (folder / "boucle.yaml").write_text(text.replace("training:\n", "training:\n  task: multiclass\n"))
    replayed = facts(folder, "replay")
    promoted = [one for one in replayed["decisions"] if one["action"]["action"] == "promote"]
    assert "macro_f1" in promoted[0]["action"]["reason"]
    report = facts(folder, "report")
    assert (report["task"], report["metric"]) == ("multiclass", "macro_f1")
    assert report["mean_loop"] > report["mean_frozen"] + 0.05
    [f1] = facts(folder, "status")["objectives"]
    assert f1["met"] is True
    near_what_labels_say(folder, "macro_f1")
    # The class that came later is the last one by number, and one that the model in charge knows.
    manifests = [json.loads(path.read_bytes()) for path in (folder / ".boucle/cache/bundles").glob("*/boucle.json")]
    classes = sorted({tuple(one["signature"]["classes"]) for one in manifests}, key=len)
    assert classes == [("9", "10", "11"), ("9", "10", "11", "100")]
