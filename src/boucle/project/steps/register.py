"""Step `register`: the candidate gets its number, and the gates judge it."""

from msgspec import Struct

from boucle.evaluation.api import load_evaluation
from boucle.governance.api import gate, policy_of
from boucle.governance.records import GateReport, GovernanceSection, Objective
from boucle.models.api import register
from boucle.models.records import ModelVersion
from boucle.packaging.records import PackagingSection
from boucle.pipeline.api import StepContext
from boucle.project.steps.bundle import Built
from boucle.project.steps.evaluate import Judged
from boucle.project.steps.prepare import Prepared


class RegisterParams(Struct, frozen=True, kw_only=True):
    """Under which name and policy, by whom and why."""

    project_id: str
    objectives: list[Objective]
    governance: GovernanceSection
    packaging: PackagingSection
    author: str
    note: str


class Registered(Struct, frozen=True, kw_only=True):
    """The version and its verdicts; a refused one is registered too, with the numbers."""

    version: ModelVersion
    report: GateReport


def register_version(context: StepContext) -> Registered:
    """Register and judge; promoting is a step of its own."""
    params = context.params_as(RegisterParams)
    built = context.value("bundle", Built)
    judged = context.value("evaluate", Judged)
    version = register(
        context.store,
        project_id=params.project_id,
        model=params.project_id,
        bundle_digest=built.bundle.digest,
        dataset_digest=context.value("prepare", Prepared).dataset.digest,
        evaluation_digest=judged.evaluation_digest,
        run_id=built.run_id,
        author=params.author,
        note=params.note,
    )
    report = gate(
        context.store,
        version,
        load_evaluation(context.store, judged.evaluation_digest),
        built.bundle.manifest,
        policy_of(params.objectives, params.governance, params.packaging),
    )
    return Registered(version=version, report=report)
