"""A bundle whose answers are known, and tables to ask it about."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from boucle.kernel import trees
from boucle.kernel.progress import Silent
from boucle.serving.batch.records import BatchReport
from boucle.serving.batch.run import predict_table


@pytest.fixture(scope="session")
def bundles() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bundles", Path(__file__).parents[1] / "bundles.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, bundles: ModuleType) -> Path:
    return Path(bundles.write_bundle(tmp_path_factory.mktemp("bundle") / "bundle"))


@pytest.fixture
def predicted(bundle: Path) -> Callable[..., BatchReport]:
    """`predicted(table, ...)` predicts with the bundle."""

    def predict(table: Path, **options: Any) -> BatchReport:
        options.setdefault("progress", Silent())
        return predict_table(table, bundle, trees.digest_folder(bundle), **options)

    return predict


def flights(rows: int) -> pl.DataFrame:
    """A table with a missing value, an unseen category and a column that the model does not know."""
    return pl.DataFrame(
        {
            "flight_id": [f"f{row}" for row in range(rows)],
            "temp": [None if row % 7 == 3 else 60.0 + row % 20 for row in range(rows)],
            "note": [f'said "{row}",\nthen left' for row in range(rows)],
            "carrier": [("AA", "UA", None, "ZZ")[row % 4] for row in range(rows)],
            "scheduled_at": [f"2013-01-{1 + row % 28:02d}T14:00:00Z" for row in range(rows)],
        }
    )


@pytest.fixture(scope="session")
def table() -> Callable[[int], pl.DataFrame]:
    return flights
