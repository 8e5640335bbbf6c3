"""The native doors to what persons decide: reviews, waivers, policies. Who decides is who logged in."""

from dataclasses import dataclass
from typing import Final

from msgspec import Struct

from boucle.governance import api as governance
from boucle.governance.records import Policy, Verdict
from boucle.identity.http import Request, Response, Route
from boucle.kernel.store import Store
from boucle.protocols.native.messages import Words, asked, number_of, of_query, reply
from boucle.protocols.native.registry import ONE, VERSION

POLICY: Final = f"{ONE}/policy"


class Word(Struct, frozen=True, forbid_unknown_fields=True):
    """What a reviewer says about a version."""

    comment: Words = ""


class WordOnChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What a reviewer says about a change of a policy."""

    comment: Words = ""
    change: str | None = None
    """Which change; without it the one that was asked for last."""


class Waiving(Struct, frozen=True, forbid_unknown_fields=True):
    """Which gate passes, why and for how long."""

    gate: str
    reason: Words
    days: float = 7


class Setting(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole policy."""

    policy: Policy
    reason: Words = ""


def routes(store: Store) -> list[Route]:
    """Every door, for requests of any project."""
    doors = _Doors(store)
    return [
        Route("POST", f"{VERSION}/approve", "review", doors.approve),
        Route("POST", f"{VERSION}/reject", "review", doors.reject),
        Route("POST", f"{VERSION}/waivers", "review", doors.waive),
        Route("GET", POLICY, "read", doors.policy),
        Route("PUT", POLICY, "administer", doors.set_policy),
        Route("DELETE", POLICY, "administer", doors.remove_policy),
        Route("POST", f"{POLICY}/approve", "review", doors.approve_policy),
        Route("POST", f"{POLICY}/reject", "review", doors.reject_policy),
    ]


@dataclass(frozen=True, slots=True)
class _Doors:
    store: Store

    def approve(self, request: Request) -> Response:
        """`POST /models/{name}/versions/{version}/approve`"""
        return self._review(request, "approve")

    def reject(self, request: Request) -> Response:
        """`POST /models/{name}/versions/{version}/reject`"""
        return self._review(request, "reject")

    def waive(self, request: Request) -> Response:
        """`POST /models/{name}/versions/{version}/waivers`"""
        message = asked(request, Waiving)
        waiver = governance.waive(
            self.store,
            request.principal,
            project_id=request.project,
            model=request.values["name"],
            number=number_of(request),
            gate=message.gate,
            reason=message.reason,
            days=message.days,
        )
        return reply(waiver)

    def policy(self, request: Request) -> Response:
        """`GET /models/{name}/policy`"""
        return reply(governance.policy_state(self.store, request.project, request.values["name"]))

    def set_policy(self, request: Request) -> Response:
        """`PUT /models/{name}/policy`; a weaker one is kept, and refused until it is approved."""
        message = asked(request, Setting)
        self._ask_for(request, message.policy, message.reason)
        return self.policy(request)

    def remove_policy(self, request: Request) -> Response:
        """`DELETE /models/{name}/policy`; refused until it is approved."""
        self._ask_for(request, None, of_query(request, "reason") or "")
        return reply({})

    def approve_policy(self, request: Request) -> Response:
        """`POST /models/{name}/policy/approve`"""
        return self._review_change(request, "approve")

    def reject_policy(self, request: Request) -> Response:
        """`POST /models/{name}/policy/reject`"""
        return self._review_change(request, "reject")

    def _review(self, request: Request, verdict: Verdict) -> Response:
        review = governance.review_version(
            self.store,
            request.principal,
            project_id=request.project,
            model=request.values["name"],
            number=number_of(request),
            verdict=verdict,
            comment=asked(request, Word).comment,
        )
        return reply(review)

    def _ask_for(self, request: Request, policy: Policy | None, reason: str) -> None:
        change = governance.set_policy(
            self.store,
            request.principal,
            project_id=request.project,
            model=request.values["name"],
            policy=policy,
            reason=reason,
        )
        governance.refuse_waiting(self.store, change)

    def _review_change(self, request: Request, verdict: Verdict) -> Response:
        message = asked(request, WordOnChange)
        change = governance.review_change(
            self.store,
            request.principal,
            project_id=request.project,
            model=request.values["name"],
            verdict=verdict,
            change_id=message.change,
            comment=message.comment,
        )
        return reply(change)
