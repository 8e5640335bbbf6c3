"""The gates' rules, without a store."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from boucle.evaluation.records import Evaluation, Metric
from boucle.governance.gates import explain, judge, policy_of, unsure, way_on
from boucle.governance.records import Evidence, GateReport, GovernanceSection, Objective, Policy
from boucle.kernel.digests import Digest, digest_json
from boucle.models.records import ModelVersion
from boucle.packaging.records import PackagingSection, Parity

AT = datetime(2013, 3, 1, tzinfo=UTC)
BUNDLE = Digest("b" * 64)


def evaluation_of(bundle: Digest = BUNDLE, **metrics: float) -> Evaluation:
    return Evaluation(
        bundle_digest=bundle,
        dataset_digest=Digest("d" * 64),
        rows=7000,
        positives=1500,
        metrics={name: Metric(value=value, low=value - 0.01, high=value + 0.01) for name, value in metrics.items()},
    )


def parity_of(largest_difference: float = 1e-15, rows: int = 1000) -> Parity:
    return Parity(
        compiler="treelite",
        tolerance=1e-9,
        held_out_rows=0,
        generated_rows=rows,
        largest_difference=largest_difference,
        label_flips=0,
        worst="thresholds(temp)",
    )


def evidence_of(evaluation: Evaluation, parity: Parity | None = None) -> Evidence:
    return Evidence(
        digest=digest_json(evaluation),
        origin="measured",
        told_by="Boucle's own evaluation",
        metrics=evaluation.metrics,
        rows=evaluation.rows,
        parity=parity or parity_of(),
        files=1,
    )


def judged(evaluation: Evaluation, *objectives: Objective, parity: Parity | None = None, needed: int = 0) -> GateReport:
    version = ModelVersion(
        project_id="flights",
        model="flights",
        number=3,
        bundle_digest=BUNDLE,
        dataset_digest=evaluation.dataset_digest,
        evaluation_digest=digest_json(evaluation),
        run_id="run_1",
        author="service:loop",
        created_at=AT,
        note="",
    )
    policy = Policy(objectives=list(objectives), reviews=needed)
    return judge(version, evidence_of(evaluation, parity), policy, at=AT)


def test_there_is_a_verdict_for_every_objective_and_for_parity_and_reviews() -> None:
    report = judged(
        evaluation_of(auc_roc=0.71, log_loss=0.4),
        Objective(metric="auc_roc", at_least=0.62),
        Objective(metric="log_loss", at_most=0.5),
    )
    assert [verdict.gate for verdict in report.verdicts] == [
        "objective(auc_roc)",
        "objective(log_loss)",
        "parity",
        "reviews",
    ]
    assert report.passed
    assert explain(report) == ""


def test_every_failed_gate_is_explained_with_its_numbers() -> None:
    report = judged(
        evaluation_of(auc_roc=0.6199, log_loss=0.55),
        Objective(metric="auc_roc", at_least=0.62),
        Objective(metric="log_loss", at_most=0.5),
        parity=parity_of(2e-9),
        needed=2,
    )
    assert explain(report) == (
        "auc_roc 0.6199 (0.6099 to 0.6299 on 7,000 rows), at least 0.62 is required; "
        "log_loss 0.55 (0.54 to 0.56 on 7,000 rows), at most 0.5 is required; "
        "parity of treelite: largest difference 2e-09 in thresholds(temp), 0 label flips on 1,000 rows, "
        "at most 1e-09 is allowed; "
        "0 approvals by persons, at least 2 are required"
    )


def test_a_value_is_unsure_whose_interval_reaches_beyond_the_limit() -> None:
    objectives = [
        Objective(metric="auc_roc", at_least=0.62),
        Objective(metric="log_loss", at_most=0.5),
        Objective(metric="recall", at_least=0.3),
        Objective(metric="f1", at_least=0.3),
        Objective(metric="availability", at_least=0.9),
    ]
    assert unsure(objectives, evaluation_of(auc_roc=0.625, log_loss=0.495, recall=0.32, f1=0.295)) == [
        "auc_roc",
        "log_loss",
    ]


def test_the_way_on_is_a_command_that_helps() -> None:
    high, low = Objective(metric="auc_roc", at_least=0.9), Objective(metric="auc_roc", at_least=0.6)
    evaluation, policy = evaluation_of(auc_roc=0.71), Policy()
    both = way_on(judged(evaluation, high, needed=1), policy) or ""
    assert "register a version that passes objective(auc_roc); or let it pass" in both
    assert both.endswith("boucle models waive flights 3 'objective(auc_roc)' --reason REASON --in flights")
    waits = way_on(judged(evaluation, low, needed=1), policy) or ""
    assert waits.startswith("boucle models approve flights 3")
    passed = judged(evaluation, low)
    assert way_on(passed, policy) == "boucle models promote flights 3 --in flights"
    assert way_on(passed, Policy(aliases=["live"])) == "boucle models promote flights 3 --alias live --in flights"
    assert way_on(passed, Policy(aliases=[], stages=["Production"])) == "boucle models promote flights 3 --in flights"


def test_a_metric_that_was_not_measured_fails() -> None:
    report = judged(evaluation_of(rmse=3.0), Objective(metric="auc_roc", at_least=0.62))
    assert explain(report) == "auc_roc is not in the evaluation, at least 0.62 is required; measured are rmse"


def test_a_metric_that_is_no_number_fails() -> None:
    assert not judged(evaluation_of(auc_roc=float("nan")), Objective(metric="auc_roc", at_least=0.0)).passed
    assert not judged(evaluation_of(log_loss=float("nan")), Objective(metric="log_loss", at_most=9.0)).passed


def test_a_parity_proof_without_rows_proves_nothing() -> None:
    assert not judged(evaluation_of(), parity=parity_of(rows=0)).passed
    assert not judged(evaluation_of(), parity=parity_of(float("nan"))).passed


def test_only_quality_is_judged_when_a_version_is_made() -> None:
    metrics = ("auc_roc", "latency_p95_ms", "availability", "error_rate", "lead_time_days")
    policy = policy_of(
        [Objective(metric=metric, at_least=0.5) for metric in metrics],
        GovernanceSection(reviews=1),
        PackagingSection(tolerance=1e-6),
    )
    assert policy == Policy(objectives=[Objective(metric="auc_roc", at_least=0.5)], reviews=1, parity_tolerance=1e-6)


@given(value=st.floats(0, 1), bound=st.floats(0, 1))
def test_a_bound_is_met_exactly_or_not_at_all(value: float, bound: float) -> None:
    evaluation = evaluation_of(auc_roc=value)
    assert judged(evaluation, Objective(metric="auc_roc", at_least=bound)).passed == (value >= bound)
    assert judged(evaluation, Objective(metric="auc_roc", at_most=bound)).passed == (value <= bound)


@given(values=st.dictionaries(st.sampled_from(["auc_roc", "recall", "brier"]), st.floats(0, 1)))
def test_stricter_policies_pass_fewer_versions(values: dict[str, float]) -> None:
    evaluation = evaluation_of(**values)
    looser = [Objective(metric=metric, at_least=0.4) for metric in values]
    stricter = [Objective(metric=metric, at_least=0.6) for metric in values]
    assert judged(evaluation, *looser).passed or not judged(evaluation, *stricter).passed
