"""What a refusal says to do next is about the pointer that was refused, in its project."""

from collections.abc import Callable
from typing import Any

import pytest

from boucle.governance import api
from boucle.governance.records import Policy
from boucle.identity.api import local_principal
from boucle.kernel.errors import NotFound, Refused
from boucle.kernel.store import Store
from boucle.models import api as models

WHO = {"project_id": "flights", "model": "flights"}
BY = {**WHO, "actor": "person:ada"}
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


def test_the_same_weaker_policy_asked_for_again_is_one_change(kept: Store) -> None:
    first, again = (api.set_policy(kept, local_principal(), **WHO, policy=None, reason=why) for why in ("over", "so"))
    assert first == again
    other = api.set_policy(kept, local_principal(), **WHO, policy=Policy())
    assert api.policy_state(kept, "flights", "flights").changes == [first, other]


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
