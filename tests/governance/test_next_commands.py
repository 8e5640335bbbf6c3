"""What a refusal says to do next is about the pointer that was refused, in its project."""

from collections.abc import Callable
from typing import Any

import pytest

from boucle.governance import api
from boucle.governance.records import Policy, PolicyChange
from boucle.identity.api import Principal, local_principal
from boucle.identity.records import GRANTS
from boucle.kernel import audit
from boucle.kernel.errors import Conflict, NotFound, Refused
from boucle.kernel.store import Store
from boucle.models import api as models

WHO = {"project_id": "flights", "model": "flights"}
BY = {**WHO, "actor": "person:ada"}
GRACE = Principal("person:grace", "person", GRANTS["reviewer"], "reviewer")
Make = Callable[..., Any]


@pytest.fixture
def kept(store: Store, candidate: Make) -> Store:
    """Version 1 behind three pointers that a policy protects."""
    candidate("one", 0.7)
    api.set_policy(store, local_principal(), **WHO, policy=Policy(aliases=["champion", "prod"]))
    for alias in ("champion", "prod"):
        api.set_alias(store, **BY, alias=alias, number=1)
    api.set_stage(store, **BY, number=1, stage="Production", archive_existing=False)
    return store


@pytest.mark.parametrize(
    ("take_away", "option"),
    [
        (lambda store: api.delete_alias(store, **BY, alias="champion"), ""),
        (lambda store: api.delete_alias(store, **BY, alias="prod"), " --alias prod"),
        (
            lambda store: api.set_stage(store, **BY, number=1, stage="Archived", archive_existing=False),
            " --stage Production --archive",
        ),
    ],
    ids=["champion", "another alias", "stage"],
)
def test_what_keeps_a_pointer_where_it_is_names_the_command_that_moves_it(
    kept: Store, take_away: Callable[[Store], None], option: str
) -> None:
    with pytest.raises(Refused, match="a policy protects") as refused:
        take_away(kept)
    assert refused.value.hint == f"boucle models promote flights NUMBER{option} --in flights"


@pytest.mark.parametrize("alias", ["Production", "production"])
def test_no_alias_passes_for_a_protected_stage(kept: Store, candidate: Make, alias: str) -> None:
    candidate("two", 0.7)
    with pytest.raises(Refused, match="would pass for it") as refused:
        api.set_alias(kept, **BY, alias=alias, number=2)
    assert refused.value.hint == "boucle models promote flights 2 --stage Production --in flights"
    assert api.set_alias(kept, **BY, alias="staging", number=2).number == 2, "no policy protects that stage"
    api.set_policy(kept, local_principal(), **WHO, policy=Policy(aliases=["champion", "prod", alias]))
    assert api.set_alias(kept, **BY, alias=alias, number=2).permit_id, "as an alias it is protected itself"


def ask(store: Store, policy: Policy | None, reason: str = "") -> PolicyChange:
    change = api.set_policy(store, local_principal(), **WHO, policy=policy, reason=reason)
    assert change is not None
    return change


def test_the_same_weaker_policy_asked_for_again_is_one_change(kept: Store) -> None:
    first = ask(kept, None, "over")
    assert first == ask(kept, None, "over") == ask(kept, None)
    other, why = ask(kept, Policy()), ask(kept, None, "retired")
    assert api.policy_state(kept, "flights", "flights").changes == [first, other, why]


def test_what_was_rejected_and_is_asked_for_again_is_another_change(kept: Store) -> None:
    first = ask(kept, None, "over")
    api.review_change(kept, GRACE, **WHO, verdict="reject", change_id=first.id)
    again = ask(kept, None, "over")
    assert again.id != first.id
    assert again == ask(kept, None, "over")
    told = kept.read(lambda conn: audit.records(conn, project_id="flights", subject="flights"))
    assert [one.details["change"] for one in told if one.action == "policy.ask"] == [first.id, again.id]


def test_an_approval_without_an_id_never_picks_among_several_changes(kept: Store) -> None:
    weaker, removal = ask(kept, Policy(), "too strict"), ask(kept, None)
    with pytest.raises(Conflict, match="2 changes of the policy of flights wait") as refused:
        api.review_change(kept, GRACE, **WHO, verdict="approve")
    assert refused.value.hint == "boucle models policy show flights --in flights"
    with pytest.raises(Refused) as waits:
        api.refuse_waiting(kept, weaker)
    assert f"boucle models policy approve flights --change {weaker.id} --in flights" in (waits.value.hint or "")
    api.review_change(kept, GRACE, **WHO, verdict="approve", change_id=weaker.id)
    assert api.policy_state(kept, "flights", "flights").policy == Policy()
    with pytest.raises(Conflict, match="waits no longer"):
        api.review_change(kept, GRACE, **WHO, verdict="approve", change_id=removal.id)


def test_an_alias_that_is_older_than_the_policy_and_passes_for_its_stage_is_told_of(
    store: Store, candidate: Make
) -> None:
    candidate("one", 0.7)
    candidate("two", 0.7)
    before = api.set_alias(store, **BY, alias="production", number=1)
    api.set_policy(store, local_principal(), **WHO, policy=Policy())
    (notice,) = api.policy_state(store, "flights", "flights").notices
    assert notice.startswith("the alias 'production' points at version 1 and passes for the stage Production")
    assert api.set_alias(store, **BY, alias="production", number=1) == before, "it stands there already"
    with pytest.raises(Refused, match="would pass for it"):
        api.set_alias(store, **BY, alias="production", number=2)
    api.set_policy(store, local_principal(), **WHO, policy=Policy(aliases=["champion", "production"]))
    assert api.policy_state(store, "flights", "flights").notices == []


def test_a_renamed_model_s_history_is_told_under_its_new_name(store: Store, candidate: Make) -> None:
    candidate("one", 0.7)
    api.set_alias(store, **BY, alias="champion", number=1)
    then = store.clock.now()
    api.rename_model(store, **BY, new_name="delays")

    def asked() -> NotFound:
        with pytest.raises(NotFound) as none:
            models.version_then(store, "flights", "flights", "champion", then)
        return none.value

    assert "a model of this name is called delays since, and its history with it" in asked().message
    assert asked().hint == f"boucle models history delays --alias champion --at {then.isoformat()} --in flights"
    assert models.version_then(store, "flights", "delays", "champion", then) == 1
    models.create_model(store, project_id="flights", name="flights", author="person:ada")
    assert "is called delays since" in asked().message, "although another model has the name now"
    api.rename_model(store, **BY, new_name="arrivals")
    assert "is called arrivals since" in asked().message
    with pytest.raises(NotFound, match=r"^no version was `champion`"):
        models.version_then(store, "flights", "arrivals", "champion", then)


def test_who_asks_by_an_old_name_is_told_the_new_one(store: Store, candidate: Make) -> None:
    candidate("one", 0.7)
    move = api.set_alias(store, **BY, alias="champion", number=1)

    def refused() -> set[str | None]:
        hints = set()
        for ask_for in (
            lambda: models.get_model(store, "flights", "flights"),
            lambda: models.history(store, "flights", "flights", "champion"),
        ):
            with pytest.raises(NotFound, match="Registered Model with name=flights not found") as none:
                ask_for()
            hints.add(none.value.hint)
        return hints

    api.rename_model(store, **BY, new_name="delays")
    told = {"it is called delays since: boucle models list delays --in flights"}
    assert refused() == told
    assert [one.number for one in models.history(store, "flights", "delays", "champion")] == [move.number]
    models.create_model(store, project_id="flights", name="flights", author="person:ada")
    assert models.history(store, "flights", "flights", "champion") == []
    api.delete_model(store, **BY)
    assert refused() == told, "although another model had the name meanwhile"
    api.rename_model(store, **{**BY, "model": "delays"}, new_name="flights")
    assert [one.number for one in models.history(store, "flights", "flights", "champion")] == [1]


def test_a_name_that_had_versions_of_another_model_meanwhile_is_not_given_back(store: Store, candidate: Make) -> None:
    candidate("one", 0.7)
    api.rename_model(store, **BY, new_name="delays")
    candidate("two", 0.7)
    api.delete_model(store, **BY)
    with pytest.raises(Conflict, match="the numbers of its versions are used"):
        api.rename_model(store, **{**BY, "model": "delays"}, new_name="flights")
