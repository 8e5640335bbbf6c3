"""Policies of models: set, made stricter at once, made weaker or taken away once other persons approved.

Threat model: whoever a policy keeps from moving a pointer tries to be rid of the policy. So anything that lets pass or
unprotects more than the policy in force waits for as many approvals as that policy asks for, at least one, of persons
other than the one who asks. A project's file may change the policy that it set itself, as the file is reviewed where it
is kept, unless that policy asks for reviews; it never weakens one that was set here.
"""

import math
import re
from datetime import datetime
from typing import Final

import msgspec
from msgspec import UNSET
from msgspec.structs import replace
from sqlalchemy import Connection

from boucle.governance import store as tables
from boucle.governance.gates import standing_reviews
from boucle.governance.notices import notices
from boucle.governance.records import Policy, PolicyChange, PolicyState, Review
from boucle.governance.strictness import dropped, strictest, weakens
from boucle.identity.api import Principal
from boucle.kernel import audit
from boucle.kernel.digests import Digest, digest_json
from boucle.kernel.errors import Conflict, InvalidInput, NotFound, Refused
from boucle.kernel.store import Store
from boucle.models import commands, names
from boucle.models.aliases import pointer_of
from boucle.models.records import Stage

_FINGERPRINT: Final = re.compile("[0-9a-f]{64}")
_STAGES: Final[tuple[Stage, ...]] = ("Staging", "Production")


def set_policy(
    store: Store, principal: Principal, *, project_id: str, model: str, policy: Policy | None, reason: str = ""
) -> PolicyChange | None:
    """Put a policy on a model's name, whether or not there is such a model; None takes it away.

    None if it is in force now: there was none before, or it is at least as strict as that one. Otherwise the change
    that waits for approvals; asked for again by the same person, for no other reason, it is the same one unless it was
    rejected.
    """
    if "administer" not in principal.may:
        raise Refused(
            f"{principal.name} may not change policies: that takes the role admin",
            hint="boucle users add NAME --role admin",
        )
    names.check_model(model)
    if policy is not None:
        _check(policy)
    at, change_id = store.clock.now(), store.ids.new("change")

    def unit(conn: Connection) -> PolicyChange | None:
        found = tables.in_force(conn, project_id, model)
        if found is None and policy is None:
            raise NotFound(
                f"there is no policy on {model}", hint=commands.about("policy set", project_id, model, help=True)
            )
        if found is None or not weakens(policy, found.policy):
            enter(conn, project_id, model, policy, actor=principal.name, set_by=principal.name, at=at)
            return None
        for waiting in _open(conn, project_id, model):
            same = (waiting.policy, waiting.asked_by) == (policy, principal.name) and reason in ("", waiting.reason)
            if same and all(one.verdict == "approve" for one in _said(conn, waiting).values()):
                return waiting
        change = PolicyChange(
            id=change_id,
            project_id=project_id,
            model=model,
            base=found.sequence,
            policy=policy,
            asked_by=principal.name,
            reason=reason,
            asked_at=at,
        )
        tables.add_change(conn, change)
        audit.append(
            conn,
            project_id=project_id,
            actor=principal.name,
            action="policy.ask",
            subject=model,
            details={
                "change": change.id,
                "base": found.digest,
                "policy": msgspec.to_builtins(policy),
                "needed": needed(found.policy),
                "reason": reason,
            },
            at=at,
        )
        return change

    return store.write(unit)


def policy_on(store: Store, project_id: str, model: str) -> tables.InForce | None:
    """The policy in force on a name, with who set it; None if there is none."""
    return store.read(lambda conn: tables.in_force(conn, project_id, model))


def policy_state(store: Store, project_id: str, model: str) -> PolicyState:
    """The policy in force on a name, and the changes of it that wait; NotFound if there is none."""
    found = policy_on(store, project_id, model)
    if found is None:
        raise NotFound(
            f"there is no policy on {model}", hint=commands.about("policy set", project_id, model, reviews=1)
        )
    return PolicyState(
        policy=found.policy,
        digest=found.digest,
        set_by=found.set_by,
        changes=open_changes(store, project_id, model),
        notices=notices(store, project_id, model, found.policy),
    )


def refuse_waiting(store: Store, change: PolicyChange | None) -> None:
    """Raise Refused for a policy that was set but waits for approvals; it is kept."""
    if change is not None:
        held = policy_on(store, change.project_id, change.model)
        less = [] if held is None or change.policy is None else dropped(change.policy, held.policy)
        weaker = f" (it no longer asks for {', '.join(less)})" if less else ""
        approve = commands.about("policy approve", change.project_id, change.model, change=change.id)
        keep = "; or set one that asks for these too" if less else ""
        raise Refused(
            f"this is weaker than the policy in force on {change.model}{weaker}, so it waits until other persons "
            "approve it",
            hint=f"{approve}, by a reviewer, with BOUCLE_TOKEN{keep}",
            details={"change": change.id},
        )


def open_changes(store: Store, project_id: str, model: str) -> list[PolicyChange]:
    """The changes that wait for approvals, oldest first."""
    return store.read(lambda conn: _open(conn, project_id, model))


def needed(policy: Policy) -> int:
    """How many approvals it takes to weaken a policy."""
    return max(1, policy.reviews)


def open_change(conn: Connection, project_id: str, model: str, change_id: str | None) -> PolicyChange:
    """A change that waits, without an id the only one; NotFound, or Conflict if it waits no longer or others do too.

    None is picked out of several: who approves has seen one of them, and another may have been asked for since.
    """
    waiting = _open(conn, project_id, model)
    if change_id is None and len(waiting) > 1:
        raise Conflict(
            f"{len(waiting)} changes of the policy of {model} wait for approvals; say which by its id",
            hint=commands.about("policy show", project_id, model),
        )
    if change_id is None and waiting:
        return waiting[0]
    for change in waiting:
        if change.id == change_id:
            return change
    if change_id is not None and any(one.id == change_id for one in tables.all_changes(conn, project_id, model)):
        raise Conflict(
            f"the change {change_id} of the policy of {model} waits no longer: it, or another one, is in force",
            hint=commands.about("policy show", project_id, model),
        )
    wanted = "" if change_id is None else f" {change_id!r}"
    raise NotFound(
        f"no change{wanted} of the policy of {model} waits for approvals",
        hint=commands.about("policy show", project_id, model),
    )


def enter_if_approved(conn: Connection, change: PolicyChange, at: datetime) -> PolicyChange:
    """Put a change in force if enough persons approve it and none is against it."""
    found = tables.in_force(conn, change.project_id, change.model)
    standing = _said(conn, change)
    approvals = sorted(name for name, review in standing.items() if review.verdict == "approve")
    if found is None or len(approvals) < max(len(standing), needed(found.policy)):
        return change
    enter(
        conn,
        change.project_id,
        change.model,
        change.policy,
        actor=change.asked_by,
        set_by=change.asked_by,
        at=at,
        approved_by=approvals,
        change_id=change.id,
    )
    tables.enter_change(conn, change.id, at)
    return replace(change, entered_at=at)


def enter(
    conn: Connection,
    project_id: str,
    model: str,
    policy: Policy | None,
    *,
    actor: str,
    set_by: str | None,
    at: datetime,
    approved_by: list[str] | None = None,
    change_id: str | None = None,
) -> None:
    """Put a policy in force, with an audit record.

    The one that is in force already changes nothing, unless the project's file set it and now a person does.
    """
    found, now = tables.in_force(conn, project_id, model), None if policy is None else digest_json(policy)
    before = digest_of(found)
    if before == now and (found is None or set_by is None or found.set_by is not None):
        return
    tables.add_policy(conn, project_id, model, policy, at, set_by=set_by)
    audit.append(
        conn,
        project_id=project_id,
        actor=actor,
        action="policy.remove" if policy is None else "policy.enter",
        subject=model,
        details={
            "policy_digest": now,
            "previous": before,
            "policy": msgspec.to_builtins(policy),
            **({} if set_by is None else {"set_by": set_by}),
            **({} if change_id is None else {"change": change_id, "approved_by": approved_by}),
        },
        at=at,
    )


def of_project(found: tables.InForce | None, asked: Policy) -> Policy:
    """The policy that a project's file leads to: what it says, or what is in force where that must not be weakened."""
    _check(asked)
    if found is None or (found.set_by is None and found.policy.reviews == 0):
        return asked
    if not weakens(found.policy, asked):
        return found.policy
    return strictest(found.policy, asked) if weakens(asked, found.policy) else asked


def digest_of(found: tables.InForce | None) -> Digest | None:
    """The digest of a policy in force, if there is one."""
    return None if found is None else found.digest


def _open(conn: Connection, project_id: str, model: str) -> list[PolicyChange]:
    found = tables.in_force(conn, project_id, model)
    changes = tables.all_changes(conn, project_id, model)
    return [one for one in changes if one.entered_at is None and found is not None and one.base == found.sequence]


def _said(conn: Connection, change: PolicyChange) -> dict[str, Review]:
    """The reviews of a change that stand, by whose they are."""
    said = [one for one in tables.all_reviews(conn, change.project_id, change.model) if one.change_id == change.id]
    return standing_reviews(said, authors={change.asked_by})


def _check(policy: Policy) -> None:
    if policy.reviews < 0:
        raise InvalidInput(f"a policy asks for {policy.reviews} reviews; allowed are 0 and more")
    if not (math.isfinite(policy.parity_tolerance) and policy.parity_tolerance >= 0):
        raise InvalidInput(f"parity_tolerance is {policy.parity_tolerance}; allowed are 0 and more")
    for objective in policy.objectives:
        if not all(math.isfinite(one) for one in (objective.at_least, objective.at_most) if one is not None):
            raise InvalidInput(f"the limit of the objective {objective.metric!r} is no number")
        if objective.at_least is None and objective.at_most is None:
            raise InvalidInput(f"the objective {objective.metric!r} has no limit; give at_least or at_most")
    for alias in policy.aliases or []:
        names.check_alias(alias, new=True)
    if policy.require_signature is not UNSET:
        _check_keys(policy.require_signature)
    for stage in policy.stages or []:
        if stage not in _STAGES:
            raise InvalidInput(f"{pointer_of(stage)!r} cannot be protected; allowed are {', '.join(_STAGES)}")


def _check_keys(fingerprints: list[str]) -> None:
    if not fingerprints:
        raise InvalidInput(
            "a policy asks for a signature by one of no keys; leave require_signature out, or name a key"
        )
    for one in fingerprints:
        if not _FINGERPRINT.fullmatch(one):
            raise InvalidInput(
                f"{one[:100]!r} is no fingerprint of a key; allowed are 64 digits 0-9 and a-f",
                hint="boucle sign prints it with --json",
            )
