"""A small project whose world changes: 100 days of orders, made by a seed.

A function says day by day what the label follows. `kind` is a category without meaning. Labels come two days late.
"""

import importlib.util
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from living import Living

from boucle.kernel.progress import Silent
from boucle.kernel.store import Store
from boucle.models.records import ModelVersion
from boucle.project.context import open_context
from boucle.project.lifecycle import run_project

START = datetime(2024, 1, 1, tzinfo=UTC)
ROWS_A_DAY = 60

YAML = """\
project: orders
data:
  source: orders.parquet
  time: at
  key: id
  target: late
  features: {categorical: [kind], numeric: [x, z]}
  checks:
    - {check: range, column: z, min: -8, max: 8, on_fail: quarantine}
objectives:
  - {metric: auc_roc, at_least: 0.55}
  - {metric: availability, at_least: 0.99}
training:
  until: 2024-01-31
  holdout_days: 4
  params: {max_iter: 12, min_samples_leaf: 10, max_leaf_nodes: 6}
  search: {trials: 2, retrain_trials: 1, space: {learning_rate: {low: 0.1, high: 0.4}}}
  cross_validation: {folds: 2}
evaluation: {bootstrap: 20, slices: [kind]}
monitoring: {labels_delay_days: 2, performance_days: 4}
loop:
  retrain: {cooldown_days: 6, decay: 0.1}
  promote: {min_rows: 100, margin: 0.0}
  rollback: {min_rows: 150, loss: 0.05, watch_days: 20}
replay:
  first: 2024-01-31
  last: 2024-03-10
  batch_rows: 32
  drills:
    - {drill: corrupt, first: 2024-02-05, last: 2024-02-06, columns: {z: z + 100}}
    - {drill: shuffled_labels, on: 2024-02-12}
"""


class Day(NamedTuple):
    """How the world is on a day: the mean of `x`, and how strongly the label follows `x` (about its mean) and `z`."""

    mean: float = 0.0
    x: float = 2.5
    z: float = 0.0


def write_project(folder: Path, at: Callable[[int], Day], *, yaml: str = YAML, days: int = 70, seed: int = 5) -> Path:
    """Write `orders.parquet` and `boucle.yaml`; `at(day)` is how the world is on that day."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), ROWS_A_DAY)
    mean, weight_x, weight_z = np.array([at(int(one)) for one in range(days)])[day].T
    x, z = draw.normal(size=day.size), draw.normal(size=day.size)
    late = (draw.random(day.size) < 1 / (1 + np.exp(-(weight_x * x + weight_z * z)))).astype(int)
    x = x + mean
    moments = [START + timedelta(days=int(one), minutes=int(n % ROWS_A_DAY) * 20) for n, one in enumerate(day)]
    pl.DataFrame(
        {
            "id": [f"o{n}" for n in range(day.size)],
            "at": moments,
            "kind": draw.choice(["a", "b", "c"], day.size),
            "x": x,
            "z": z,
            "late": late,
        }
    ).write_parquet(folder / "orders.parquet")
    (folder / "boucle.yaml").write_text(yaml)
    return folder


World = Callable[..., Path]


@pytest.fixture(scope="session")
def world() -> World:
    """Writes a project whose world changes for good after forty days, `world(folder)`; or as `at` and `changes` say."""

    def write(
        folder: Path, at: Callable[[int], Day] = turned, *, changes: Mapping[str, str] | None = None, days: int = 70
    ) -> Path:
        yaml = YAML
        for old, new in (changes or {}).items():
            assert old in yaml, old
            yaml = yaml.replace(old, new)
        return write_project(folder, at, yaml=yaml, days=days)

    return write


@pytest.fixture(scope="session")
def misleading(world: World) -> Callable[[Path], Path]:
    """Writes a project in which, for twelve days, the label follows `z` instead of `x`, and then as before."""
    changes = {
        "until: 2024-01-31": "until: 2024-01-16",
        "first: 2024-01-31": "first: 2024-01-16",
        "last: 2024-03-10": "last: 2024-02-12",
        "cooldown_days: 6, decay: 0.1": "cooldown_days: 14, decay: 0.03",
        "loss: 0.05": "loss: 0.005",
        YAML[YAML.index("  drills:") :]: "",
    }
    return lambda folder: world(
        folder, lambda day: Day(x=0.5, z=4.0) if 18 <= day < 30 else Day(), changes=changes, days=53
    )


def turned(day: int) -> Day:
    """From 10 February on `x` lies elsewhere, and the label follows its opposite."""
    return Day() if day < 40 else Day(mean=6.0, x=-2.5)


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory, world: World) -> Path:
    """The home of that project after `boucle run`; copy it before use."""
    folder = world(tmp_path_factory.mktemp("ran"))
    with open_context(folder) as context:
        run_project(context, Silent())
    return folder / ".boucle"


@pytest.fixture
def living(world: World, ran: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Living]:
    """The project served live; a test says by `changes` what its boucle.yaml says otherwise."""
    folder = world(tmp_path / "orders", changes=getattr(request, "param", None))
    shutil.copytree(ran, folder / ".boucle", ignore=shutil.ignore_patterns("*.sock"))
    found = Living(folder)
    yield found
    found.close()


@pytest.fixture
def make(store: Store, tmp_path: Path) -> Callable[..., ModelVersion]:
    """Registers a version: `make("name", 0.71)`."""
    path = Path(__file__).parents[1] / "governance" / "conftest.py"
    spec = importlib.util.spec_from_file_location("governed", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda name, auc: module.make_candidate(store, tmp_path / name, name, auc).version
