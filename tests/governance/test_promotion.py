"""From a version to the alias: gates, permits, promotion, rollback, and every way around them that must fail."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from boucle.governance import api
from boucle.governance.records import GateReport, Objective, Permit, Policy
from boucle.kernel import audit
from boucle.kernel.clock import FixedClock
from boucle.kernel.digests import Digest
from boucle.kernel.errors import Conflict, Refused
from boucle.kernel.store import Store
from boucle.models import api as models
from boucle.models.records import AliasMove

POLICY = Policy(objectives=[Objective(metric="auc_roc", at_least=0.62)])
STRICTER = Policy(objectives=[Objective(metric="auc_roc", at_least=0.65)])
LOOP = "service:loop"
Make = Callable[..., Any]


def judged(store: Store, candidate: Any, policy: Policy = POLICY) -> GateReport:
    return api.gate(store, candidate.version, policy)


def permitted(store: Store, report: GateReport, alias: str = "champion") -> Permit:
    return api.issue_permit(store, report, alias=alias, to=LOOP)


def promoted(store: Store, permit: Permit, at: datetime | None = None) -> AliasMove:
    return api.promote(store, permit, reason="gates passed", actor=LOOP, effective_at=at or store.clock.now())


def rolled_back(store: Store, number: int, alias: str = "champion") -> AliasMove:
    return api.rollback(
        store,
        project_id="flights",
        model="flights",
        alias=alias,
        number=number,
        reason="worse",
        actor=LOOP,
        effective_at=store.clock.now(),
    )


def champion(store: Store) -> int | None:
    move = models.alias(store, "flights", "flights", "champion")
    return None if move is None else move.number


def actions(store: Store) -> list[str]:
    return [record.action for record in store.read(lambda conn: audit.records(conn, project_id="flights"))]


def test_a_version_whose_gates_pass_becomes_champion(store: Store, candidate: Make) -> None:
    move = promoted(store, permitted(store, judged(store, candidate("good", 0.71))))
    assert (champion(store), move.number) == (1, 1)
    assert actions(store) == [
        "model.create",
        "model.register",
        "policy.enter",
        "gate.pass",
        "permit.issue",
        "alias.promote",
    ]
    assert audit.verify(store).problems == []


def test_a_failing_version_is_refused_with_its_numbers_and_the_refusal_is_kept(store: Store, candidate: Make) -> None:
    report = judged(store, candidate("shuffled", 0.4987))
    assert not report.passed
    with pytest.raises(Refused, match=r"auc_roc 0\.4987 \(0\.4887 to 0\.5087 on 7,000 rows\), at least") as refused:
        permitted(store, report)
    assert refused.value.details["verdicts"][0] == {  # type: ignore[index]
        "gate": "objective(auc_roc)",
        "passed": False,
        "measured": 0.4987,
        "required": "at least 0.62",
        "message": "auc_roc 0.4987 (0.4887 to 0.5087 on 7,000 rows), at least 0.62 is required",
    }
    assert champion(store) is None
    assert api.list_reports(store, "flights", "flights", 1) == [report]
    assert "gate.refuse" in actions(store)


def test_a_report_that_claims_to_have_passed_is_not_believed(store: Store, candidate: Make) -> None:
    report = judged(store, candidate("bad", 0.5))
    with pytest.raises(Refused, match="the gates refuse flights version 1"):
        permitted(store, msgspec.structs.replace(report, passed=True, verdicts=[]))


def test_no_permit_without_a_stored_report(store: Store, candidate: Make) -> None:
    report = judged(store, candidate("good", 0.71))
    with pytest.raises(Refused, match="no gate has judged flights version 9"):
        permitted(store, msgspec.structs.replace(report, number=9))
    with pytest.raises(Refused, match="has the bundle_digest"):
        permitted(store, msgspec.structs.replace(report, bundle_digest=Digest("f" * 64)))


def test_a_permit_moves_its_alias_once(store: Store, candidate: Make) -> None:
    permit = permitted(store, judged(store, candidate("good", 0.71)))
    promoted(store, permit)
    with pytest.raises(Refused, match="was used before"):
        promoted(store, permit)
    assert len(models.history(store, "flights", "flights", "champion")) == 1


def test_asking_again_before_it_is_used_gives_the_same_permit(store: Store, candidate: Make) -> None:
    report = judged(store, candidate("good", 0.71))
    first = permitted(store, report)
    assert permitted(store, report) == first
    promoted(store, first)
    assert permitted(store, report).id != first.id


def test_a_forged_permit_moves_nothing(store: Store, candidate: Make) -> None:
    permit = permitted(store, judged(store, candidate("good", 0.71)))
    judged(store, candidate("bad", 0.5))
    with pytest.raises(Refused, match="there is no permit 'permit_forged'"):
        promoted(store, msgspec.structs.replace(permit, id="permit_forged", number=2))
    assert champion(store) is None


def test_what_a_permit_in_hand_says_is_not_believed(store: Store, candidate: Make) -> None:
    permit = permitted(store, judged(store, candidate("good", 0.71)))
    judged(store, candidate("bad", 0.5))
    assert promoted(store, msgspec.structs.replace(permit, number=2)).number == 1
    other = permitted(store, judged(store, candidate("good", 0.71)), alias="shadow")
    with pytest.raises(Refused, match="moves the alias 'shadow', not 'champion'"):
        promoted(store, msgspec.structs.replace(other, alias="champion"))
    assert [used.used_at is not None for used in api.list_permits(store, "flights", "flights")] == [True, False]


def test_a_permit_is_its_owners(store: Store, candidate: Make) -> None:
    permit = permitted(store, judged(store, candidate("good", 0.71)))
    with pytest.raises(Refused, match=f"was issued to {LOOP}, not to person:eve"):
        api.promote(store, permit, reason="mine", actor="person:eve", effective_at=store.clock.now())
    found = api.find_permit(store, permit.id)
    assert found is not None
    assert found.used_at is None


def test_a_permit_of_an_older_policy_is_void(store: Store, candidate: Make) -> None:
    good = candidate("good", 0.64)
    report = judged(store, good)
    permit = permitted(store, report)
    assert not judged(store, good, STRICTER).passed
    with pytest.raises(Refused, match="was issued under the policy"):
        promoted(store, permit)
    with pytest.raises(Refused, match="has the policy_digest"):
        permitted(store, report)
    assert champion(store) is None
    judged(store, good)
    promoted(store, permit)
    assert champion(store) == 1


def test_an_evaluation_of_another_bundle_is_no_evidence(store: Store, candidate: Make) -> None:
    good, bad = candidate("good", 0.71), candidate("bad", 0.5)
    mixed = models.register(
        store,
        project_id="flights",
        model="flights",
        bundle_digest=bad.version.bundle_digest,
        dataset_digest=bad.version.dataset_digest,
        evaluation_digest=good.version.evaluation_digest,
        run_id="run_1",
        author=LOOP,
        note="mixed",
    )
    with pytest.raises(Refused, match="the evaluation is about the bundle"):
        api.gate(store, mixed, POLICY)
    assert api.list_reports(store, "flights", "flights", mixed.number) == []


def test_the_same_verdicts_are_stored_once(store: Store, candidate: Make) -> None:
    good = candidate("good", 0.71)
    report = judged(store, good)
    assert isinstance(store.clock, FixedClock)
    store.clock.advance(60)
    assert judged(store, good) == report
    assert actions(store).count("gate.pass") == 1


def test_rolling_back_needs_no_new_judgement(store: Store, candidate: Make) -> None:
    for name in ("one", "two"):
        promoted(store, permitted(store, judged(store, candidate(name, 0.71))))
    assert champion(store) == 2
    move = rolled_back(store, 1)
    assert champion(store) == 1
    permit = api.find_permit(store, move.permit_id)
    assert permit is not None
    assert (permit.action, permit.used_at is not None) == ("rollback", True)
    assert actions(store)[-2:] == ["permit.issue", "alias.rollback"]


def test_rolling_back_to_where_it_is_changes_nothing(store: Store, candidate: Make) -> None:
    promoted(store, permitted(store, judged(store, candidate("one", 0.71))))
    before = actions(store)
    with pytest.raises(Conflict, match="points at version 1 already"):
        rolled_back(store, 1)
    assert actions(store) == before
    assert all(permit.action == "promote" for permit in api.list_permits(store, "flights", "flights"))


def test_rolling_back_to_a_version_that_never_was_in_charge_is_refused(store: Store, candidate: Make) -> None:
    promoted(store, permitted(store, judged(store, candidate("one", 0.71))))
    report = judged(store, candidate("two", 0.8))
    with pytest.raises(Refused, match="was never permitted as 'champion'"):
        rolled_back(store, 2)
    permitted(store, report)
    with pytest.raises(Refused, match="was never permitted as 'champion'"):
        rolled_back(store, 2)
    promoted(store, permitted(store, report, alias="shadow"))
    with pytest.raises(Refused, match="was never permitted as 'champion'"):
        rolled_back(store, 2)


def test_rolling_back_under_another_policy_is_refused(store: Store, candidate: Make) -> None:
    promoted(store, permitted(store, judged(store, candidate("one", 0.63))))
    promoted(store, permitted(store, judged(store, candidate("two", 0.71), STRICTER)))
    with pytest.raises(Refused, match="version 1 of flights was permitted under the policy"):
        rolled_back(store, 1)
    assert champion(store) == 2


def test_which_version_answered_on_that_day(store: Store, candidate: Make) -> None:
    def day(month: int, day: int) -> datetime:
        return datetime(2013, month, day, tzinfo=UTC)

    def answered(at: datetime) -> int | None:
        return models.version_at(store, "flights", "flights", "champion", at)

    promoted(store, permitted(store, judged(store, candidate("one", 0.71))), at=day(3, 1))
    promoted(store, permitted(store, judged(store, candidate("two", 0.72))), at=day(5, 10))
    assert [answered(when) for when in (day(2, 1), day(3, 1), day(5, 9), day(12, 31))] == [None, 1, 1, 2]
    promoted(store, permitted(store, judged(store, candidate("three", 0.73))), at=day(4, 1))
    assert [answered(when) for when in (day(3, 15), day(12, 31))] == [1, 3]


def test_reviews_are_asked_for(store: Store, candidate: Make) -> None:
    report = judged(store, candidate("good", 0.71), Policy(objectives=POLICY.objectives, reviews=1))
    with pytest.raises(Refused, match="0 approvals by persons, at least 1 is required") as refused:
        permitted(store, report)
    assert refused.value.hint == "boucle users add NAME --role admin, then boucle users add NAME --role reviewer"
