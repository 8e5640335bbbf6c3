"""A search that was killed goes on after its last finished trial, and finds what it would have found."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sqlalchemy import text

from boucle.kernel.store import Store

YAML = """\
project: sums
data:
  source: table.csv
  target: y
  features: {numeric: [a, b, c]}
training:
  params: {max_iter: 60}
  search:
    trials: 8
    space: {learning_rate: {low: 0.01, high: 0.3, log: true}, max_leaf_nodes: {low: 4, high: 31}}
"""
COMMAND = [sys.executable, "-m", "boucle", "run", "--json"]
DIES_AFTER_THREE_TRIALS = """
import json, os, signal
from pathlib import Path

from boucle.app.start import main
from boucle.kernel import points


def die(name):
    for kept in Path(".boucle/cache/progress").glob("*.json") if name == "file.kept" else ():
        if len(json.loads(kept.read_text())["value"]) == 3:
            os.kill(os.getpid(), signal.SIGKILL)


points.listen(die)
main()
"""


def make(folder: Path) -> Path:
    rows = np.random.default_rng(3).normal(size=(1500, 4)).round(3)
    a, b, c, noise = rows.T
    pl.DataFrame({"a": a, "b": b, "c": c, "y": (a + b * c + noise > 0).astype(int)}).write_csv(folder / "table.csv")
    (folder / "boucle.yaml").write_text(YAML)
    return folder


def trials(folder: Path) -> list[str]:
    with Store.open(folder / ".boucle") as store:
        query = text("SELECT name FROM runs WHERE name LIKE 'trial-%' ORDER BY started_ms, seq")
        return list(store.read(lambda connection: connection.execute(query).scalars().all()))


def found(folder: Path) -> object:
    done = subprocess.run(COMMAND, cwd=folder, check=True, capture_output=True)
    report = json.loads(done.stdout)
    return report["search"], report["version"]["bundle_digest"]


@pytest.mark.slow
def test_a_killed_search_goes_on_after_its_last_trial(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        make(folder)
    command = [sys.executable, "-c", DIES_AFTER_THREE_TRIALS, "run"]
    assert subprocess.run(command, cwd=killed, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert trials(killed) == ["trial-0", "trial-1", "trial-2"]
    assert found(killed) == found(whole)
    assert trials(killed) == [f"trial-{number}" for number in range(8)]
    assert not list((killed / ".boucle" / "cache" / "progress").iterdir())
