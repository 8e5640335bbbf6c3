"""Deploying and rolling back: what governance permits goes to an endpoint, and the audit log tells of it."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boucle.governance import api as governance
from boucle.governance.records import Objective, Policy
from boucle.identity.api import local_principal
from boucle.kernel import audit
from boucle.kernel.errors import GatesRefused, InvalidInput, NotFound, Refused
from boucle.kernel.store import Store
from boucle.loop import rollout
from boucle.loop.rollout import By
from boucle.models import api as models
from boucle.serving.api import endpoints, read_traffic

BY = By(project_id="flights", actor="person:ada", reason="a try")
GOOD = Policy(objectives=[Objective(metric="auc_roc", at_least=0.6)])
Make = Callable[..., Any]


@pytest.fixture
def make(store: Store, tmp_path: Path) -> Make:
    """Registers a version: `make("name", 0.71)`."""
    path = Path(__file__).parents[1] / "governance" / "conftest.py"
    spec = importlib.util.spec_from_file_location("governed", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda name, auc: module.make_candidate(store, tmp_path / name, name, auc).version


@pytest.fixture
def governed(store: Store, make: Make) -> Store:
    """Versions 1 and 2 pass, 3 does not."""
    for name, auc in (("one", 0.7), ("two", 0.8), ("three", 0.5)):
        make(name, auc)
    governance.set_policy(store, local_principal(), project_id="flights", model="flights", policy=GOOD)
    return store


def told(store: Store) -> list[tuple[str, str, Any]]:
    """What the audit log tells of endpoints and of the alias."""
    found = store.read(lambda conn: audit.records(conn, project_id="flights"))
    return [
        (one.action, one.subject, one.details.get("number"))
        for one in found
        if one.action.startswith(("endpoint.", "alias."))
    ]


@pytest.mark.parametrize("endpoint", ["flights", "flights-eu"])
def test_what_the_gates_refuse_answers_nowhere(governed: Store, endpoint: str) -> None:
    rollout.deploy_champion(governed, BY, endpoint, "flights", 1)
    before = read_traffic(governed.home, endpoint)
    with pytest.raises(GatesRefused, match=r"0\.5"):
        rollout.deploy_champion(governed, BY, endpoint, "flights", 3)
    with pytest.raises(GatesRefused, match=r"0\.5"):
        rollout.deploy_canary(governed, BY, endpoint, "flights", 3, percent=1)
    assert read_traffic(governed.home, endpoint) == before


def test_the_models_own_endpoint_follows_its_champion(governed: Store) -> None:
    rollout.deploy_champion(governed, BY, "flights", "flights", 1)
    rollout.deploy_champion(governed, BY, "flights", "flights", 2)
    rollout.roll_back(governed, BY, "flights")
    assert told(governed) == [("alias.promote", "flights@champion", n) for n in (1, 2)] + [
        ("alias.rollback", "flights@champion", 1)
    ]
    assert read_traffic(governed.home, "flights").champion.number == 1
    move = models.alias(governed, "flights", "flights", "champion")
    assert move is not None
    assert move.number == 1


def test_another_endpoint_has_a_pointer_of_its_own(governed: Store) -> None:
    for number in (1, 2):
        rollout.deploy_champion(governed, BY, "eu", "flights", number)
    rollout.deploy_champion(governed, BY, "eu", "flights", 2)
    rollout.roll_back(governed, BY, "eu")
    assert told(governed) == [
        ("endpoint.deploy", "eu", 1),
        ("endpoint.deploy", "eu", 2),
        ("endpoint.rollback", "eu", 1),
    ]
    assert models.alias(governed, "flights", "flights", "champion") is None
    assert read_traffic(governed.home, "eu").champion.model == "flights"
    assert audit.verify(governed).problems == []


def test_a_policy_that_names_other_aliases_protects_the_models_own_endpoint(store: Store, make: Make) -> None:
    make("one", 0.7)
    policy = Policy(objectives=GOOD.objectives, reviews=2, aliases=["production"])
    governance.set_policy(store, local_principal(), project_id="flights", model="flights", policy=policy)
    with pytest.raises(GatesRefused, match="0 approvals"):
        rollout.deploy_champion(store, BY, "flights", "flights", 1)
    with pytest.raises(GatesRefused, match="0 approvals"):  # the endpoint would follow it
        governance.set_alias(
            store, project_id="flights", model="flights", alias="champion", number=1, actor="person:ada"
        )
    assert endpoints(store.home) == []


def test_where_the_alias_pointed_before_the_policy_is_not_deployed_unjudged(store: Store, make: Make) -> None:
    make("bad", 0.5)
    governance.set_alias(store, project_id="flights", model="flights", alias="champion", number=1, actor="person:ada")
    governance.set_policy(store, local_principal(), project_id="flights", model="flights", policy=GOOD)
    with pytest.raises(GatesRefused, match=r"0\.5"):
        rollout.deploy_champion(store, BY, "flights", "flights", 1)
    assert endpoints(store.home) == []


def copied(store: Store, model: str, number: int) -> None:
    """Another model, with the files of a version of flights."""
    version = models.get_version(store, "flights", "flights", number)
    models.create_model(store, project_id="flights", name=model, author="person:eve")
    models.create_version(
        store,
        project_id="flights",
        model=model,
        bundle_digest=version.bundle_digest,
        author="person:eve",
        source=None,
        of=version,
    )


@pytest.mark.parametrize("endpoint", ["flights", "eu"])
@pytest.mark.parametrize("weak", [None, Policy()], ids=["no policy", "a weak one"])
def test_no_other_model_takes_a_governed_endpoint_over(governed: Store, endpoint: str, weak: Policy | None) -> None:
    copied(governed, "x", 3)
    if weak is not None:
        governance.set_policy(governed, local_principal(), project_id="flights", model="x", policy=weak)
    rollout.deploy_champion(governed, BY, endpoint, "flights", 1)
    before = read_traffic(governed.home, endpoint)
    with pytest.raises(Refused, match=f"endpoint '{endpoint}' is that of 'flights'") as refused:
        rollout.deploy_champion(governed, BY, endpoint, "x", 1)
    assert refused.value.hint == "boucle deploy x/1 --to ANOTHER_ENDPOINT"
    with pytest.raises(Refused, match="a policy is in force"):
        rollout.deploy_canary(governed, BY, endpoint, "x", 1, percent=10)
    assert read_traffic(governed.home, endpoint) == before
    rollout.deploy_champion(governed, BY, "x", "x", 1)


def test_a_governed_models_name_is_kept_for_it(governed: Store) -> None:
    copied(governed, "x", 3)
    with pytest.raises(Refused, match="endpoint 'flights' is that of 'flights'"):
        rollout.deploy_champion(governed, BY, "flights", "x", 1)
    assert endpoints(governed.home) == []


def test_the_way_back_from_a_governed_model_leads_to_no_other(governed: Store) -> None:
    copied(governed, "x", 3)
    rollout.deploy_champion(governed, BY, "x", "x", 1)
    rollout.deploy_champion(governed, BY, "x", "flights", 1)
    with pytest.raises(Refused, match="endpoint 'x' is that of 'flights'"):
        rollout.roll_back(governed, BY, "x")
    rollout.deploy_champion(governed, BY, "x", "flights", 2)
    rollout.roll_back(governed, BY, "x")
    assert read_traffic(governed.home, "x").champion.number == 1


def test_going_back_under_a_new_policy_is_judged_anew(governed: Store) -> None:
    for number in (1, 2):
        rollout.deploy_champion(governed, BY, "eu", "flights", number)
    strict = Policy(objectives=[Objective(metric="auc_roc", at_least=0.75)])
    governance.set_policy(governed, local_principal(), project_id="flights", model="flights", policy=strict)
    with pytest.raises(GatesRefused, match=r"0\.7"):
        rollout.roll_back(governed, BY, "eu")
    assert read_traffic(governed.home, "eu").champion.number == 2


def test_a_canary_needs_a_permit_and_a_shadow_none(governed: Store) -> None:
    rollout.deploy_champion(governed, BY, "eu", "flights", 1)
    assert rollout.deploy_shadow(governed, BY, "eu", "flights", 3).shadow is not None
    canary = rollout.deploy_canary(governed, BY, "eu", "flights", 2, percent=10).canary
    assert canary is not None
    assert canary.weight == 10
    rollout.take_away(governed, BY, "eu", "canary")
    rollout.take_away(governed, BY, "eu", "shadow")
    assert told(governed)[1:] == [
        ("endpoint.shadow", "eu", 3),
        ("endpoint.deploy", "eu/canary", 2),
        ("endpoint.withdraw", "eu", 2),
        ("endpoint.withdraw", "eu", 3),
    ]
    permits = governance.list_permits(governed, "flights", "flights")
    assert [(one.alias, one.number) for one in permits] == [("endpoint:eu", 1), ("endpoint:eu/canary", 2)]
    assert all(one.used_at for one in permits)


def test_what_is_refused_for_its_columns_uses_no_permit(governed: Store) -> None:
    with pytest.raises(NotFound, match="no champion yet"):
        rollout.deploy_canary(governed, BY, "eu", "flights", 2, percent=10)
    with pytest.raises(InvalidInput, match="an endpoint cannot be called 'a/b'"):
        rollout.deploy_champion(governed, BY, "a/b", "flights", 2)
    assert governance.list_permits(governed, "flights", "flights") == []
    assert told(governed) == []


def test_what_an_endpoint_answers_with_is_not_deleted(store: Store, make: Make) -> None:
    for name in ("one", "two", "three", "four"):
        make(name, 0.7)
    rollout.deploy_champion(store, BY, "elsewhere", "flights", 1)
    rollout.deploy_canary(store, BY, "elsewhere", "flights", 2, percent=10)
    rollout.deploy_shadow(store, BY, "elsewhere", "flights", 3)
    for number in (1, 2, 3):
        with pytest.raises(Refused, match=f"version {number} of 'flights' answers at endpoint 'elsewhere'"):
            rollout.delete_version(store, BY, "flights", number)
    with pytest.raises(Refused, match="answers at endpoint 'elsewhere'"):
        rollout.delete_model(store, BY, "flights")
    rollout.delete_version(store, BY, "flights", 4)
    rollout.take_away(store, BY, "elsewhere", "shadow")
    rollout.delete_version(store, BY, "flights", 3)
    assert [one.number for one in models.list_versions(store, "flights", "flights")] == [1, 2]
