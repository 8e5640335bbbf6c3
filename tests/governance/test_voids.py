"""What stops counting once something else is in force: waiting changes, waivers; and who a policy was set by."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from boucle.governance import api
from boucle.governance.records import Objective, Policy
from boucle.identity.api import GRANTS, Principal, local_principal
from boucle.kernel import audit
from boucle.kernel.errors import Conflict, GatesRefused, InvalidInput
from boucle.kernel.store import Store
from boucle.models.api import create_model
from boucle.models.sources import make_version
from boucle.runs.api import record_run
from boucle.runs.artifact_paths import Place
from boucle.runs.artifacts import put
from boucle.runs.batch import Batch, Point
from boucle.runs.inbox import Inbox

WHO = {"project_id": "flights", "model": "flights"}
AUC = [Objective(metric="auc_roc", at_least=0.6)]
STRICT = Policy(objectives=AUC, reviews=1)
GRACE = Principal("person:grace", "person", GRANTS["reviewer"], "reviewer")
ROB = Principal("person:rob", "person", GRANTS["reviewer"], "reviewer")
SUE = Principal("person:sue", "person", GRANTS["reviewer"], "reviewer")
Make = Callable[..., Any]


def put_in_force(store: Store, policy: Policy | None) -> None:
    """Set a policy, with the approvals that it takes."""
    change = api.set_policy(store, local_principal(), **WHO, policy=policy)
    for principal in (GRACE, ROB, SUE):
        if change is not None and change.entered_at is None:
            change = api.review_change(store, principal, **WHO, verdict="approve", change_id=change.id)
    held = api.policy_on(store, "flights", "flights")
    assert (None if held is None else held.policy) == policy


def to_champion(store: Store, number: int) -> None:
    api.set_alias(store, **WHO, alias="champion", number=number, actor="person:ada")


def reported_version(store: Store, auc: float) -> tuple[str, int]:
    """A version that is judged by what its run reported: the run and the number."""
    run = record_run(store, project_id="flights", experiment="e", name="r", params={}, metrics={"auc_roc": auc})
    digest = store.blobs.put(b"model")
    store.write(lambda conn: put(conn, "flights", Place("run", run.id, 1, "model/m"), digest, 5, 0))
    create_model_if_missing(store)
    return run.id, make_version(store, **WHO, source=f"runs:/{run.id}/model", author="person:ada").number


def create_model_if_missing(store: Store) -> None:
    with suppress(Conflict):
        create_model(store, project_id="flights", name="flights", author="person:ada")


def report(store: Store, run_id: str, name: str, value: float, step: int = 9) -> None:
    """The run reports a newer value."""
    points = [Point(name, step, 9**13, 0.0 if math.isnan(value) else value, math.isnan(value))]
    Inbox(store).log_now([Batch(project_id="flights", run_id=run_id, points=points)])


def test_a_change_never_comes_back_to_life(store: Store) -> None:
    two = Policy(objectives=AUC, reviews=2)
    put_in_force(store, two)
    change = api.set_policy(store, local_principal(), **WHO, policy=Policy())
    assert change is not None
    api.review_change(store, GRACE, **WHO, verdict="approve", change_id=change.id)
    put_in_force(store, Policy(objectives=AUC, reviews=3))
    put_in_force(store, two)
    assert api.policy_on(store, "flights", "flights").policy == two  # type: ignore[union-attr]
    assert api.policy_state(store, "flights", "flights").changes == []
    with pytest.raises(Conflict, match="waits no longer"):
        api.review_change(store, ROB, **WHO, verdict="approve", change_id=change.id)


def test_a_person_makes_the_policy_of_the_file_one_of_their_own(store: Store, candidate: Make) -> None:
    policy = Policy(objectives=AUC)
    version = candidate("one", 0.7).version
    api.gate(store, version, policy)
    assert api.policy_on(store, "flights", "flights").set_by is None  # type: ignore[union-attr]
    for _ in range(2):
        assert api.set_policy(store, local_principal(), **WHO, policy=policy) is None
    entered = [
        record.details.get("set_by")
        for record in store.read(lambda conn: audit.records(conn, project_id="flights"))
        if record.action == "policy.enter"
    ]
    assert entered == [None, local_principal().name]
    api.gate(store, version, Policy())
    held = api.policy_on(store, "flights", "flights")
    assert held is not None
    assert (held.policy, held.set_by) == (policy, local_principal().name)


@pytest.mark.parametrize(
    "stricter",
    [
        Policy(objectives=[Objective(metric="auc_roc", at_least=0.65)]),
        Policy(objectives=AUC, measured=True),
        Policy(objectives=AUC, parity_tolerance=1e-12),
    ],
)
def test_a_waiver_is_void_under_another_policy(store: Store, candidate: Make, stricter: Policy) -> None:
    put_in_force(store, Policy(objectives=AUC))
    number = candidate("weak", 0.5).version.number
    api.waive(store, GRACE, **WHO, number=number, gate="objective(auc_roc)", reason="drill")
    to_champion(store, number)
    to_champion(store, candidate("good", 0.7).version.number)
    put_in_force(store, stricter)
    with pytest.raises(GatesRefused, match="the waiver of person:grace is void: it was about the policy"):
        to_champion(store, number)


def test_a_waiver_forgives_one_evidence(store: Store) -> None:
    run_id, number = reported_version(store, 0.55)
    put_in_force(store, Policy(objectives=AUC))
    api.waive(store, GRACE, **WHO, number=number, gate="objective(auc_roc)", reason="nearly")
    report(store, run_id, "auc_roc", 0.1)
    with pytest.raises(
        GatesRefused, match=r"auc_roc 0\.1, .*the waiver of person:grace is void: it was about the evid"
    ):
        to_champion(store, number)


def test_what_is_logged_later_does_not_touch_a_version_that_took_charge(store: Store, candidate: Make) -> None:
    run_id, number = reported_version(store, 0.7)
    other = candidate("other", 0.7).version.number
    put_in_force(store, Policy(objectives=AUC, reviews=1))
    for one in (number, other):
        api.review_version(store, GRACE, **WHO, number=one, verdict="approve")
    to_champion(store, number)
    before = api.standing(store, "flights", "flights", number).report
    report(store, run_id, "auc_roc", 0.1)
    held = api.standing(store, "flights", "flights", number)
    assert held.report is not None
    assert before is not None
    assert held.report.passed
    assert held.report.verdicts == before.verdicts
    assert held.next is None
    api.set_stage(
        store, **WHO, number=number, stage="Production", archive_existing=False, actor="person:ada"
    )  # another pointer: judged anew, by the same evidence
    to_champion(store, other)
    to_champion(store, number)
    assert api.standing(store, "flights", "flights", number).next is None


def test_what_a_new_policy_asks_for_besides_is_read_from_the_run(store: Store) -> None:
    run_id, number = reported_version(store, 0.7)
    put_in_force(store, Policy(objectives=AUC))
    to_champion(store, number)
    report(store, run_id, "auc_roc", 0.1)
    report(store, run_id, "recall", math.nan)
    put_in_force(store, Policy(objectives=[*AUC, Objective(metric="recall", at_least=0.5)]))
    verdicts = api.standing(store, "flights", "flights", number).report.verdicts  # type: ignore[union-attr]
    assert [one.passed for one in verdicts if one.gate == "objective(auc_roc)"] == [True]
    assert [one.passed for one in verdicts if one.gate == "objective(recall)"] == [False]
    report(store, run_id, "recall", 0.6)
    assert api.standing(store, "flights", "flights", number).report.passed  # type: ignore[union-attr]


def test_what_was_missing_when_a_version_took_charge_stays_missing_and_the_refusal_says_so(store: Store) -> None:
    run_id, number = reported_version(store, 0.7)
    put_in_force(store, Policy(objectives=[Objective(metric="recall", at_least=0.5)]))
    waived = {"number": number, "gate": "objective(recall)", "reason": "a trial"}
    api.waive(store, GRACE, **WHO, **waived)  # type: ignore[arg-type]
    to_champion(store, number)
    report(store, run_id, "recall", 0.6)
    (verdict, *_) = api.standing(store, "flights", "flights", number).report.verdicts  # type: ignore[union-attr]
    assert f"not reported by run {run_id} when this took charge" in verdict.message
    assert "register the same files as a new version" in verdict.message
    again = make_version(store, **WHO, source=f"runs:/{run_id}/model", author="person:ada").number
    to_champion(store, again)


def test_a_version_that_never_took_charge_is_judged_by_what_its_run_says_now(store: Store) -> None:
    run_id, number = reported_version(store, 0.7)
    put_in_force(store, Policy(objectives=AUC))
    report(store, run_id, "auc_roc", 0.1)
    with pytest.raises(GatesRefused, match=r"auc_roc 0\.1"):
        to_champion(store, number)
    report(store, run_id, "auc_roc", 0.8, step=10)
    to_champion(store, number)


def test_only_a_gate_that_there_is_can_be_waived(store: Store, candidate: Make) -> None:
    candidate("one", 0.5)
    with pytest.raises(InvalidInput, match="allowed are none"):
        api.waive(store, GRACE, **WHO, number=1, gate="objective(auc_roc)", reason="r")
    put_in_force(store, STRICT)
    with pytest.raises(InvalidInput, match=r"no gate of version 1 .*allowed are objective\(auc_roc\), parity"):
        api.waive(store, GRACE, **WHO, number=1, gate="objective(auc)", reason="r")
    assert api.standing(store, "flights", "flights", 1).waivers == []
