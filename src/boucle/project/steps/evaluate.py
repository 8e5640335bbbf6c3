"""Step `evaluate`: the numbers about the bundle that will serve, on rows later than any it has seen."""

from msgspec import Struct

from boucle.data.records import DataSection
from boucle.evaluation.api import evaluate, keep_evaluation, metric_for
from boucle.evaluation.records import EvaluationSection
from boucle.kernel.digests import Digest
from boucle.packaging.api import open_kept
from boucle.pipeline.api import StepContext
from boucle.project.steps.bundle import Built
from boucle.project.steps.prepare import Prepared
from boucle.training.records import TrainingSection


class EvaluateParams(Struct, frozen=True, kw_only=True):
    """On which rows, and with which re-sampling."""

    section: DataSection
    training: TrainingSection
    evaluation: EvaluationSection


class Judged(Struct, frozen=True, kw_only=True):
    """The stored evaluation and its headline numbers."""

    evaluation_digest: Digest
    metrics: dict[str, float]


def evaluate_bundle(context: StepContext) -> Judged:
    """Evaluate on the held-out rows and keep the result."""
    params = context.params_as(EvaluateParams)
    prepared = context.value("prepare", Prepared)
    built = context.value("bundle", Built)
    _, held_out = prepared.parted(context.store, params.section, params.training)
    with context.progress.task(f"evaluate on {held_out.height:,} later rows", None) as task:
        result = evaluate(
            open_kept(context.store, built.bundle.digest),
            held_out,
            target=params.section.target,
            bundle_digest=built.bundle.digest,
            dataset_digest=prepared.dataset.digest,
            section=params.evaluation,
            time=params.section.time,
            seed=params.training.seed,
        )
        metric = metric_for(prepared.task, params.training.metric)
        measured = result.metrics.get(metric)
        task.advance(note=f"{metric} {measured.value:.4f}" if measured else None)
    digest = keep_evaluation(context.store, result)
    return Judged(evaluation_digest=digest, metrics={name: metric.value for name, metric in result.metrics.items()})
