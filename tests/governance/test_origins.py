"""Whose files, whose metrics, whose word: attempts to pass by another's numbers, or by one's own approval."""

import asyncio
import inspect
import math
import sys
from typing import Any

import msgspec
import pytest

from boucle.governance import api
from boucle.governance.records import Objective, Policy
from boucle.identity.api import GRANTS, Principal, local_principal
from boucle.identity.http import Request, Response, Route
from boucle.kernel.care.turns import present_since
from boucle.kernel.errors import GatesRefused, InvalidInput, Refused
from boucle.kernel.store import Store
from boucle.loop.run_facts import facts_of_run
from boucle.models import api as models
from boucle.models.records import ModelVersion
from boucle.models.sources import make_version
from boucle.protocols.mlflow import logged_models, runs
from boucle.runs import routes as spools
from boucle.runs.api import get_run
from boucle.runs.artifact_paths import Place
from boucle.runs.artifacts import put
from boucle.runs.batch import Batch, ModelPoint, Point
from boucle.runs.inbox import Inbox
from boucle.runs.lifecycle import creation
from boucle.runs.logged_models import create_logged_model
from boucle.runs.origins import makers
from boucle.runs.spool.frames import frame
from boucle.runs.spool.records import ENCODER, Begin, Record, Tags

WHO = {"project_id": "shop", "model": "flights"}
AUC = Policy(objectives=[Objective(metric="auc", at_least=0.7)])


def reviewer(name: str) -> Principal:
    return Principal(f"person:{name}", "person", GRANTS["reviewer"], "reviewer")


def keep(store: Store, kind: str, owner: str, path: str, content: bytes) -> None:
    """A file of a run or a logged model."""
    digest = store.blobs.put(content)
    place = Place(kind, owner, 0, path)  # type: ignore[arg-type]
    store.write(lambda conn: put(conn, "shop", place, digest, len(content), 0))


def report(store: Store, run_id: str, value: float, model_id: str | None = None, *, step: int = 0) -> None:
    """What `mlflow.log_metric("auc", value, model_id=...)` stores: with the run, and with the model."""
    point = Point("auc", step, 0, value, False)
    about = [] if model_id is None else [ModelPoint(model_id, point, None, None)]
    Inbox(store).log_now([Batch(project_id="shop", run_id=run_id, points=[point], model_points=about)])


def register(store: Store, source: str, *, by: str = "person:ada", model: str = "flights", **more: str) -> ModelVersion:
    if model not in [one.name for one in models.list_models(store, "shop")]:
        models.create_model(store, project_id="shop", name=model, author=by)
    return make_version(store, project_id="shop", model=model, source=source, author=by, **more)


def promote(store: Store, version: ModelVersion) -> None:
    api.set_alias(
        store,
        project_id="shop",
        model=version.model,
        alias="champion",
        number=version.number,
        actor="person:ada",
    )


@pytest.fixture
def run_id(store: Store) -> str:
    """A run of eve's, and a policy that asks for auc."""
    api.set_policy(store, local_principal(), **WHO, policy=AUC)
    run = store.write(creation(store, "shop", created_by="person:eve")).id
    keep(store, "run", run, "bad/model.pkl", b"bad")
    return run


def test_files_are_not_judged_by_the_metrics_of_another_model(store: Store, run_id: str) -> None:
    empty = create_logged_model(store, "shop", 0, name="empty", source_run_id=run_id).id
    good = create_logged_model(store, "shop", 0, name="good", source_run_id=run_id).id
    bad = create_logged_model(store, "shop", 0, name="worse", source_run_id=run_id).id
    keep(store, "model", good, "model.pkl", b"good")
    keep(store, "model", bad, "model.pkl", b"bad")
    for model_id in (empty, good):
        report(store, run_id, 0.95, model_id)
        for source in (f"runs:/{run_id}/bad", f"mlflow-artifacts:/0/{run_id}/artifacts/bad", f"runs:/{run_id}/worse"):
            with pytest.raises(InvalidInput, match="other files than the logged model"):
                register(store, source, model_id=model_id)
    for source in (f"runs:/{run_id}/bad", f"models:/{bad}", f"runs:/{run_id}/worse"):
        with pytest.raises(GatesRefused, match="auc was not reported"):
            promote(store, register(store, source))
    for source in (f"models:/{good}", f"runs:/{run_id}/good"):
        version = register(store, source)
        assert version.model_id == good
        promote(store, version)


def test_only_the_run_that_made_a_model_is_heard(store: Store, run_id: str) -> None:
    made = create_logged_model(store, "shop", 0, name="made", source_run_id=run_id).id
    keep(store, "model", made, "model.pkl", b"files")
    version = register(store, f"models:/{made}")
    report(store, store.write(creation(store, "shop")).id, 0.95, made, step=9)
    with pytest.raises(GatesRefused, match=f"auc was not reported by run {run_id}"):
        promote(store, version)
    report(store, run_id, 0.6, made)
    with pytest.raises(GatesRefused, match=rf"auc 0\.6, reported by run {run_id}"):
        promote(store, version)
    orphan = create_logged_model(store, "shop", 0, name="orphan").id
    keep(store, "model", orphan, "model.pkl", b"other files")
    report(store, run_id, 0.95, orphan)
    with pytest.raises(GatesRefused, match="auc was not reported by any run: no run made the logged model"):
        promote(store, register(store, f"models:/{orphan}"))


@pytest.mark.parametrize("value", [math.inf, -math.inf, sys.float_info.max, -sys.float_info.max, math.nan])
def test_what_is_not_finite_passes_no_objective(store: Store, run_id: str, value: float) -> None:
    either = [Objective(metric="auc", at_least=0.7), Objective(metric="auc", at_most=0.7)]
    for number, objective in enumerate(either):
        model = f"m{number}"
        api.set_policy(store, local_principal(), project_id="shop", model=model, policy=Policy(objectives=[objective]))
        report(store, run_id, value)
        with pytest.raises(GatesRefused, match="no finite number"):
            promote(store, register(store, f"runs:/{run_id}/bad", model=model))


def test_whoever_had_a_part_in_a_version_never_approves_it(store: Store, run_id: str) -> None:
    """Eve ran it, bob logged the model, ada registered it, dan copied it, carl had registered the same files before."""
    model_id = create_logged_model(store, "shop", 0, name="m", source_run_id=run_id, created_by="person:bob").id
    keep(store, "model", model_id, "model.pkl", b"m")
    earlier = register(store, f"models:/{model_id}", by="person:carl", model="other")
    register(store, f"models:/{model_id}")
    version = register(store, "models:/flights/1", by="person:dan")
    api.delete_version(store, project_id="shop", model="other", number=earlier.number, actor="person:carl")
    api.set_policy(store, local_principal(), **WHO, policy=Policy(reviews=1))
    for name in ("ada", "bob", "carl", "dan", "eve"):
        with pytest.raises(Refused, match="its author never approves it"):
            api.review_version(store, reviewer(name), **WHO, number=version.number, verdict="approve")
        with pytest.raises(Refused, match="its author never approves it"):
            api.waive(store, reviewer(name), **WHO, number=version.number, gate="objective(auc)", reason="r")


def test_an_approval_of_who_turns_out_an_author_does_not_count(store: Store, run_id: str) -> None:
    api.set_policy(store, local_principal(), **{**WHO, "model": "late"}, policy=Policy(reviews=1))
    version = register(store, f"runs:/{run_id}/bad", model="late")
    api.review_version(store, reviewer("dan"), project_id="shop", model="late", number=1, verdict="approve")
    register(store, "models:/late/1", by="person:dan")
    with pytest.raises(GatesRefused, match="0 approvals"):
        promote(store, version)


def test_the_server_says_who_made_a_run_whatever_the_client_says(store: Store) -> None:
    claims: Any = {
        "user_id": "ada",
        "created_by": "person:ada",
        "tags": [{"key": "boucle.principal", "value": "person:ada"}],
    }
    eve = Principal("person:eve", "person", GRANTS["author"], "author")

    def ask(doors: list[Route], path: str, message: object) -> Any:
        (route,) = [one for one in doors if (one.method, one.path) == ("POST", path)]
        request = Request("POST", path, body=msgspec.json.encode(message), project="shop", principal=eve)
        answer = route.handler(request)
        if inspect.iscoroutine(answer):
            answer = asyncio.run(answer)
        assert isinstance(answer, Response)
        return msgspec.json.decode(answer.body)

    run_id = ask(runs.routes(store, Inbox(store)), "/mlflow/runs/create", claims)["run"]["info"]["run_id"]
    claims = {"experiment_id": "0", "name": "m", "created_by": "person:ada"}
    made = ask(logged_models.routes(store), "/mlflow/logged-models", claims)["model"]["info"]["model_id"]
    for one in (run_id, made):
        assert store.read(lambda conn, one=one: makers(conn, "shop", [one])) == {"person:eve"}  # type: ignore[misc]


def test_the_server_says_who_began_a_run_that_comes_from_a_spool(store: Store) -> None:
    eve, bob = (Principal(f"person:{name}", "person", GRANTS["author"], "author") for name in ("eve", "bob"))
    run, claims = "a" * 32, {"boucle.principal": "person:ada", "mlflow.user": "ada"}
    (route,) = [one for one in spools.routes(store) if one.path == "/spools/{spool}/frames"]

    def send(spool: str, principal: Principal, *records: Record) -> None:
        body = b"".join(frame(ENCODER.encode(one)) for one in records)
        values = {"spool": spool * 32}
        asked = Request("POST", route.path, body=body, values=values, project="shop", principal=principal)
        assert b'"refused":[]' in route.handler(asked).body  # type: ignore[union-attr]

    send("1", eve, Begin(run, "e", "r", "ada", 5, {}, claims, True), Tags(claims))
    send("2", bob, Begin(run, "e", "r", "ada", 5, {}, claims, False), Tags({"t": "v"}))
    assert store.read(lambda conn: makers(conn, "shop", [run])) == {"person:eve"}
    told = get_run(store, run)
    assert store.read(lambda conn: facts_of_run(store, conn, told))["by"] == "eve"


@pytest.mark.parametrize("field", ["run_id", "model_id"])
def test_what_could_be_no_id_makes_no_version_of_files_kept_elsewhere(store: Store, field: str) -> None:
    for given in (":boom", "a b", "../a", "x" * 257, "\u00e9", "a\n"):
        with pytest.raises(InvalidInput, match=f"{field} is"):
            register(store, "s3://b/x", **{field: given})
    assert register(store, "s3://b/x", **{field: "0123_run-of-another-server"}).number == 1


def test_judging_what_was_reported_keeps_nothing_else_from_collection(store: Store, run_id: str) -> None:
    report(store, run_id, 0.9)
    register(store, "s3://b/x", run_id=run_id)
    store.blobs.close()
    api.set_policy(store, local_principal(), **WHO, policy=AUC)
    assert api.standing(store, **WHO, number=1).report is not None
    assert present_since(store.blobs.root) is None
