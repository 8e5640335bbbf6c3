"""What stops counting once something else is in force: waiting changes, waivers; and who a policy was set by."""

from collections.abc import Callable
from typing import Any

import pytest

from boucle.governance import api
from boucle.governance.records import Objective, Policy
from boucle.identity.api import GRANTS, Principal, local_principal
from boucle.kernel import audit
from boucle.kernel.errors import Conflict, GatesRefused, InvalidInput, Refused
from boucle.kernel.store import Store
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


def test_a_waiver_forgives_one_evidence(store: Store, candidate: Make) -> None:
    run = record_run(store, project_id="flights", experiment="e", name="r", params={}, metrics={"auc_roc": 0.55})
    digest = store.blobs.put(b"model")
    store.write(lambda conn: put(conn, "flights", Place("run", run.id, 1, "model/m"), digest, 5, 0))
    candidate("good", 0.7)
    number = make_version(store, **WHO, source=f"runs:/{run.id}/model", author="person:ada").number
    put_in_force(store, Policy(objectives=AUC))
    api.waive(store, GRACE, **WHO, number=number, gate="objective(auc_roc)", reason="nearly")
    to_champion(store, number)
    to_champion(store, 1)
    to_champion(store, number)  # permitted before, and the waiver is still about what is reported
    to_champion(store, 1)
    points = [Point("auc_roc", 9, 9**13, 0.1, False)]
    Inbox(store).log_now([Batch(project_id="flights", run_id=run.id, points=points)])
    with pytest.raises(
        GatesRefused, match=r"auc_roc 0\.1, .*the waiver of person:grace is void: it was about the evid"
    ):
        to_champion(store, number)
    with pytest.raises(Refused, match="counts no longer"):
        api.rollback(
            store, **WHO, alias="champion", number=number, reason="", actor="person:ada", effective_at=store.clock.now()
        )


def test_only_a_gate_that_there_is_can_be_waived(store: Store, candidate: Make) -> None:
    candidate("one", 0.5)
    with pytest.raises(InvalidInput, match="allowed are none"):
        api.waive(store, GRACE, **WHO, number=1, gate="objective(auc_roc)", reason="r")
    put_in_force(store, STRICT)
    with pytest.raises(InvalidInput, match=r"no gate of version 1 .*allowed are objective\(auc_roc\), parity"):
        api.waive(store, GRACE, **WHO, number=1, gate="objective(auc)", reason="r")
    assert api.standing(store, "flights", "flights", 1).waivers == []
