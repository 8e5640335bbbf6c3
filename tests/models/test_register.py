"""Registering, reading and listing versions."""

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from boucle.governance.api import rename_model
from boucle.kernel import audit
from boucle.kernel.digests import Digest
from boucle.kernel.errors import InvalidInput, NotFound
from boucle.kernel.store import Store
from boucle.models import api
from boucle.models import store as tables
from boucle.models.records import ModelVersion
from boucle.models.webhooks import api as webhooks
from boucle.models.webhooks.store import webhook_deliveries


def register(store: Store, bundle: bytes = b"bundle", evaluation: bytes = b"evaluation") -> ModelVersion:
    return api.register(
        store,
        project_id="flights",
        model="flights",
        bundle_digest=store.blobs.put(bundle),
        dataset_digest=store.blobs.put(b"dataset"),
        evaluation_digest=store.blobs.put(evaluation),
        run_id="run_1",
        author="person:ada",
        note="first training",
    )


def test_versions_count_from_one_and_are_listed_oldest_first(store: Store) -> None:
    versions = [register(store, bundle) for bundle in (b"one", b"two", b"three")]
    assert [version.number for version in versions] == [1, 2, 3]
    assert api.list_versions(store, "flights", "flights") == versions
    assert versions[0].created_at == datetime(2013, 3, 1, tzinfo=UTC)


def test_the_same_bundle_and_evaluation_are_the_same_version(store: Store) -> None:
    first = register(store)
    assert register(store) == first
    assert register(store, evaluation=b"another").number == 2
    log = store.read(lambda conn: audit.records(conn, project_id="flights"))
    assert [record.action for record in log] == ["model.create", "model.register", "model.register"]


def test_webhooks_are_told_of_the_model_that_the_first_version_makes(store: Store) -> None:
    webhooks.allow_host(store, "127.0.0.1", private=True, actor="person:ada")
    webhooks.create(
        store,
        project_id="flights",
        name="ci",
        url="http://127.0.0.1:9/",
        events=["registered_model.created", "model_version.created"],
        actor="person:ada",
    )
    register(store)
    register(store, bundle=b"two")
    told = store.read(lambda conn: [json.loads(body) for body in conn.scalars(select(webhook_deliveries.c.body))])
    assert sorted((one["entity"], one["data"].get("version")) for one in told) == [
        ("model_version", "1"),
        ("model_version", "2"),
        ("registered_model", None),
    ]


def test_a_version_is_found_again_after_the_store_was_closed(store: Store) -> None:
    version = register(store)
    store.close()
    with Store.open(store.home) as again:
        assert api.get_version(again, "flights", "flights", 1) == version


def test_an_unknown_version_is_told_with_those_that_exist(store: Store) -> None:
    with pytest.raises(NotFound, match="there are no versions yet"):
        api.get_version(store, "flights", "flights", 1)
    register(store)
    with pytest.raises(NotFound, match="no version 7 of model 'flights'; numbers up to 1 were given"):
        api.get_version(store, "flights", "flights", 7)


def test_projects_do_not_see_each_other(store: Store) -> None:
    register(store)
    assert api.list_versions(store, "trains", "flights") == []


@pytest.mark.parametrize("missing", ["bundle_digest", "dataset_digest", "evaluation_digest"])
def test_a_version_of_bytes_that_are_not_kept_is_not_registered(store: Store, missing: str) -> None:
    kept = store.blobs.put(b"kept")
    digests = dict.fromkeys(("bundle_digest", "dataset_digest", "evaluation_digest"), kept)
    digests[missing] = Digest("0" * 64)
    with pytest.raises(NotFound, match=f"its {missing.removesuffix('_digest')} 000000000000 is not in the store"):
        api.register(
            store, project_id="flights", model="flights", run_id="run_1", author="person:ada", note="", **digests
        )
    assert api.list_versions(store, "flights", "flights") == []


def test_only_governance_can_move_an_alias() -> None:
    """The doors are two modules; whoever else imports them would need no permit. `removal` has `aliases` take away."""
    source = Path(api.__file__).parents[1]
    importers = {
        file.relative_to(source).as_posix()
        for file in source.rglob("*.py")
        if re.search(r"models(\.| import .*)\b(aliases|removal)\b", file.read_text())
    }
    assert {name for name in importers if not name.startswith("governance/")} == {"models/removal.py"}


def test_a_number_that_no_version_has_is_not_found(store: Store) -> None:
    api.create_model(store, project_id="p", name="m", author="person:ada")
    for number in (0, -1, 1, 2**63, -(10**20), 10**400):
        with pytest.raises(NotFound):
            api.get_version(store, "p", "m", number)


@pytest.mark.parametrize("name", ["\u6a21" * 86, "%2e%2e", "50%25", "a\u2215b", " .. ", "a%2Fb", "\uff0e\uff0e"])
def test_a_model_gets_no_name_by_which_its_files_cannot_be_fetched(store: Store, name: str) -> None:
    with pytest.raises(InvalidInput, match="Invalid model name"):
        api.create_model(store, project_id="p", name=name, author="person:ada")
    api.create_model(store, project_id="p", name="old", author="person:ada")
    with pytest.raises(InvalidInput, match="Invalid model name"):
        rename_model(store, project_id="p", model="old", new_name=name, actor="person:ada")


@pytest.mark.parametrize("name", ["50% off", "\u6a21" * 85, "flights, by day", "\u00e9t\u00e9 (2)", "a+b&c?d#e"])
def test_a_name_that_is_read_as_it_is_written_may_be_any(store: Store, name: str) -> None:
    assert api.create_model(store, project_id="p", name=name, author="person:ada").name == name


def test_a_model_that_has_such_a_name_already_keeps_it(store: Store) -> None:
    api.create_model(store, project_id="p", name="50", author="person:ada")
    store.write(lambda conn: tables.rename_model(conn, "p", "50", "50%25", 1) and None)
    assert api.get_model(store, "p", "50%25").name == "50%25"


def test_tags_and_descriptions_are_in_the_audit_log(store: Store) -> None:
    register(store)
    by = {"actor": "person:ada"}
    long = "x" * 5000
    api.tag_version(store, "flights", "flights", 1, "validation_status", "approved", **by)
    api.tag_version(store, "flights", "flights", 1, "validation_status", None, **by)
    api.tag_model(store, "flights", "flights", "mlflow.prompt.is_prompt", "true", **by)
    api.describe_model(store, "flights", "flights", long, **by)
    api.describe_version(store, "flights", "flights", 1, "shown", **by)
    told = store.read(lambda conn: audit.records(conn, project_id="flights"))[-5:]
    assert {one.actor for one in told} == {"person:ada"}
    assert [(one.action, one.subject, one.details) for one in told] == [
        ("version.tag", "flights/1", {"key": "validation_status", "value": "approved"}),
        ("version.tag", "flights/1", {"key": "validation_status", "value": None}),
        ("model.tag", "flights", {"key": "mlflow.prompt.is_prompt", "value": "true"}),
        (
            "model.describe",
            "flights",
            {"description": long[:200], "description_digest": hashlib.sha256(long.encode()).hexdigest()},
        ),
        ("version.describe", "flights/1", {"description": "shown"}),
    ]
