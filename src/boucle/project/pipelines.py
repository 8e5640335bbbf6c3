"""The pipelines of a project: from the source to a registered version, and the same again for every retraining."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from boucle.data.records import DataSection, DatasetVersion
from boucle.governance.api import NOT_QUALITY
from boucle.models.records import ModelVersion
from boucle.pipeline.api import Pipeline, Step, StepContext
from boucle.project.context import Context
from boucle.project.records import Project
from boucle.project.steps.bundle import Built, BundleParams, build
from boucle.project.steps.evaluate import EvaluateParams, Judged, evaluate_bundle
from boucle.project.steps.prepare import Prepared, PrepareParams, prepare
from boucle.project.steps.read import ReadParams, read
from boucle.project.steps.register import RegisterParams, register_version
from boucle.project.steps.search import Found, SearchParams, search_parameters
from boucle.runs.records import ParamValue


def first_training(context: Context, author: str) -> Pipeline:
    """Data to a registered version, as `boucle run` does it."""
    project = context.project
    return Pipeline(
        "run",
        [
            Step(
                "read",
                read,
                DatasetVersion,
                params=ReadParams(project_id=project.project, section=without_checks(project.data)),
                sources=source_files(context),
            ),
            Step(
                "prepare",
                prepare,
                Prepared,
                needs=("read",),
                params=PrepareParams(
                    project_id=project.project,
                    section=project.data,
                    training=project.training,
                    metrics=measured(project),
                ),
            ),
            *training_steps(
                context,
                experiment=project.project,
                trials=project.training.search.trials,
                start_from=None,
                author=author,
                note="first training",
            ),
        ],
    )


def retraining(
    context: Context,
    compose: Callable[[StepContext], Prepared],
    compose_params: object,
    *,
    name: str,
    experiment: str,
    start_from: dict[str, ParamValue],
    author: str,
    note: str,
    shuffle_labels: bool = False,
) -> Pipeline:
    """The same steps on other rows: `compose` stands where `read` and `prepare` stood."""
    return Pipeline(
        name,
        [
            Step("prepare", compose, Prepared, params=compose_params),
            *training_steps(
                context,
                experiment=experiment,
                trials=context.project.training.search.retrain_trials,
                start_from=start_from,
                author=author,
                note=note,
                shuffle_labels=shuffle_labels,
            ),
        ],
    )


def training_steps(
    context: Context,
    *,
    experiment: str,
    trials: int,
    start_from: dict[str, ParamValue] | None,
    author: str,
    note: str,
    shuffle_labels: bool = False,
) -> list[Step[Any]]:
    """Search, bundle, evaluate, register."""
    project = context.project
    name, data, training = project.project, without_checks(project.data), project.training
    search = SearchParams(
        project_id=name, section=data, training=training, trials=trials, start_from=start_from, experiment=experiment
    )
    bundle = BundleParams(
        project_id=name,
        section=data,
        training=training,
        packaging=project.packaging,
        experiment=experiment,
        shuffle_labels=shuffle_labels,
    )
    evaluation = EvaluateParams(section=data, training=training, evaluation=project.evaluation)
    registration = RegisterParams(project_id=name, author=author, note=note)
    return [
        Step("search", search_parameters, Found, needs=("prepare",), params=search),
        Step("bundle", build, Built, needs=("prepare", "search"), params=bundle),
        Step("evaluate", evaluate_bundle, Judged, needs=("prepare", "bundle"), params=evaluation),
        Step("register", register_version, ModelVersion, needs=("prepare", "bundle", "evaluate"), params=registration),
    ]


def without_checks(section: DataSection) -> DataSection:
    """The section for steps that run no check, so that editing a check does not run them again."""
    return replace(section, checks=[])


def measured(project: Project) -> list[str]:
    """The quality metrics that the project names, in its objectives, its search and its loop."""
    asked = [objective.metric for objective in project.objectives if objective.metric not in NOT_QUALITY]
    loop = [project.loop.metric] if project.replay is not None else []
    return sorted({*asked, *(name for name in (*loop, project.training.metric) if name is not None)})


def source_files(context: Context) -> tuple[Path, ...]:
    """The files below the project that decide what `read` returns.

    A table is its own file. A Python source may open any file beside it, so all of them count but those that hold no
    data: hidden ones, the store, boucle.yaml, pages. Other Python files count where the source imports them.
    """
    source = Path(context.project.data.source.partition(":")[0])
    if source.suffix != ".py":
        return (source,)
    beside = (path for path in sorted(context.folder.rglob("*")) if path.is_file() and _holds_data(path, context))
    return (source, *(path.relative_to(context.folder) for path in beside))


def _holds_data(path: Path, context: Context) -> bool:
    parts = path.relative_to(context.folder).parts
    hidden = any(part.startswith((".", "__")) for part in parts)
    ours = path.is_relative_to(context.home) or path.name in ("boucle.yaml", "boucle.toml")
    return not hidden and not ours and path.suffix not in (".py", ".html", ".md")
