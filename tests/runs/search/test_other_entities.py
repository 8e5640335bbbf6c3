"""Search over experiments and logged models."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.runs.search.experiments import search_experiments
from boucle.runs.search.logged_models import OnDataset, OrderBy, search_logged_models
from boucle.runs.tables import experiment_tags, experiments, logged_model_metrics, logged_model_params, logged_models


def put(conn: Connection) -> None:
    for number, (name, lifecycle) in enumerate([("Default", "active"), ("churn", "active"), ("old", "deleted")]):
        row = {"project_id": "p", "id": number, "name": name, "lifecycle": lifecycle}
        conn.execute(insert(experiments).values(**row, created_ms=number, updated_ms=10 - number))
    conn.execute(insert(experiment_tags).values(project_id="p", experiment_id=1, name="team", value="Risk"))
    for seq, (name, model_type, lifecycle) in enumerate(
        [("a", "sklearn", "active"), ("b", None, "active"), ("c", "agent", "active"), ("d", None, "deleted")], 1
    ):
        conn.execute(
            insert(logged_models).values(
                seq=seq, id=f"m-{seq}", project_id="p", experiment_id=1, name=name, status="READY",
                model_type=model_type, source_run_id=None, lifecycle=lifecycle, created_ms=seq, updated_ms=seq,
            )
        )  # fmt: skip
        conn.execute(insert(logged_model_params).values(model=seq, name="lr", value=f"0.0{seq}"))
    for model, step, value, dataset in [
        (1, 0, 0.9, "d"), (1, 1, 0.2, "e"), (2, 0, 0.5, "d"), (2, 1, 0.6, "d"), (3, 0, None, "e"),
    ]:  # fmt: skip
        conn.execute(
            insert(logged_model_metrics).values(
                model=model, run_id="r", name="acc", step=step, at_ms=step, value=value, dataset_name=dataset,
                dataset_fingerprint="1",
            )
        )  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("search") / "home") as opened:
        opened.write(put)
        yield opened


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [1, 0]),
        ({"view": "all"}, [2, 1, 0]),
        ({"view": "deleted"}, [2]),
        ({"order_by": ["name"]}, [0, 1]),
        ({"order_by": ["last_update_time DESC"]}, [0, 1]),
        ({"filter_text": "name LIKE 'Ch%'"}, []),
        ({"filter_text": "name ILIKE 'Ch%'"}, [1]),
        ({"filter_text": "experiment_id IN ('0', '7')"}, [0]),
        ({"filter_text": "experiment_id != '0'"}, [1]),
        ({"filter_text": "tags.team = 'Risk'"}, [1]),
        ({"filter_text": "tags.team IS NULL"}, [0]),
        ({"filter_text": "creation_time >= 1", "view": "all", "order_by": ["experiment_id"]}, [1, 2]),
    ],
)
def test_experiments(store: Store, asked: dict[str, Any], found: list[int]) -> None:
    assert store.read(lambda conn: search_experiments(conn, "p", **asked)).items == found
    first = store.read(lambda conn: search_experiments(conn, "p", max_results=1, **asked))
    assert first.items == found[:1]
    if first.token is not None:
        rest = store.read(lambda conn: search_experiments(conn, "p", page_token=first.token, **asked))
        assert first.items + rest.items == found


def test_an_experiment_id_is_a_number(store: Store) -> None:
    with pytest.raises(InvalidInput, match="compared with 'x'"):
        store.read(lambda conn: search_experiments(conn, "p", filter_text="experiment_id = 'x'"))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [3, 2, 1]),
        ({"filter_text": "name IN ('a', 'd')"}, [1]),
        ({"filter_text": "params.lr = 0.02"}, [2]),
        ({"filter_text": "model_type LIKE 's%' AND status = 'READY'"}, [1]),
        ({"filter_text": "metrics.acc > 0.55"}, [2, 1]),
        ({"filter_text": "metrics.acc > 0.55", "datasets": [OnDataset("e")]}, []),
        ({"datasets": [OnDataset("d", "1")]}, [2, 1]),
        ({"datasets": [OnDataset("d", "2")]}, []),
        ({"order_by": [OrderBy("metrics.acc")]}, [1, 2, 3]),
        ({"order_by": [OrderBy("metrics.acc", ascending=False)]}, [2, 1, 3]),
        ({"order_by": [OrderBy("metrics.acc", ascending=False, dataset_name="d")]}, [1, 2, 3]),
        ({"order_by": [OrderBy("creation_time")]}, [1, 2, 3]),
        ({"order_by": [OrderBy("metrics.val/loss of - it"), OrderBy("metrics.`acc`")]}, [1, 2, 3]),
        ({"order_by": [OrderBy(f"metrics.m{n}") for n in range(12)]}, [3, 2, 1]),
        ({"datasets": [OnDataset("d", "1")] * 200}, [2, 1]),
        ({"order_by": [OrderBy("model_type", ascending=False)]}, [1, 3, 2]),
    ],
)
def test_logged_models(store: Store, asked: dict[str, Any], found: list[int]) -> None:
    assert store.read(lambda conn: search_logged_models(conn, "p", [1], **asked)).items == found
    pages, token = [], None
    for _ in range(len(found) + 1):
        page = store.read(
            lambda conn, token=token: search_logged_models(conn, "p", [1], max_results=1, page_token=token, **asked)  # type: ignore[misc]
        )
        pages += page.items
        token = page.token
        if token is None:
            break
    assert pages == found


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (OrderBy("params.lr"), "by which nothing is ordered"),
        (OrderBy("nothing"), "found 'nothing'"),
        (OrderBy("metrics.acc", dataset_fingerprint="1"), "give both"),
    ],
)
def test_orders_of_logged_models_that_are_refused(store: Store, order: OrderBy, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        store.read(lambda conn: search_logged_models(conn, "p", [1], order_by=[order]))


def test_no_more_datasets_than_one_search_takes(store: Store) -> None:
    datasets = [OnDataset(f"d{n}") for n in range(101)]
    with pytest.raises(InvalidInput, match="101 entries; allowed are at most 100"):
        store.read(lambda conn: search_logged_models(conn, "p", [1], datasets=datasets))
