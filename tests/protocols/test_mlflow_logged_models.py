"""MLflow's logged models: created, finalized, tagged, deleted; a NaN comes back as NaN."""

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, insert, select

from boucle.kernel.database import lock_path
from boucle.kernel.store import Store
from boucle.runs.experiments import create_experiment
from boucle.runs.tables import logged_model_metrics, logged_models

from .mlflow_doors import Ask, asker

MODELS = "/mlflow/logged-models"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as opened:
        create_experiment(opened, "shop", "e")
        yield opened


@pytest.fixture
def ask(store: Store) -> Ask:
    return asker(store)


def make(ask: Ask, **more: object) -> dict[str, object]:
    model: dict[str, object] = ask("POST", MODELS, {"experiment_id": "1", "name": "clf", **more}).json["model"]
    return model


def test_a_model_s_life(ask: Ask) -> None:
    made = make(
        ask,
        source_run_id="f" * 32,
        model_type="classifier",
        params=[{"key": "depth", "value": "3"}],
        tags=[{"key": "team", "value": "a"}],
    )
    info = made["info"]
    assert isinstance(info, dict)
    model_id = info["model_id"]
    assert info["artifact_uri"] == f"mlflow-artifacts:/1/models/{model_id}/artifacts"
    assert (info["status"], info["name"]) == ("LOGGED_MODEL_PENDING", "clf")
    assert made["data"] == {"params": [{"key": "depth", "value": "3"}]}
    assert len(model_id) == 34
    assert ask("GET", f"{MODELS}/{model_id}").json["model"] == made
    ready = ask("PATCH", f"{MODELS}/{model_id}", {"model_id": model_id, "status": "LOGGED_MODEL_READY"})
    assert ready.json["model"]["info"]["status"] == "LOGGED_MODEL_READY"
    ask("PATCH", f"{MODELS}/{model_id}/tags", {"tags": [{"key": "team", "value": "b"}, {"key": "x/y", "value": "1"}]})
    assert ask("DELETE", f"{MODELS}/{model_id}/tags/x%2Fy").json == {}
    assert ask("DELETE", f"{MODELS}/{model_id}/tags/x%2Fy").status == 404
    assert ask("POST", f"{MODELS}/{model_id}/params", {"params": [{"key": "n", "value": "1"}]}).json == {}
    changed = ask("POST", f"{MODELS}/{model_id}/params", {"params": [{"key": "n", "value": "2"}]})
    assert changed.json["error_code"] == "INVALID_PARAMETER_VALUE"
    model = ask("GET", f"{MODELS}/{model_id}").json["model"]
    assert model["info"]["tags"] == [{"key": "team", "value": "b"}]
    assert [one["value"] for one in model["data"]["params"]] == ["3", "1"]
    assert ask("DELETE", f"{MODELS}/{model_id}").json == {}
    assert ask("GET", f"{MODELS}/{model_id}").status == 404
    assert ask("GET", f"{MODELS}/{model_id}?allow_deleted=true").status == 200


def test_models_are_searched_page_by_page(ask: Ask) -> None:
    for name in ("a", "b", "c"):
        make(ask, name=name, params=[{"key": "lr", "value": "0.1" if name < "c" else "0.2"}])
    asked = {
        "experiment_ids": ["1"],
        "filter": "params.lr = 0.1",
        "order_by": [{"field_name": "name"}],
        "max_results": 1,
    }
    first = ask("POST", f"{MODELS}/search", asked).json
    assert [one["info"]["name"] for one in first["models"]] == ["a"]
    second = ask("POST", f"{MODELS}/search", {**asked, "page_token": first["next_page_token"]}).json
    assert [one["info"]["name"] for one in second["models"]] == ["b"]
    assert "next_page_token" not in second
    wrong = ask("POST", f"{MODELS}/search", {"experiment_ids": ["1"], "filter": "params.lr >"})
    assert (wrong.status, wrong.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert ask("POST", f"{MODELS}/search", {"experiment_ids": ["1"], "datasets": [{}]}).status == 400


def test_its_files_are_artifacts(ask: Ask) -> None:
    info = make(ask)["info"]
    assert isinstance(info, dict)
    path = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    ask("PUT", f"/mlflow-artifacts/artifacts/{path}/MLmodel", b"flavors: {}")
    one = f"{MODELS}/{info['model_id']}/artifacts"
    assert ask("GET", f"{one}/directories").json == {
        "files": [{"path": "MLmodel", "is_dir": False, "file_size": 11}],
        "root_uri": info["artifact_uri"],
    }
    assert ask("GET", f"{one}/files?artifact_file_path=MLmodel").content == b"flavors: {}"
    assert ask("GET", f"{one}/files").status == 400


def test_a_nan_metric_reads_back_as_nan(store: Store, ask: Ask) -> None:
    info = make(ask)["info"]
    assert isinstance(info, dict)

    def unit(conn: object) -> None:
        seq = conn.execute(select(logged_models.c.seq)).scalar_one()  # type: ignore[attr-defined]
        rows = [("a", None), ("b", 0.5)]
        for name, value in rows:
            row = {"model": seq, "run_id": "r", "name": name, "step": 1, "at_ms": 2, "value": value}
            conn.execute(insert(logged_model_metrics).values(row))  # type: ignore[attr-defined]

    store.write(unit)
    metrics = ask("GET", f"{MODELS}/{info['model_id']}").json["model"]["data"]["metrics"]
    assert [(one["key"], one["value"]) for one in metrics] == [("a", "NaN"), ("b", 0.5)]
    assert metrics[0]["model_id"] == info["model_id"]


def test_no_writer_waits_while_metrics_are_read(store: Store, ask: Ask) -> None:
    info = make(ask)["info"]
    assert isinstance(info, dict)
    asked: list[bool] = []

    def note(_conn: object, _cursor: object, statement: str, *_more: object) -> None:
        if "logged_model_metrics" in statement:
            with lock_path(store.database.path).open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    asked.append(False)
                else:
                    asked.append(True)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        one = f"{MODELS}/{info['model_id']}"
        assert ask("PATCH", f"{one}/tags", {"tags": [{"key": "team", "value": "b"}]}).json == {}
        assert asked == []
        assert ask("PATCH", one, {"status": "LOGGED_MODEL_READY"}).json["model"]["info"]["tags"]
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert asked == [True]


def test_a_list_of_too_many_entries_is_refused_and_nothing_is_kept(ask: Ask) -> None:
    info = make(ask)["info"]
    assert isinstance(info, dict)
    one = f"{MODELS}/{info['model_id']}"
    many = [{"key": f"k{number}", "value": "v"} for number in range(1001)]
    ask("POST", "/mlflow/registered-models/create", {"name": "flights"})
    for method, path, field, body in (
        ("POST", MODELS, "params", {"experiment_id": "1"}),
        ("POST", MODELS, "tags", {"experiment_id": "1"}),
        ("POST", f"{one}/params", "params", {}),
        ("PATCH", f"{one}/tags", "tags", {}),
        ("POST", "/mlflow/registered-models/create", "tags", {"name": "other"}),
        ("POST", "/mlflow/model-versions/create", "tags", {"name": "flights", "source": "s3://bucket/model"}),
    ):
        answer = ask(method, path, {**body, field: many})
        assert (answer.status, answer.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert f"{field} has 1,001 entries; a request takes at most 1,000" in answer.json["message"]
    assert ask("PATCH", f"{one}/tags", {"tags": many[1:]}).status == 200
    model = ask("GET", one).json["model"]
    assert len(model["info"]["tags"]) == 1000
    assert model["data"] == {}
    found = ask("POST", f"{MODELS}/search", {"experiment_ids": ["1"]})
    assert len(found.json["models"]) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"experiment_id": ""},
        {"experiment_id": "x"},
        {"experiment_id": "99"},
        {"name": "a/b"},
        {"name": "a:b"},
        {"name": "x" * 501},
        {"params": [{"key": "", "value": "1"}]},
        {"params": [{"key": "a", "value": 1}]},
        {"tags": "no list"},
        {"name": 3},
    ],
    ids=str,
)
def test_what_is_wrong_is_refused(ask: Ask, wrong: dict[str, object]) -> None:
    answer = ask("POST", MODELS, {"experiment_id": "1", "name": "clf", **wrong})
    assert 400 <= answer.status < 500
    assert answer.json["error_code"] in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")


def test_an_unknown_model_is_not_found(ask: Ask) -> None:
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("PATCH", "/tags"),
        ("GET", "/artifacts/directories"),
    ):
        assert (
            ask(method, f"{MODELS}/m-nothing{path}", {"status": 2, "tags": []} if method == "PATCH" else b"").status
            == 404
        )


def test_a_search_finds_by_filter_in_pages(ask: Ask) -> None:
    for number in range(3):
        make(ask, params=[{"key": "depth", "value": str(number)}])
    body = {"experiment_ids": ["1"], "order_by": [{"field_name": "creation_timestamp", "ascending": True}]}
    first = ask("POST", f"{MODELS}/search", {**body, "max_results": 2}).json
    assert len(first["models"]) == 2
    rest = ask("POST", f"{MODELS}/search", {**body, "max_results": 2, "page_token": first["next_page_token"]}).json
    assert len(rest["models"]) == 1
    assert "next_page_token" not in rest
    found = ask("POST", f"{MODELS}/search", {**body, "filter": "params.depth = '1'"}).json["models"]
    assert [one["data"]["params"][0]["value"] for one in found] == ["1"]
    assert ask("POST", f"{MODELS}/search", {**body, "filter": "params.depth = '9'"}).json.get("models", []) == []
    for wrong in ({"filter": "nonsense"}, {"page_token": "x"}):
        assert ask("POST", f"{MODELS}/search", {**body, **wrong}).json["error_code"] == "INVALID_PARAMETER_VALUE"
