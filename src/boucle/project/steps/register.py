"""Step `register`: the candidate gets its number."""

from msgspec import Struct

from boucle.models.api import register
from boucle.models.records import ModelVersion
from boucle.pipeline.api import StepContext
from boucle.project.steps.bundle import Built
from boucle.project.steps.evaluate import Judged
from boucle.project.steps.prepare import Prepared


class RegisterParams(Struct, frozen=True, kw_only=True):
    """Under which name, by whom and why."""

    project_id: str
    author: str
    note: str


def register_version(context: StepContext) -> ModelVersion:
    """Register the bundle with its evaluation; the same ones again are the same version."""
    params = context.params_as(RegisterParams)
    built = context.value("bundle", Built)
    return register(
        context.store,
        project_id=params.project_id,
        model=params.project_id,
        bundle_digest=built.bundle.digest,
        dataset_digest=context.value("prepare", Prepared).dataset.digest,
        evaluation_digest=context.value("evaluate", Judged).evaluation_digest,
        run_id=built.run_id,
        author=params.author,
        note=params.note,
    )
