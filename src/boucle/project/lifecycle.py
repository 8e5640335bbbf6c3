"""What a person does with a project: check it, run it."""

import os

from msgspec import Struct

from boucle.data.api import read_table
from boucle.data.records import DatasetVersion, Finding
from boucle.governance.records import GateReport
from boucle.identity.accounts import who_logs
from boucle.kernel.progress import Progress
from boucle.models.records import ModelVersion
from boucle.pipeline.api import Pipeline, PipelineResult, StepOutcome, environment_digest, run
from boucle.project.charge import by_luck, judge, signers, take_charge
from boucle.project.comparable import too_few_to_compare
from boucle.project.context import Context
from boucle.project.needs import NeedStatus, needs_against
from boucle.project.pipelines import first_training, measured
from boucle.project.replayed import replayed_rows
from boucle.project.steps.prepare import Prepared, before, inspect, tally
from boucle.project.steps.search import Found


class CheckReport(Struct, frozen=True, kw_only=True):
    """What `boucle check` found."""

    project: str
    rows: int
    training_rows: int
    columns: int
    findings: list[Finding]
    needs: list[NeedStatus]
    """What needs.yaml asks beside what boucle.yaml enforces; a contradiction fails nothing, and is told."""
    passed: bool
    """No failing finding blocks."""
    loop: str = ""
    """Why the loop could put no challenger in charge with as many rows a day; empty where it could."""


class RunReport(Struct, frozen=True, kw_only=True):
    """What `boucle run` made."""

    project: str
    source: DatasetVersion
    training: DatasetVersion
    findings: list[Finding]
    search: Found
    version: ModelVersion
    gates: GateReport
    unsure: list[str]
    """Metrics whose objective is met, though the interval of the value reaches beyond the limit."""
    in_charge: int
    """Version that the champion alias points at; the loop may have moved it since the first run."""
    steps: list[StepOutcome]


def check_project(context: Context, progress: Progress) -> CheckReport:
    """Read the source and run every check on the rows the first training would use; changes nothing."""
    project = context.project
    signers(context)
    with progress.task(f"read {project.data.source}", None) as task:
        table = read_table(project.data, context.folder)
        task.advance(note=f"{table.height:,} rows, {table.width} columns")
    if project.replay is not None:
        replayed_rows(table, project)
    training = before(table, project.data.time, project.training.until)
    with progress.task(f"check {training.height:,} rows", None) as task:
        findings = inspect(training, project.data, project.training, metrics=measured(project), folder=context.folder)
        task.advance(note=tally(findings))
    return CheckReport(
        project=project.project,
        rows=table.height,
        training_rows=training.height,
        columns=table.width,
        findings=findings,
        needs=needs_against(project, context.folder),
        passed=all(finding.passed or finding.on_fail != "block" for finding in findings),
        loop=too_few_to_compare(training, project),
    )


def run_project(context: Context, progress: Progress, *, force: bool = False) -> RunReport:
    """Data to a version in charge. What is cached is not done again; what a gate refuses is not put in charge.

    Raises:
        Refused: a check blocks, the parity proof fails, or a gate says no; the version stays, with its numbers. Also
            where the store has users, and BOUCLE_TOKEN holds no token of one who may write.
    """
    actor = who_logs(context.store(), os.environ.get("BOUCLE_TOKEN")).name
    signers(context)  # a key that is not there is told before hours of training
    result = execute(context, first_training(context, actor), progress, force=force)
    version = result.value("register", ModelVersion)
    gates = judge(context, version)
    prepared = result.value("prepare", Prepared)
    return RunReport(
        project=context.project.project,
        source=result.value("read", DatasetVersion),
        training=prepared.dataset,
        findings=prepared.findings,
        search=result.value("search", Found),
        version=version,
        gates=gates,
        unsure=by_luck(context, version),
        in_charge=take_charge(context, version, gates, actor),
        steps=result.outcomes,
    )


def execute(context: Context, pipeline: Pipeline, progress: Progress, *, force: bool = False) -> PipelineResult:
    """Run a pipeline of the project in its home; steps that are cached are not done again."""
    return run(
        pipeline,
        context.home,
        context.store,
        project_root=context.folder,
        environment=environment_digest(),
        progress=progress,
        force=force,
    )
