"""What is said at once: who is missing, what a new policy leaves as it is, and that a name has no second spelling."""

from collections.abc import Callable
from typing import Any

import pytest

from boucle.governance import api
from boucle.governance.records import Objective, Policy
from boucle.identity import accounts
from boucle.identity.api import GRANTS, Principal, local_principal
from boucle.kernel.errors import BoucleError, GatesRefused, Refused
from boucle.kernel.store import Store
from boucle.models import api as models

WHO = {"project_id": "flights", "model": "flights"}
USERS = "boucle users add NAME --role admin, then boucle users add NAME --role reviewer"
Make = Callable[..., Any]


def to_champion(store: Store, number: int, alias: str = "champion") -> None:
    api.set_alias(store, **WHO, alias=alias, number=number, actor="person:ada")


def test_without_users_every_refusal_says_how_to_add_them(store: Store, candidate: Make) -> None:
    policy = Policy(objectives=[Objective(metric="auc_roc", at_least=0.6)], reviews=1)
    report = api.gate(store, candidate("one", 0.7).version, policy)
    bad = api.gate(store, candidate("two", 0.1).version, policy)
    doors: list[Callable[[], object]] = [
        lambda: to_champion(store, 1),
        lambda: to_champion(store, 2),
        lambda: api.set_stage(store, **WHO, number=1, stage="Production", archive_existing=True, actor="person:ada"),
        lambda: api.issue_permit(store, report, alias="champion", to="person:ada"),
        lambda: api.issue_permit(store, bad, alias="champion", to="person:ada"),
        lambda: api.review_version(store, local_principal(), **WHO, number=1, verdict="approve"),
    ]
    for door in doors:
        with pytest.raises(Refused) as refused:
            door()
        assert USERS in str(refused.value.hint)
    assert [api.for_reviews(store, one) for one in (report, bad)] == [USERS, USERS]  # what `boucle run` says
    assert api.standing(store, "flights", "flights", 1).next == USERS
    assert api.policy_state(store, "flights", "flights").notices == [
        f"it asks for reviews, and without users nobody can review: {USERS}"
    ]
    accounts.add(store, "ada", "admin", actor="person:root")
    with pytest.raises(BoucleError) as later:
        to_champion(store, 1)
    assert later.value.hint == api.for_reviews(store, report) == "boucle models approve flights 1 --in flights"
    assert api.for_reviews(store, bad) is None
    assert api.policy_state(store, "flights", "flights").notices == []


def test_a_new_policy_says_what_goes_on_pointing_at_what_it_refuses(store: Store, candidate: Make) -> None:
    candidate("one", 0.5)
    to_champion(store, 1)
    api.set_stage(store, **WHO, number=1, stage="Production", archive_existing=False, actor="person:ada")
    to_champion(store, 1, "shadow")
    policy = Policy(objectives=[Objective(metric="auc_roc", at_least=0.6)])
    api.set_policy(store, local_principal(), **WHO, policy=policy)
    told = api.policy_state(store, "flights", "flights").notices
    assert [one.split(":")[0] for one in told] == [
        "'champion' points at version 1, which does not meet it, and goes on pointing there until it is moved",
        "'stage",
    ]
    assert "auc_roc 0.5 " in told[0]
    move = models.alias(store, "flights", "flights", "champion")
    assert move is not None
    assert move.number == 1
    to_champion(store, candidate("two", 0.7).version.number)
    assert len(api.policy_state(store, "flights", "flights").notices) == 1


@pytest.mark.parametrize("alias", ["Champion", "CHAMPION", "\uff43hampion"])
def test_a_protected_alias_has_no_second_spelling(store: Store, candidate: Make, alias: str) -> None:
    candidate("one", 0.5)
    api.set_policy(
        store, local_principal(), **WHO, policy=Policy(objectives=[Objective(metric="auc_roc", at_least=0.6)])
    )
    with pytest.raises(GatesRefused):
        to_champion(store, 1, alias)
    waiver = Principal("person:grace", "person", GRANTS["reviewer"], "reviewer")
    api.waive(store, waiver, **WHO, number=1, gate="objective(auc_roc)", reason="drill")
    to_champion(store, 1, alias)
    with pytest.raises(Refused, match="a policy protects"):
        api.delete_alias(store, **WHO, alias=alias, actor="person:ada")
