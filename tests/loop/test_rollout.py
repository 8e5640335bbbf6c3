"""Deploying and rolling back: what governance permits goes to an endpoint, and the audit log tells of it."""

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from msgspec.structs import replace

from boucle.governance import api as governance
from boucle.governance.records import Objective, Policy
from boucle.identity.api import local_principal
from boucle.kernel import audit
from boucle.kernel.errors import GatesRefused, InvalidInput, NotFound, Refused
from boucle.kernel.store import Store
from boucle.loop import rollout
from boucle.loop.rollout import By
from boucle.models import api as models
from boucle.serving.api import deploy as serving_deploy
from boucle.serving.api import endpoints, read_traffic
from boucle.serving.traffic import write_traffic

BY = By(project_id="flights", actor="person:ada", reason="a try")
GOOD = Policy(objectives=[Objective(metric="auc_roc", at_least=0.6)])
Make = Callable[..., Any]


@pytest.fixture
def governed(store: Store, make: Make) -> Store:
    """Versions 1 and 2 pass, 3 does not."""
    for name, auc in (("one", 0.7), ("two", 0.8), ("three", 0.5)):
        make(name, auc)
    governance.set_policy(store, local_principal(), project_id="flights", model="flights", policy=GOOD)
    return store


def elsewhere(store: Store, project: str) -> None:
    """A model flights of another project, under no policy, with the files of the first version."""
    version = models.get_version(store, "flights", "flights", 1)
    models.create_model(store, project_id=project, name="flights", author="person:eve")
    models.create_version(
        store,
        project_id=project,
        model="flights",
        bundle_digest=version.bundle_digest,
        author="person:eve",
        source=None,
    )


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
    assert refused.value.hint == "boucle deploy x/1 --to ANOTHER_ENDPOINT --in flights"
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


def test_an_endpoint_is_the_projects_that_deployed_to_it_first(governed: Store) -> None:
    rollout.deploy_champion(governed, BY, "flights", "flights", 1)
    rollout.deploy_champion(governed, BY, "flights", "flights", 2)
    elsewhere(governed, "other")
    before, theirs = read_traffic(governed.home, "flights"), By(project_id="other", actor="person:eve")
    assert before.project == "flights"
    tries: dict[str, Callable[[], object]] = {
        "deploy": lambda: rollout.deploy_champion(governed, theirs, "flights", "flights", 1),
        "canary": lambda: rollout.deploy_canary(governed, theirs, "flights", "flights", 1, percent=10),
        "shadow": lambda: rollout.deploy_shadow(governed, theirs, "flights", "flights", 1),
        "roll back": lambda: rollout.roll_back(governed, theirs, "flights"),
        "take away": lambda: rollout.take_away(governed, theirs, "flights", "canary"),
    }
    rollout.deploy_canary(governed, BY, "flights", "flights", 1, percent=10)
    before = read_traffic(governed.home, "flights")
    for name, attempt in tries.items():
        with pytest.raises(Refused, match="'flights' belongs to the project 'flights'") as refused:
            attempt()
        assert "boucle deploy VERSION --to ANOTHER_ENDPOINT" in str(refused.value.hint), name
    assert read_traffic(governed.home, "flights") == before
    move = models.alias(governed, "other", "flights", "champion")
    assert move is None
    assert rollout.deploy_champion(governed, theirs, "theirs", "flights", 1).project == "other"


def test_an_endpoint_of_an_older_record_is_the_projects_that_had_its_champion_first(governed: Store) -> None:
    rollout.deploy_champion(governed, BY, "flights", "flights", 1)
    elsewhere(governed, "other")  # with the same files under the same name and number
    write_traffic(governed.home, replace(read_traffic(governed.home, "flights"), project=None))
    with pytest.raises(Refused, match="belongs to the project 'flights'"):
        rollout.deploy_champion(governed, By(project_id="other", actor="person:eve"), "flights", "flights", 1)
    assert rollout.deploy_champion(governed, BY, "flights", "flights", 2).project == "flights"


def test_what_another_project_serves_keeps_no_version_from_going(governed: Store) -> None:
    elsewhere(governed, "other")
    rollout.deploy_champion(governed, BY, "eu", "flights", 1)
    rollout.delete_version(governed, By(project_id="other", actor="person:eve"), "flights", 1)


def test_a_model_that_an_endpoint_answers_with_keeps_its_name(store: Store, make: Make) -> None:
    """Or its versions would not be known as those that answer, and could be deleted."""
    make("one", 0.7)
    make("two", 0.7)
    rollout.deploy_champion(store, BY, "flights", "flights", 1)
    rollout.deploy_canary(store, BY, "flights", "flights", 2, percent=10)
    with pytest.raises(Refused, match="version 1 of 'flights' answers at endpoint 'flights'") as refused:
        rollout.rename_model(store, BY, "flights", "delays")
    assert refused.value.hint == (
        "let another one answer there first: boucle deploy ANOTHER_MODEL/NUMBER --to flights --in flights"
    )
    assert models.get_model(store, "flights", "flights").name == "flights"
    copied(store, "delays", 1)
    rollout.rename_model(store, BY, "delays", "late")
    assert models.get_model(store, "flights", "late").name == "late"


def test_a_version_is_not_deleted_while_it_is_being_deployed(store: Store, make: Make) -> None:
    """Between its permit and the traffic file, which says that it answers."""
    make("one", 0.7)
    make("two", 0.7)
    rollout.deploy_champion(store, BY, "eu", "flights", 1)
    ended: list[object] = []

    def delete() -> None:
        try:
            ended.append(rollout.delete_version(store, BY, "flights", 2))
        except Refused as error:
            ended.append(error)

    deleting = Thread(target=delete)

    def permitted(_: bool) -> None:
        deleting.start()
        deleting.join(0.3)
        assert ended == []

    version = models.get_version(store, "flights", "flights", 2)
    serving_deploy(
        store,
        project_id="flights",
        number=2,
        bundle_digest=version.bundle_digest,
        endpoint="eu",
        model="flights",
        permitted=permitted,
    )
    deleting.join(30)
    [refused] = ended
    assert isinstance(refused, Refused)
    assert "version 2 of 'flights' answers at endpoint 'eu'" in refused.message
