"""What an order by a metric of logged models costs: each history is read once, whatever page is asked for."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from boucle.kernel.engines import raw_of
from boucle.kernel.store import Store
from boucle.runs.search.logged_models import OnDataset, OrderBy, search_logged_models
from boucle.runs.tables import experiments, logged_model_metrics, logged_models

POINTS = 2_000
MODELS = 10


def put(conn: Connection) -> None:
    """Ten models: the newest value of the first is of 2,000, those of the others stand alone."""
    conn.execute(
        insert(experiments).values(
            project_id="p", id=1, name="e", lifecycle="active", created_ms=1, updated_ms=1
        )
    )  # fmt: skip
    models = [
        {
            "seq": seq, "id": f"m-{seq}", "project_id": "p", "experiment_id": 1, "name": "a", "status": "READY",
            "lifecycle": "active", "created_ms": seq, "updated_ms": seq,
        }
        for seq in range(1, MODELS + 1)
    ]  # fmt: skip
    conn.execute(insert(logged_models), models)
    points = [(1, at, (at * 7 % 31) / 31) for at in range(POINTS - 1)] + [(1, POINTS, 0.45)]
    points += [(seq, 1, seq / 10) for seq in range(2, MODELS + 1)]
    rows = [
        {"model": seq, "run_id": "r", "name": "acc", "step": at, "at_ms": at, "value": value, "dataset_name": "d"}
        for seq, at, value in points
    ]
    conn.execute(insert(logged_model_metrics), rows)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("once") / "home") as opened:
        opened.write(put)
        yield opened


def steps(conn: Connection, ask: Callable[[Connection], Any]) -> tuple[Any, int]:
    """What is found, and how many steps of SQLite's machine that took."""
    taken = 0

    def step() -> int:
        nonlocal taken
        taken += 1
        return 0

    raw = raw_of(conn)
    raw.set_progress_handler(step, 1)
    try:
        return ask(conn), taken
    finally:
        raw.set_progress_handler(None, 1)


def one_history(conn: Connection, also: str) -> list[Any]:
    """Goes through the longest history once, as the search has to."""
    asked = "SELECT value FROM logged_model_metrics WHERE model = 1 AND +name = 'acc'"
    return list(conn.exec_driver_sql(f"{asked} {also} ORDER BY at_ms DESC, step DESC, run_id LIMIT 1"))


@pytest.mark.parametrize("datasets", [[], [OnDataset("d")]])
def test_an_order_by_a_metric_reads_each_history_once(store: Store, datasets: list[OnDataset]) -> None:
    order = [OrderBy("metrics.acc", dataset_name="d" if datasets else None)]

    def page(token: str | None = None) -> tuple[Any, int]:
        def ask(conn: Connection) -> Any:
            return search_logged_models(
                conn, "p", [1], order_by=order, datasets=datasets, max_results=4, page_token=token
            )

        return store.read(lambda conn: steps(conn, ask))

    also = "AND dataset_name = 'd'" if datasets else ""
    found, once = store.read(lambda conn: steps(conn, lambda asked: one_history(asked, also)))
    assert found == [(0.45,)]
    first, taken = page()
    assert first.items == [2, 3, 4, 1]
    assert once < taken < 1.5 * once
    second, taken = page(first.token)
    assert second.items == [5, 6, 7, 8]
    assert once < taken < 1.5 * once
