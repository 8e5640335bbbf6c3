"""Every door that a policy closes, tried from every side; reviews, waivers, weaker policies, races."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from boucle.governance import api
from boucle.governance.records import Objective, Policy
from boucle.identity.api import GRANTS, LOOP, Principal, Role, local_principal
from boucle.kernel import audit
from boucle.kernel.clock import FixedClock
from boucle.kernel.errors import Conflict, GatesRefused, InvalidInput, Refused
from boucle.kernel.store import Store
from boucle.models import api as models
from boucle.models import store as tables
from boucle.models.sources import make_version

STRICT = Policy(objectives=[Objective(metric="auc_roc", at_least=0.6)], reviews=1)
WHO = {"project_id": "flights", "model": "flights"}
BY = {**WHO, "actor": "person:ada"}
Make = Callable[..., Any]


def person(name: str, role: Role = "reviewer") -> Principal:
    """A person who logged in."""
    return Principal(f"person:{name}", "person", GRANTS[role], role)


def approved(store: Store, number: int, *, by: str = "grace") -> None:
    api.review_version(store, person(by), **WHO, number=number, verdict="approve")


def champion(store: Store) -> int | None:
    move = models.alias(store, "flights", "flights", "champion")
    return None if move is None else move.number


@pytest.fixture
def guarded(store: Store, candidate: Make) -> Store:
    """Version 1 in charge of alias and stage, version 2 waiting for a review, under a strict policy."""
    for name in ("one", "two"):
        candidate(name, 0.7)
    api.set_policy(store, local_principal(), **WHO, policy=STRICT)
    approved(store, 1)
    api.set_alias(store, **BY, alias="champion", number=1)
    api.set_stage(store, **BY, number=1, stage="Production", archive_existing=False)
    return store


def test_a_protected_production_is_not_left_for_another_protected_stage(store: Store, candidate: Make) -> None:
    candidate("one", 0.7)
    both = Policy(objectives=STRICT.objectives, reviews=STRICT.reviews, stages=["Staging", "Production"])
    api.set_policy(store, local_principal(), **WHO, policy=both)
    approved(store, 1)
    for stage in ("Staging", "Production"):
        api.set_stage(store, **BY, number=1, stage=stage, archive_existing=False)
    with pytest.raises(Refused, match="left by version 1"):
        api.set_stage(store, **BY, number=1, stage="Staging", archive_existing=False)
    assert models.get_version(store, "flights", "flights", 1).stage == "Production"


DOORS: dict[str, Callable[[Store], object]] = {
    "set the alias": lambda store: api.set_alias(store, **BY, alias="champion", number=2),
    "take the alias away": lambda store: api.delete_alias(store, **BY, alias="champion"),
    "enter the stage": lambda store: api.set_stage(store, **BY, number=2, stage="Production", archive_existing=False),
    "enter it and archive": lambda store: api.set_stage(
        store, **BY, number=2, stage="production", archive_existing=True
    ),
    "leave the stage": lambda store: api.set_stage(store, **BY, number=1, stage="Archived", archive_existing=False),
    "delete the version": lambda store: api.delete_version(store, **BY, number=1),
    "delete the model": lambda store: api.delete_model(store, **BY),
    "rename the model": lambda store: api.rename_model(store, **BY, new_name="free"),
    "permit by hand": lambda store: api.issue_permit(
        store,
        api.gate(store, models.get_version(store, "flights", "flights", 2), Policy()),
        alias="champion",
        to="person:ada",
    ),
    "answer at an endpoint": lambda store: api.permit_deployment(store, **BY, endpoint="eu", number=2),
    "answer a share": lambda store: api.permit_deployment(store, **BY, endpoint="flights", number=2, canary=1.0),
    "set the policy without the role": lambda store: api.set_policy(store, person("eve", "author"), **WHO, policy=None),
}


@pytest.mark.parametrize("door", DOORS)
def test_no_door_is_open_without_a_permit(guarded: Store, door: str) -> None:
    with pytest.raises(Refused) as refused:
        DOORS[door](guarded)
    assert refused.value.hint
    assert champion(guarded) == 1
    assert models.get_version(guarded, "flights", "flights", 1).stage == "Production"
    assert api.policy_on(guarded, "flights", "flights").policy == STRICT  # type: ignore[union-attr]
    assert audit.verify(guarded).problems == []


def test_each_door_opens_once_it_is_approved(guarded: Store) -> None:
    approved(guarded, 2)
    api.set_alias(guarded, **BY, alias="champion", number=2)
    api.set_stage(guarded, **BY, number=2, stage="Production", archive_existing=True)
    stages = [one.stage for one in models.list_versions(guarded, "flights", "flights")]
    assert (champion(guarded), stages) == (2, ["Archived", "Production"])
    api.set_alias(guarded, **BY, alias="champion", number=1)  # permitted before under the same policy
    assert [move.number for move in models.history(guarded, "flights", "flights", "champion")] == [1, 2, 1]


def test_a_name_keeps_its_policy_when_its_model_is_made_again(guarded: Store) -> None:
    guarded_by = {**WHO, "model": "other"}
    api.set_policy(guarded, local_principal(), **guarded_by, policy=STRICT)
    models.create_model(guarded, project_id="flights", name="other", author="person:ada")
    api.delete_model(guarded, **guarded_by, actor="person:ada")
    models.create_model(guarded, project_id="flights", name="other", author="person:ada")
    make_version(guarded, **guarded_by, source="models:/flights/1", author="person:ada")
    with pytest.raises(GatesRefused, match="0 approvals"):
        api.set_alias(guarded, **guarded_by, actor="person:ada", alias="champion", number=1)


def test_a_free_model_is_not_renamed_to_a_guarded_name(store: Store) -> None:
    api.set_policy(store, local_principal(), **WHO, policy=STRICT)
    models.create_model(store, project_id="flights", name="free", author="person:ada")
    with pytest.raises(Refused, match="a policy stands on the name flights"):
        api.rename_model(store, project_id="flights", model="free", new_name="flights", actor="person:ada")


def aliases(store: Store, model: str) -> dict[str, int]:
    return store.read(lambda conn: tables.aliases_of(conn, "flights", [model]))[model]


def test_what_was_taken_away_stays_so_under_another_name_and_back(store: Store, candidate: Make) -> None:
    for name in ("one", "two"):
        candidate(name, 0.7)
    for alias in ("live", "champion"):
        api.set_alias(store, **BY, alias=alias, number=1)
    api.delete_alias(store, **BY, alias="live")
    api.delete_version(store, **BY, number=1)
    api.rename_model(store, **BY, new_name="late")
    assert aliases(store, "late") == {}
    assert [one.number for one in models.history(store, "flights", "late", "live")] == [1, None]
    api.set_alias(store, **{**BY, "model": "late"}, alias="live", number=2)
    api.rename_model(store, **{**BY, "model": "late"}, new_name="flights")
    assert aliases(store, "flights") == {"live": 2}
    assert [one.number for one in models.history(store, "flights", "flights", "live")] == [1, None, 2]


def test_what_a_policy_does_not_protect_moves_freely(guarded: Store) -> None:
    api.set_alias(guarded, **BY, alias="shadow", number=2)
    api.set_stage(guarded, **BY, number=2, stage="Staging", archive_existing=True)
    api.delete_alias(guarded, **BY, alias="shadow")
    api.delete_version(guarded, **BY, number=2)
    assert models.alias(guarded, "flights", "flights", "shadow") is None


@pytest.mark.parametrize(
    "principal",
    [
        local_principal(),
        person("root", "admin"),
        person("ann", "author"),
        person("rea", "reader"),
        LOOP,
        Principal("service:bot", "service", GRANTS["reviewer"], "reviewer"),
    ],
    ids=["at the machine", "admin", "author", "reader", "the loop", "a service"],
)
def test_only_a_reviewer_who_logged_in_reviews(guarded: Store, principal: Principal) -> None:
    with pytest.raises(Refused, match="takes a reviewer's token") as refused:
        api.review_version(guarded, principal, **WHO, number=2, verdict="approve")
    assert "boucle users add NAME --role reviewer" in str(refused.value.hint)
    with pytest.raises(Refused, match="takes a reviewer's token"):
        api.waive(guarded, principal, **WHO, number=2, gate="objective(auc_roc)", reason="r")


def test_the_author_never_approves(guarded: Store) -> None:
    made = make_version(guarded, **WHO, source="models:/flights/1", author="person:grace")
    for act in (
        lambda: approved(guarded, made.number),
        lambda: api.waive(guarded, person("grace"), **WHO, number=made.number, gate="parity", reason="r"),
    ):
        with pytest.raises(Refused, match="its author never approves it"):
            act()


def test_a_rejection_holds_until_the_same_person_approves(guarded: Store) -> None:
    approved(guarded, 2)
    api.review_version(guarded, person("rob"), **WHO, number=2, verdict="reject", comment="no")
    with pytest.raises(GatesRefused, match="rejected by person:rob"):
        api.set_alias(guarded, **BY, alias="champion", number=2)
    approved(guarded, 2, by="rob")
    api.set_alias(guarded, **BY, alias="champion", number=2)
    api.review_version(guarded, person("rob"), **WHO, number=1, verdict="reject")
    with pytest.raises(GatesRefused, match="rejected by person:rob"):
        api.set_alias(guarded, **BY, alias="champion", number=1)  # permitted before, rejected since


def test_a_waiver_expires_and_takes_its_permits_with_it(guarded: Store, candidate: Make) -> None:
    number = candidate("weak", 0.5).version.number
    approved(guarded, number)
    waiver = api.waive(
        guarded, person("grace"), **WHO, number=number, gate="objective(auc_roc)", reason="drill", days=2
    )
    move = api.set_alias(guarded, **BY, alias="champion", number=number)
    permit = api.find_permit(guarded, move.permit_id or "")
    assert permit is not None
    assert permit.waivers == [waiver.id]
    api.set_alias(guarded, **BY, alias="champion", number=1)
    assert isinstance(guarded.clock, FixedClock)
    guarded.clock.advance(timedelta(days=2).total_seconds())
    with pytest.raises(GatesRefused, match=r"auc_roc 0\.5 "):
        api.set_alias(guarded, **BY, alias="champion", number=number)


def test_a_rejection_after_the_judgement_ends_it(guarded: Store) -> None:
    """On the way of `boucle run` and the loop, which judge, issue and promote one after the other."""
    approved(guarded, 2)
    version = models.get_version(guarded, "flights", "flights", 2)
    report = api.gate(guarded, version, STRICT)
    permit = api.issue_permit(guarded, report, alias="champion", to="person:ada")
    api.review_version(guarded, person("hedy"), **WHO, number=2, verdict="reject")
    with pytest.raises(GatesRefused, match="rejected by person:hedy"):
        api.promote(guarded, permit, reason="", actor="person:ada", effective_at=guarded.clock.now())
    with pytest.raises(GatesRefused, match="rejected by person:hedy"):
        api.issue_permit(guarded, report, alias="live", to="person:ada")
    assert champion(guarded) == 1
    assert [one.used_at for one in api.list_permits(guarded, "flights", "flights") if one.number == 2] == [None]
    approved(guarded, 2, by="hedy")
    assert api.promote(guarded, permit, reason="", actor="person:ada", effective_at=guarded.clock.now()).number == 2


def test_a_rejection_by_the_approver_ends_it(guarded: Store) -> None:
    approved(guarded, 2)
    report = api.gate(guarded, models.get_version(guarded, "flights", "flights", 2), STRICT)
    api.review_version(guarded, person("grace"), **WHO, number=2, verdict="reject")
    with pytest.raises(GatesRefused, match="0 approvals by persons, at least 1 is required; rejected by"):
        api.issue_permit(guarded, report, alias="champion", to="person:ada")


def test_what_can_never_be_waived(guarded: Store) -> None:
    for gate in ("reviews", "artifacts"):
        with pytest.raises(Refused, match="never waived"):
            api.waive(guarded, person("grace"), **WHO, number=2, gate=gate, reason="r")
    for days in (0, 31, float("nan")):
        with pytest.raises(InvalidInput, match="at most 30"):
            api.waive(guarded, person("grace"), **WHO, number=2, gate="parity", reason="r", days=days)


@pytest.mark.parametrize(
    "weaker",
    [
        None,
        Policy(reviews=1),
        Policy(objectives=STRICT.objectives),
        Policy(objectives=[Objective(metric="auc_roc", at_least=0.5)], reviews=1),
        Policy(reviews=1, aliases=["other"]),
        Policy(objectives=STRICT.objectives, reviews=1, stages=[]),
        Policy(objectives=STRICT.objectives, reviews=1, parity_tolerance=1.0),
        Policy(objectives=STRICT.objectives, reviews=1, parity_tolerance=float("nan")),
        Policy(objectives=[Objective(metric="auc_roc", at_least=float("nan"))], reviews=1),
    ],
)
def test_a_weaker_policy_waits_for_another_person(guarded: Store, weaker: Policy | None) -> None:
    try:
        change = api.set_policy(guarded, person("ada", "admin"), **WHO, policy=weaker, reason="too strict")
    except InvalidInput:
        assert weaker is not None
        return
    assert change is not None
    assert api.policy_on(guarded, "flights", "flights").policy == STRICT  # type: ignore[union-attr]
    with pytest.raises(Refused, match="takes a reviewer's token"):
        api.review_change(guarded, person("ada", "admin"), **WHO, verdict="approve")
    with pytest.raises(Refused, match="asked for this change"):
        api.review_change(guarded, person("ada"), **WHO, verdict="approve")
    entered = api.review_change(guarded, person("grace"), **WHO, verdict="approve")
    assert entered.entered_at is not None
    held = api.policy_on(guarded, "flights", "flights")
    assert (None if held is None else held.policy) == weaker


def test_a_stricter_policy_counts_at_once(guarded: Store) -> None:
    stricter = Policy(objectives=STRICT.objectives, reviews=2, aliases=["champion", "live"])
    assert api.set_policy(guarded, local_principal(), **WHO, policy=stricter) is None
    approved(guarded, 2)
    with pytest.raises(GatesRefused, match="1 approval by persons"):
        api.set_alias(guarded, **BY, alias="live", number=2)


def test_a_change_is_void_once_another_policy_is_in_force(guarded: Store) -> None:
    change = api.set_policy(guarded, local_principal(), **WHO, policy=None)
    assert change is not None
    api.set_policy(guarded, local_principal(), **WHO, policy=Policy(objectives=STRICT.objectives, reviews=2))
    with pytest.raises(Conflict, match="waits no longer"):
        api.review_change(guarded, person("grace"), **WHO, verdict="approve", change_id=change.id)


def test_the_project_s_file_never_weakens_what_was_set(guarded: Store) -> None:
    version = models.get_version(guarded, "flights", "flights", 2)
    report = api.gate(guarded, version, Policy())
    assert not report.passed
    assert api.policy_on(guarded, "flights", "flights").policy == STRICT  # type: ignore[union-attr]
    joined = api.gate(guarded, version, Policy(objectives=[Objective(metric="auc_roc", at_least=0.65)]))
    held = api.policy_on(guarded, "flights", "flights")
    assert held is not None
    assert held.digest == joined.policy_digest
    assert (held.policy.reviews, held.policy.objectives[0].at_least) == (1, 0.65)


def test_of_two_who_expect_the_same_one_wins(store: Store, candidate: Make) -> None:
    for name in ("one", "two", "three"):
        candidate(name, 0.7)
    api.set_alias(store, **BY, alias="champion", number=1)

    def move(number: int) -> int | None:
        try:
            api.set_alias(store, **BY, alias="champion", number=number, expected=1)
        except Conflict:
            return None
        return number

    with ThreadPoolExecutor(2) as pool:
        won = [number for number in pool.map(move, (2, 3)) if number is not None]
    assert won == [champion(store)]


_MOVER = """
import sys
from pathlib import Path
from boucle.governance.api import set_alias
from boucle.kernel.errors import Conflict
from boucle.kernel.store import Store
with Store.open(Path(sys.argv[1])) as store:
    sys.stdin.readline()
    try:
        set_alias(store, project_id="flights", model="flights", alias="champion", number=int(sys.argv[2]),
                  actor="person:ada", expected=1)
    except Conflict:
        sys.exit(9)
"""


@pytest.mark.slow
def test_of_two_processes_one_wins(store: Store, candidate: Make) -> None:
    for name in ("one", "two", "three"):
        candidate(name, 0.7)
    api.set_alias(store, **BY, alias="champion", number=1)
    movers = [
        subprocess.Popen([sys.executable, "-c", _MOVER, str(store.home), number], stdin=subprocess.PIPE)
        for number in ("2", "3")
    ]
    for mover in movers:
        assert mover.stdin is not None
        mover.stdin.write(b"go\n")
        mover.stdin.flush()
    for mover in movers:
        mover.communicate(timeout=60)
    assert sorted(mover.returncode for mover in movers) == [0, 9]
    assert len(models.history(store, "flights", "flights", "champion")) == 2


def test_without_an_expectation_moves_take_turns_and_history_shows_all(store: Store, candidate: Make) -> None:
    for name in ("one", "two", "three"):
        candidate(name, 0.7)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda number: api.set_alias(store, **BY, alias="champion", number=number), (1, 2, 3)))
    assert sorted(move.number or 0 for move in models.history(store, "flights", "flights", "champion")) == [1, 2, 3]
