"""Gates: pure rules that judge one version by one policy."""

import math
import sys
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from msgspec import UNSET
from msgspec.structs import replace

from boucle.evaluation.records import Evaluation
from boucle.governance.records import (
    Evidence,
    GateReport,
    GateVerdict,
    GovernanceSection,
    Objective,
    Policy,
    Review,
    Waiver,
)
from boucle.kernel.digests import Digest, digest_json, short
from boucle.models import commands
from boucle.models.records import CHAMPION, ModelVersion
from boucle.packaging.records import PackagingSection, Parity

NOT_QUALITY: Final = frozenset(
    {
        "latency_p50_ms",
        "latency_p95_ms",
        "latency_p99_ms",
        "availability",
        "error_rate",
        "lead_time_days",
        "requests_per_minute",
    }
)
"""Objectives about the service or the loop: measured where they happen, no gate for a version."""
FIRST_USERS: Final = "boucle users add NAME --role admin, then boucle users add NAME --role reviewer"
"""What makes reviews possible in a store without users."""
NEVER_WAIVED: Final = frozenset({"reviews", "artifacts", "signature"})
"""Gates that no single person can let pass."""


def policy_of(
    objectives: Sequence[Objective],
    section: GovernanceSection,
    packaging: PackagingSection,
    signers: Sequence[str] = (),
) -> Policy:
    """The rules that a project's versions are judged by; `signers` are the fingerprints of the keys that it names.

    >>> policy_of(
    ...     [Objective(metric="auc_roc", at_least=0.62), Objective(metric="latency_p95_ms", at_most=50.0)],
    ...     GovernanceSection(reviews=1),
    ...     PackagingSection(),
    ... ).objectives
    [Objective(metric='auc_roc', at_least=0.62, at_most=None)]
    """
    return Policy(
        objectives=[objective for objective in objectives if objective.metric not in NOT_QUALITY],
        reviews=section.reviews,
        parity_tolerance=packaging.tolerance,
        require_signature=list(signers) or UNSET,
    )


def judge(
    version: ModelVersion,
    evidence: Evidence,
    policy: Policy,
    *,
    authors: Collection[str] = (),
    reviews: Sequence[Review] = (),
    waivers: Collection[Waiver] = (),
    at: datetime,
) -> GateReport:
    """All verdicts about a version: one per objective, `parity` where it is Boucle's own, `artifacts`, `signature`,
    `reviews`.

    `reviews` are all that persons said about the model, oldest first; only those about exactly these digests count, and
    none of an author. `waivers` may hold others' and void ones.
    """
    authors, asked = {version.author, *authors}, digest_json(policy)
    parity = [] if evidence.parity is None else [_parity(evidence.parity, policy.parity_tolerance)]
    verdicts = [
        *(_objective(objective, version, evidence, policy) for objective in policy.objectives),
        *parity,
        *([] if evidence.files else [_no_artifacts(version)]),
        *([] if policy.require_signature is UNSET else [_signature(version, evidence, policy.require_signature)]),
        of_reviews(version, evidence.digest, reviews, policy.reviews, authors),
    ]
    live: dict[str, Waiver] = {}
    void: dict[str, str] = {}
    for one in waivers:
        if one.number == version.number and one.gate not in NEVER_WAIVED:
            reason = _void(one, version, evidence, asked, authors, at)
            if reason is None:
                live[one.gate] = one
            else:
                void[one.gate] = f"; the waiver of {one.approved_by} is void: {reason}"
    used = [live[verdict.gate] for verdict in verdicts if not verdict.passed and verdict.gate in live]
    verdicts = [_with_waiver(verdict, live.get(verdict.gate), void.get(verdict.gate, "")) for verdict in verdicts]
    return GateReport(
        project_id=version.project_id,
        model=version.model,
        number=version.number,
        bundle_digest=version.bundle_digest,
        evaluation_digest=evidence.digest,
        policy_digest=asked,
        passed=all(verdict.passed for verdict in verdicts),
        verdicts=verdicts,
        judged_at=at,
        waivers=[one.id for one in used],
    )


def explain(report: GateReport) -> str:
    """The failed verdicts with their numbers, in one line; empty if all passed."""
    return "; ".join(verdict.message for verdict in report.verdicts if not verdict.passed)


def next_step(report: GateReport, *, users: bool = True) -> str:
    """The command that the failed verdicts ask for; without `users` nobody can review before there are some."""
    version = (report.project_id, report.model, report.number)
    failed = [verdict.gate for verdict in report.verdicts if not verdict.passed]
    if "reviews" in failed and not users:
        return FIRST_USERS
    if failed == ["reviews"]:
        return commands.about("approve", *version)
    if failed and {*failed} <= {"signature", "reviews"}:
        return commands.sign(*version)
    return commands.about("show", *version)


def way_on(report: GateReport, policy: Policy, *, users: bool = True) -> str:
    """What to do so that a version takes charge, for somebody who sees the verdicts."""
    version = (report.project_id, report.model, report.number)
    failed = [verdict.gate for verdict in report.verdicts if not verdict.passed]
    if not failed:
        aliases = policy.aliases or [CHAMPION]
        return commands.about("promote", *version, **({} if CHAMPION in aliases else {"alias": aliases[0]}))
    if "artifacts" in failed:
        return "register it again, from a run or a logged model of this server"
    if "reviews" in failed and not users:
        return FIRST_USERS
    if {*failed} <= {"signature", "reviews"} and "signature" in failed:
        return commands.sign(*version)
    if failed == ["reviews"]:
        return f"{commands.about('approve', *version)}, by a reviewer, with BOUCLE_TOKEN"
    waive = commands.about("waive", *version, failed[0], reason="REASON")
    return f"register a version that passes {failed[0]}; or let it pass, as a reviewer with BOUCLE_TOKEN: {waive}"


def unsure(objectives: Sequence[Objective], evaluation: Evaluation) -> list[str]:
    """The metrics whose objective is met by a value whose interval reaches beyond the limit: it may be luck."""
    return [
        objective.metric
        for objective in objectives
        if (metric := evaluation.metrics.get(objective.metric)) is not None
        and _within(objective, metric.value, metric.value)
        and not _within(objective, metric.low, metric.high)
    ]


def _within(objective: Objective, low: float, high: float) -> bool:
    enough = objective.at_least is None or low >= objective.at_least
    return enough and (objective.at_most is None or high <= objective.at_most)


def _is_finite(value: float) -> bool:
    """Whether a value is a number; the largest one is what MLflow's clients keep for infinity."""
    return math.isfinite(value) and abs(value) < sys.float_info.max


def _objective(objective: Objective, version: ModelVersion, evidence: Evidence, policy: Policy) -> GateVerdict:
    gate, required = f"objective({objective.metric})", _required(objective)
    metric = evidence.metrics.get(objective.metric)

    def verdict(passed: bool, message: str) -> GateVerdict:
        measured = None if metric is None else metric.value
        return GateVerdict(gate=gate, passed=passed, measured=measured, required=required, message=message)

    if metric is None:
        known = ", ".join(sorted(evidence.metrics)) or "nothing"
        if evidence.origin == "measured":
            return verdict(
                False, f"{objective.metric} is not in the evaluation, {required} is required; measured are {known}"
            )
        about = f" about the logged model {version.model_id}" if version.model_id else ""
        how = f"log it to {evidence.told_by}{about}" if version.run_id else "register it with its run"
        when = ""
        if evidence.is_kept:
            how, when = "if it is logged by now, register the same files as a new version", " when this took charge"
        return verdict(
            False, f"{objective.metric} was not reported by {evidence.told_by}{when}, {required} is required; {how}"
        )
    if evidence.origin == "measured":
        seen = (
            f"{objective.metric} {metric.value:.6g} ({metric.low:.4g} to {metric.high:.4g} on {evidence.rows:,} rows)"
        )
    else:
        seen = f"{objective.metric} {metric.value:.6g}, reported by {evidence.told_by}, not measured by Boucle"
    passed = _within(objective, metric.value, metric.value)
    if policy.measured is True and evidence.origin != "measured":
        return verdict(False, f"{seen}; the policy asks for what Boucle measured")
    if not _is_finite(metric.value):
        return verdict(False, f"{seen}, which is no finite number; {required} is required")
    return verdict(passed, f"{seen}, {required} is required")


def _required(objective: Objective) -> str:
    bounds = (("at least", objective.at_least), ("at most", objective.at_most))
    return " and ".join(f"{words} {bound:.6g}" for words, bound in bounds if bound is not None)


def _parity(parity: Parity, tolerance: float) -> GateVerdict:
    rows = parity.held_out_rows + parity.generated_rows
    message = (
        f"parity of {parity.compiler}: largest difference {parity.largest_difference:.3g} in {parity.worst}, "
        f"{parity.label_flips:,} label flips on {rows:,} rows, at most {tolerance:.3g} is allowed"
    )
    return GateVerdict(
        gate="parity",
        passed=rows > 0 and parity.largest_difference <= tolerance,
        measured=parity.largest_difference,
        required=f"at most {tolerance:.3g}",
        message=message,
    )


def _no_artifacts(version: ModelVersion) -> GateVerdict:
    return GateVerdict(
        gate="artifacts",
        passed=False,
        measured=0.0,
        required="at least 1 file",
        message=f"Boucle keeps no file of {version.source!r}, so that nothing could be approved; "
        "at least 1 file is required: register it from a run or a logged model of this server",
    )


def _signature(version: ModelVersion, evidence: Evidence, allowed: Sequence[str]) -> GateVerdict:
    named = ", ".join(one[:12] for one in allowed) or "none: the policies of file and command have no key in common"
    if evidence.signed_by:
        message = f"the files are signed by the key {', '.join(one[:12] for one in evidence.signed_by)}"
    else:
        message = f"no allowed key signed the files {short(version.bundle_digest)}; allowed are {named}"
    return GateVerdict(
        gate="signature",
        passed=bool(evidence.signed_by),
        measured=float(len(evidence.signed_by)),
        required=f"a signature by one of {named}",
        message=message,
    )


def standing_reviews(reviews: Sequence[Review], *, authors: Collection[str]) -> dict[str, Review]:
    """The newest word of each person who is no author, oldest first given."""
    return {review.reviewer: review for review in reviews if review.reviewer not in authors}


def of_reviews(
    version: ModelVersion, evidence: Digest, reviews: Sequence[Review], needed: int, authors: Collection[str]
) -> GateVerdict:
    """What persons said about exactly a version's bundle and this evidence, oldest first given, against how many are
    needed."""
    about = [
        review
        for review in reviews
        if (review.number, review.bundle_digest, review.evaluation_digest)
        == (version.number, version.bundle_digest, evidence)
    ]
    standing = standing_reviews(about, authors=authors)
    given = sorted(name for name, review in standing.items() if review.verdict == "approve")
    against = sorted(name for name, review in standing.items() if review.verdict == "reject")
    approvals = f"{len(given)} approval{'' if len(given) == 1 else 's'} by persons{_named(given)}"
    message = f"{approvals}, at least {needed} {'is' if needed < 2 else 'are'} required"
    if against:
        message += f"; rejected by {', '.join(against)}"
    return GateVerdict(
        gate="reviews",
        passed=len(given) >= needed and not against,
        measured=float(len(given)),
        required=f"at least {needed}",
        message=message,
    )


def _named(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def _void(
    waiver: Waiver, version: ModelVersion, evidence: Evidence, policy: Digest, authors: Collection[str], at: datetime
) -> str | None:
    """Why a waiver no longer forgives what it forgave; None if it does."""
    if at >= waiver.expires_at:
        return f"it expired {waiver.expires_at:%Y-%m-%d %H:%M} UTC"
    if waiver.approved_by in authors:
        return "that is an author"
    for name, forgiven, now in (
        ("files", waiver.bundle_digest, version.bundle_digest),
        ("evidence", waiver.evaluation_digest, evidence.digest),
        ("policy", waiver.policy_digest, policy),
    ):
        if forgiven != now:
            return f"it was about the {name} {short(forgiven)}, now it is {short(now)}"
    return None


def _with_waiver(verdict: GateVerdict, waiver: Waiver | None, void: str) -> GateVerdict:
    """A verdict as it is with the waiver of its gate, or with why that is void."""
    if verdict.passed:
        return verdict
    if waiver is None:
        return replace(verdict, message=verdict.message + void)
    message = (
        f"{verdict.message}; waived by {waiver.approved_by} until {waiver.expires_at:%Y-%m-%d %H:%M} UTC: "
        f"{waiver.reason}"
    )
    return replace(verdict, passed=True, message=message)
