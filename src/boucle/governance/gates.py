"""Gates: pure rules that judge one version by one policy."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from boucle.evaluation.records import Evaluation
from boucle.governance.records import GateReport, GateVerdict, GovernanceSection, Objective, Policy
from boucle.kernel.digests import digest_json, short
from boucle.kernel.errors import Refused
from boucle.models.records import ModelVersion
from boucle.packaging.records import PackagingSection, Parity

NOT_QUALITY: Final = frozenset(
    {"latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "availability", "error_rate", "lead_time_days"}
)
"""Objectives about the service or the loop: measured where they happen, no gate for a version."""


def policy_of(objectives: Sequence[Objective], section: GovernanceSection, packaging: PackagingSection) -> Policy:
    """The rules that a project's versions are judged by.

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
    )


def judge(
    version: ModelVersion,
    evaluation: Evaluation,
    parity: Parity,
    policy: Policy,
    *,
    reviews: int,
    at: datetime,
) -> GateReport:
    """All verdicts about a version: one per objective, `parity`, `reviews`.

    Refused if the evaluation is about another bundle: there is nothing to judge then.
    """
    if evaluation.bundle_digest != version.bundle_digest:
        raise Refused(
            f"the evaluation is about the bundle {short(evaluation.bundle_digest)}, "
            f"version {version.number} of {version.model} is the bundle {short(version.bundle_digest)}"
        )
    verdicts = [
        *(_objective(objective, evaluation) for objective in policy.objectives),
        _parity(parity, policy.parity_tolerance),
        _reviews(reviews, policy.reviews),
    ]
    return GateReport(
        project_id=version.project_id,
        model=version.model,
        number=version.number,
        bundle_digest=version.bundle_digest,
        evaluation_digest=version.evaluation_digest,
        policy_digest=digest_json(policy),
        passed=all(verdict.passed for verdict in verdicts),
        verdicts=verdicts,
        judged_at=at,
    )


def explain(report: GateReport) -> str:
    """The failed verdicts with their numbers, in one line; empty if all passed."""
    return "; ".join(verdict.message for verdict in report.verdicts if not verdict.passed)


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


def _objective(objective: Objective, evaluation: Evaluation) -> GateVerdict:
    gate, required = f"objective({objective.metric})", _required(objective)
    metric = evaluation.metrics.get(objective.metric)
    if metric is None:
        measured = ", ".join(sorted(evaluation.metrics)) or "nothing"
        message = f"{objective.metric} is not in the evaluation, {required} is required; measured are {measured}"
        return GateVerdict(gate=gate, passed=False, measured=None, required=required, message=message)
    passed = _within(objective, metric.value, metric.value)
    message = (
        f"{objective.metric} {metric.value:.6g} ({metric.low:.4g} to {metric.high:.4g} on {evaluation.rows:,} rows), "
        f"{required} is required"
    )
    return GateVerdict(gate=gate, passed=passed, measured=metric.value, required=required, message=message)


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


def _reviews(given: int, needed: int) -> GateVerdict:
    return GateVerdict(
        gate="reviews",
        passed=given >= needed,
        measured=float(given),
        required=f"at least {needed}",
        message=f"{given} approvals by persons, at least {needed} is required",
    )
