"""MLflow's registry, asked as its client asks."""

from typing import Any

import pytest

from boucle.governance import api as governance
from boucle.governance.records import Objective, Policy
from boucle.identity.api import local_principal
from boucle.kernel import audit
from boucle.kernel.store import Store
from boucle.models import api as models
from boucle.models.webhooks import api as webhooks
from boucle.models.webhooks.records import EVENTS
from boucle.runs import logged_models
from boucle.runs.api import record_run

from .mlflow_doors import Answer, Ask, asker

MODELS, VERSIONS = "/mlflow/registered-models", "/mlflow/model-versions"


@pytest.fixture
def ask(store: Store) -> Ask:
    return asker(store)


@pytest.fixture
def run_id(store: Store, ask: Ask) -> str:
    """A run with a metric and the files of a model."""
    run = record_run(store, project_id="shop", experiment="tries", name="r", params={}, metrics={"auc": 0.7, "f1": 0.5})
    for name, content in (("MLmodel", b"flavors: {}"), ("model.pkl", b"bytes")):
        put = ask("PUT", f"/mlflow-artifacts/artifacts/1/{run.id}/artifacts/model/{name}", content)
        assert put.status == 200, put.content
    return run.id


def made(ask: Ask, run_id: str, name: str = "flights") -> Any:
    """A version of a run's model, of a model that is made if there is none."""
    ask("POST", f"{MODELS}/create", {"name": name})
    answer = ask("POST", f"{VERSIONS}/create", {"name": name, "source": f"runs:/{run_id}/model", "run_id": run_id})
    assert answer.status == 200, answer.content
    return answer.json["model_version"]


def refused(answer: Answer, status: int, code: str) -> str:
    assert (answer.status, answer.json["error_code"]) == (status, code), answer.content
    return str(answer.json["message"])


def test_a_version_has_the_fields_that_clients_read(ask: Ask, run_id: str) -> None:
    version = made(ask, run_id)
    assert version == {
        "name": "flights",
        "version": "1",
        "creation_timestamp": 1362096000000,
        "last_updated_timestamp": 1362096000000,
        "user_id": local_principal().name,
        "current_stage": "None",
        "status": "READY",
        "source": f"runs:/{run_id}/model",
        "run_id": run_id,
        "description": "",
    }
    assert made(ask, run_id)["version"] == "2"
    found = ask("GET", f"{MODELS}/get?name=flights").json["registered_model"]
    assert [one["version"] for one in found["latest_versions"]] == ["2"]


def test_the_files_of_a_version_are_those_of_the_moment_it_was_made(ask: Ask, run_id: str) -> None:
    made(ask, run_id)
    assert ask("PUT", f"/mlflow-artifacts/artifacts/1/{run_id}/artifacts/model/MLmodel", b"changed").status == 200
    uri = ask("GET", f"{VERSIONS}/get-download-uri?name=flights&version=1").json["artifact_uri"]
    assert uri == "mlflow-artifacts:/versions/flights/1"
    assert ask("GET", "/mlflow-artifacts/artifacts/versions/flights/1/MLmodel").content == b"flavors: {}"
    made(ask, run_id)
    assert ask("GET", "/mlflow-artifacts/artifacts/versions/flights/2/MLmodel").content == b"changed"


def test_a_version_of_a_logged_model_knows_its_run(store: Store, ask: Ask, run_id: str) -> None:
    model = logged_models.create_logged_model(store, "shop", 1, name="m", source_run_id=run_id)
    ask("PUT", f"/mlflow-artifacts/artifacts/1/models/{model.id}/artifacts/MLmodel", b"of the model")
    ask("POST", f"{MODELS}/create", {"name": "flights"})
    body = {"name": "flights", "source": f"models:/{model.id}", "model_id": model.id}
    version = ask("POST", f"{VERSIONS}/create", body).json["model_version"]
    assert (version["run_id"], version["model_id"]) == (run_id, model.id)
    assert ask("GET", "/mlflow-artifacts/artifacts/versions/flights/1/MLmodel").content == b"of the model"


def test_nobody_registers_the_files_of_one_run_with_the_metrics_of_another(store: Store, ask: Ask, run_id: str) -> None:
    other = record_run(store, project_id="shop", experiment="tries", name="o", params={}, metrics={"auc": 0.99})
    model = logged_models.create_logged_model(store, "shop", 1, name="m", source_run_id=run_id)
    ask("POST", f"{MODELS}/create", {"name": "flights"})
    for source, given in (
        (f"runs:/{run_id}/model", {"run_id": other.id}),
        (f"mlflow-artifacts:/1/{run_id}/artifacts/model", {"run_id": other.id}),
        (f"models:/{model.id}", {"run_id": other.id}),
        (f"runs:/{other.id}/model", {"model_id": model.id}),
    ):
        message = refused(
            ask("POST", f"{VERSIONS}/create", {"name": "flights", "source": source, **given}),
            400,
            "INVALID_PARAMETER_VALUE",
        )
        assert "request parameter must identify the resource" in message


@pytest.mark.parametrize(
    "source",
    [
        "file:///etc",
        "/etc/passwd",
        "../x",
        "runs:/../../etc",
        "mlflow-artifacts:/../x",
        "runs://[x/y",
        "models://[x",
        "mlflow-artifacts://[0/x",
        "s3://[a",
    ],
)
def test_no_source_outside_of_the_server_is_opened(ask: Ask, source: str) -> None:
    ask("POST", f"{MODELS}/create", {"name": "flights"})
    answer = ask("POST", f"{VERSIONS}/create", {"name": "flights", "source": source})
    assert answer.status in (400, 404)


def test_a_source_that_is_kept_elsewhere_is_a_note(ask: Ask) -> None:
    ask("POST", f"{MODELS}/create", {"name": "flights"})
    ask("POST", f"{VERSIONS}/create", {"name": "flights", "source": "s3://bucket/model"})
    uri = ask("GET", f"{VERSIONS}/get-download-uri?name=flights&version=1").json["artifact_uri"]
    assert uri == "s3://bucket/model"


def test_aliases_stand_on_models_and_versions(ask: Ask, run_id: str) -> None:
    made(ask, run_id)
    made(ask, run_id)
    for alias, version in (("champion", "1"), ("shadow", "2"), ("champion", "2"), ("shadow", "1")):
        answer = ask("POST", f"{MODELS}/alias", {"name": "flights", "alias": alias, "version": version})
        assert (answer.status, answer.json) == (200, {})
    found = ask("GET", f"{MODELS}/get?name=flights").json["registered_model"]
    assert found["aliases"] == [{"alias": "champion", "version": "2"}, {"alias": "shadow", "version": "1"}]
    assert ask("GET", f"{MODELS}/alias?name=flights&alias=champion").json["model_version"]["aliases"] == ["champion"]
    assert ask("GET", f"{MODELS}/alias?name=flights&alias=latest").json["model_version"]["version"] == "2"
    assert ask("DELETE", f"{MODELS}/alias", {"name": "flights", "alias": "champion"}).status == 200
    gone = ask("GET", f"{MODELS}/alias?name=flights&alias=champion")
    assert "Registered model alias champion not found" in refused(gone, 400, "INVALID_PARAMETER_VALUE")
    assert ask("DELETE", f"{MODELS}/alias", {"name": "flights", "alias": "never"}).status == 200


def test_stages_hold_the_newest_version_of_each(ask: Ask, run_id: str) -> None:
    for _ in range(3):
        made(ask, run_id)

    def move(version: str, stage: str, archive: bool = False) -> Answer:
        body = {"name": "flights", "version": version, "stage": stage, "archive_existing_versions": archive}
        return ask("POST", f"{VERSIONS}/transition-stage", body)

    assert move("1", "production").json["model_version"]["current_stage"] == "Production"
    assert move("2", "Production", archive=True).status == 200
    latest = ask("POST", f"{MODELS}/get-latest-versions", {"name": "flights"}).json["model_versions"]
    assert [(one["version"], one["current_stage"]) for one in latest] == [
        ("1", "Archived"),
        ("2", "Production"),
        ("3", "None"),
    ]
    refused(move("1", "Live"), 400, "INVALID_PARAMETER_VALUE")
    refused(move("1", "Archived", archive=True), 400, "INVALID_PARAMETER_VALUE")
    refused(move("9", "Staging"), 404, "RESOURCE_DOES_NOT_EXIST")


def test_tags_and_descriptions(ask: Ask, run_id: str) -> None:
    made(ask, run_id)
    ask("POST", f"{MODELS}/set-tag", {"name": "flights", "key": "team", "value": "ops"})
    ask("POST", f"{VERSIONS}/set-tag", {"name": "flights", "version": "1", "key": "a/b", "value": "1"})
    ask("PATCH", f"{MODELS}/update", {"name": "flights", "description": "which are late"})
    told = ask("PATCH", f"{VERSIONS}/update", {"name": "flights", "version": "1", "description": "first"})
    assert told.json["model_version"]["description"] == "first"
    assert told.json["model_version"]["tags"] == [{"key": "a/b", "value": "1"}]
    found = ask("GET", f"{MODELS}/get?name=flights").json["registered_model"]
    assert (found["tags"], found["description"]) == ([{"key": "team", "value": "ops"}], "which are late")
    ask("DELETE", f"{MODELS}/delete-tag", {"name": "flights", "key": "team"})
    ask("DELETE", f"{VERSIONS}/delete-tag", {"name": "flights", "version": "1", "key": "a/b"})
    assert "tags" not in ask("GET", f"{MODELS}/get?name=flights").json["registered_model"]
    refused(
        ask("POST", f"{MODELS}/set-tag", {"name": "flights", "key": "../x", "value": "1"}),
        400,
        "INVALID_PARAMETER_VALUE",
    )


def test_a_prompt_is_a_model_with_tags_and_no_files(ask: Ask) -> None:
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}, {"key": "mlflow.prompt.text", "value": "Say {{x}}"}]
    ask("POST", f"{MODELS}/create", {"name": "greeting", "tags": tags[:1]})
    body = {"name": "greeting", "source": "dummy-source", "tags": tags}
    assert ask("POST", f"{VERSIONS}/create", body).json["model_version"]["tags"] == tags


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", f"{MODELS}/create", {"name": "flights"}, "RESOURCE_ALREADY_EXISTS"),
        ("POST", f"{MODELS}/create", {"name": "a/b"}, "INVALID_PARAMETER_VALUE"),
        ("POST", f"{MODELS}/create", {"name": " "}, "INVALID_PARAMETER_VALUE"),
        ("POST", f"{MODELS}/create", {}, "INVALID_PARAMETER_VALUE"),
        ("GET", f"{MODELS}/get?name=none", b"", "RESOURCE_DOES_NOT_EXIST"),
        ("GET", f"{VERSIONS}/get?name=flights&version=9", b"", "RESOURCE_DOES_NOT_EXIST"),
        ("GET", f"{VERSIONS}/get?name=flights&version=one", b"", "INVALID_PARAMETER_VALUE"),
        ("GET", f"{VERSIONS}/get?name=flights&version=99999999999", b"", "INVALID_PARAMETER_VALUE"),
        ("POST", f"{MODELS}/alias", {"name": "flights", "alias": "v1", "version": "1"}, "INVALID_PARAMETER_VALUE"),
        ("POST", f"{MODELS}/alias", {"name": "flights", "alias": "a b", "version": "1"}, "INVALID_PARAMETER_VALUE"),
        ("POST", f"{MODELS}/alias", {"name": "flights", "alias": "a", "version": "9"}, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", f"{MODELS}/rename", {"name": "flights", "new_name": ""}, "INVALID_PARAMETER_VALUE"),
        ("POST", f"{MODELS}/rename", {"name": "flights", "new_name": "taken"}, "RESOURCE_ALREADY_EXISTS"),
        ("POST", f"{VERSIONS}/create", {"name": "none", "source": "runs:/x/y"}, "RESOURCE_DOES_NOT_EXIST"),
        ("DELETE", f"{MODELS}/delete", {"name": "none"}, "RESOURCE_DOES_NOT_EXIST"),
    ],
)
def test_what_cannot_be_is_told_in_mlflow_s_words(
    ask: Ask, run_id: str, method: str, path: str, body: Any, code: str
) -> None:
    made(ask, run_id)
    made(ask, run_id, "taken")
    answer = ask(method, path, body)
    assert answer.json["error_code"] == code, answer.content
    assert answer.status == (404 if code == "RESOURCE_DOES_NOT_EXIST" else 400)


def test_a_model_is_renamed_with_its_history_and_back(ask: Ask, run_id: str) -> None:
    made(ask, run_id)
    ask("POST", f"{MODELS}/alias", {"name": "flights", "alias": "champion", "version": "1"})
    for old, new in (("flights", "late"), ("late", "flights")):
        told = ask("POST", f"{MODELS}/rename", {"name": old, "new_name": new}).json["registered_model"]
        assert (told["name"], told["aliases"]) == (new, [{"alias": "champion", "version": "1"}])
        assert ask("GET", f"{MODELS}/get?name={old}").status == 404


def test_a_number_is_never_given_twice(ask: Ask, run_id: str) -> None:
    made(ask, run_id)
    made(ask, run_id)
    ask("DELETE", f"{VERSIONS}/delete", {"name": "flights", "version": "2"})
    assert made(ask, run_id)["version"] == "3"
    ask("DELETE", f"{MODELS}/delete", {"name": "flights"})
    assert ask("GET", f"{MODELS}/get?name=flights").status == 404
    assert made(ask, run_id)["version"] == "4"
    found = ask("GET", f"{MODELS}/get?name=flights").json["registered_model"]
    assert [one["version"] for one in found["latest_versions"]] == ["4"]


def test_a_protected_pointer_moves_by_what_the_run_reported(store: Store, ask: Ask, run_id: str) -> None:
    made(ask, run_id)
    policy = Policy(objectives=[Objective(metric="auc", at_least=0.75), Objective(metric="recall", at_least=0.5)])
    governance.set_policy(store, local_principal(), project_id="shop", model="flights", policy=policy)
    body = {"name": "flights", "alias": "champion", "version": "1"}
    message = refused(ask("POST", f"{MODELS}/alias", body), 403, "PERMISSION_DENIED")
    assert f"auc 0.7, reported by run {run_id}, not measured by Boucle, at least 0.75 is required\n" in message
    assert f"recall was not reported by run {run_id}, at least 0.5 is required; log it to run {run_id}" in message
    assert message.endswith("\nNext: boucle models show flights 1 --in shop")
    better = record_run(
        store, project_id="shop", experiment="tries", name="b", params={}, metrics={"auc": 0.8, "recall": 0.6}
    )
    ask("PUT", f"/mlflow-artifacts/artifacts/1/{better.id}/artifacts/model/MLmodel", b"x")
    made(ask, better.id)
    assert ask("POST", f"{MODELS}/alias", body | {"version": "2"}).status == 200
    assert ask("POST", f"{VERSIONS}/transition-stage", {**body, "version": "2", "stage": "Production"}).status == 200
    actions = [record.action for record in store.read(lambda conn: audit.records(conn, project_id="shop"))]
    assert actions[-6:] == [
        "model.register",
        "gate.pass",
        "permit.issue",
        "alias.promote",
        "permit.issue",
        "stage.promote",
    ]


def test_files_that_are_not_kept_pass_no_gate(store: Store, ask: Ask) -> None:
    ask("POST", f"{MODELS}/create", {"name": "flights"})
    ask("POST", f"{VERSIONS}/create", {"name": "flights", "source": "s3://bucket/model"})
    governance.set_policy(store, local_principal(), project_id="shop", model="flights", policy=Policy())
    answer = ask("POST", f"{MODELS}/alias", {"name": "flights", "alias": "champion", "version": "1"})
    assert "Boucle keeps no file of 's3://bucket/model'" in refused(answer, 403, "PERMISSION_DENIED")


def test_models_and_versions_are_found_page_by_page(ask: Ask, run_id: str) -> None:
    for name in ("a", "b", "a", "c", "a"):
        made(ask, run_id, name)
    ask("POST", f"{MODELS}/create", {"name": "p", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]})
    ask("POST", f"{VERSIONS}/set-tag", {"name": "a", "version": "2", "key": "good", "value": "yes"})

    def models(query: str) -> list[str]:
        return [one["name"] for one in ask("GET", f"{MODELS}/search?{query}").json.get("registered_models", [])]

    def versions(query: str) -> list[str]:
        found = ask("GET", f"{VERSIONS}/search?{query}").json.get("model_versions", [])
        return [f"{one['name']}/{one['version']}" for one in found]

    assert (models(""), models("filter=name%20LIKE%20'A%25'"), models("filter=name%20ILIKE%20'A%25'")) == (
        ["a", "b", "c"],
        [],
        ["a"],
    )
    assert models("filter=tags.%60mlflow.prompt.is_prompt%60%20%3D%20'true'") == ["p"]
    assert models("order_by=name%20DESC&max_results=2") == ["c", "b"]
    assert versions("") == ["a/3", "a/2", "a/1", "b/1", "c/1"]
    assert versions("filter=name%3D'a'&order_by=version_number%20ASC") == ["a/1", "a/2", "a/3"]
    assert versions("filter=tags.good%3D'yes'") == ["a/2"]
    assert len(versions(f"filter=run_id%3D'{run_id}'")) == 5
    first = ask("GET", f"{VERSIONS}/search?max_results=2").json
    assert versions(f"max_results=2&page_token={first['next_page_token']}") == ["a/1", "b/1"]
    refused(ask("GET", f"{VERSIONS}/search?filter=nonsense"), 400, "INVALID_PARAMETER_VALUE")
    refused(ask("GET", f"{MODELS}/search?max_results=1001"), 400, "INVALID_PARAMETER_VALUE")


def test_webhooks_are_told_of_what_happens(store: Store, ask: Ask, run_id: str) -> None:
    webhooks.allow_host(store, "hooks.example.org", actor="person:ada")
    webhooks.create(
        store,
        project_id="shop",
        name="all",
        url="https://hooks.example.org/x",
        events=[one for one in EVENTS if not one.startswith("prompt")],
        actor="person:ada",
    )
    made(ask, run_id)
    ask("POST", f"{VERSIONS}/set-tag", {"name": "flights", "version": "1", "key": "k", "value": "v"})
    ask("DELETE", f"{VERSIONS}/delete-tag", {"name": "flights", "version": "1", "key": "k"})
    ask("POST", f"{MODELS}/alias", {"name": "flights", "alias": "champion", "version": "1"})
    ask("DELETE", f"{MODELS}/alias", {"name": "flights", "alias": "champion"})
    assert [waiting for waiting, _ in webhooks.waiting(store).values()] == [6]


def test_the_history_says_that_a_client_moved_an_alias(store: Store, ask: Ask, run_id: str) -> None:
    made(ask, run_id)
    actor = local_principal().name
    assert ask("POST", f"{MODELS}/alias", {"name": "flights", "alias": "best", "version": "1"}).status == 200
    assert ask("DELETE", f"{MODELS}/alias", {"name": "flights", "alias": "best"}).status == 200
    moves = models.history(store, "shop", "flights", "best")
    assert [move.reason for move in moves] == [
        f"set by {actor} through MLflow",
        f"taken away by {actor} through MLflow",
    ]
