"""Step `bundle`: the final fit, compiled, proven and kept."""

import polars as pl
from msgspec import Struct

from boucle.data.records import DataSection
from boucle.evaluation.api import metric_for
from boucle.packaging.api import keep, package
from boucle.packaging.records import Bundle, PackagingSection
from boucle.pipeline.api import StepContext
from boucle.project.steps.prepare import Prepared
from boucle.project.steps.search import Found
from boucle.runs.api import keep_environment, origin_tags, record_run
from boucle.training.api import fit
from boucle.training.records import TrainingSection


class BundleParams(Struct, frozen=True, kw_only=True):
    """How to fit and package."""

    project_id: str
    section: DataSection
    training: TrainingSection
    packaging: PackagingSection
    experiment: str
    shuffle_labels: bool = False
    """A drill: learn from labels that say nothing."""


class Built(Struct, frozen=True, kw_only=True):
    """The bundle and the run that made it."""

    bundle: Bundle
    run_id: str


def build(context: StepContext) -> Built:
    """Fit on the rows before the holdout, prove the compiled model equal on held-out and generated rows, keep it."""
    params = context.params_as(BundleParams)
    found = context.value("search", Found)
    prepared = context.value("prepare", Prepared)
    rows, held_out = prepared.parted(context.store, params.section, params.training)
    target = params.section.target
    if params.shuffle_labels:
        rows = rows.with_columns(pl.col(target).shuffle(seed=params.training.seed))
    with context.progress.task(f"fit on {rows.height:,} rows", None):
        fitted = fit(
            rows, params.training, params.section.features, target, prepared.task, found.params, found.threshold
        )
    folder = context.folder / "bundle"
    with context.progress.task("compile, and prove it equal", None) as task:
        package(fitted, held_out, folder, params.packaging, key=params.section.key, time=params.section.time)
        bundle = keep(context.store, folder)
        parity = bundle.manifest.parity
        assert parity is not None, "package proves what it writes"
        task.advance(note=f"largest difference {parity.largest_difference:.1g}")
    run = record_run(
        context.store,
        project_id=params.project_id,
        experiment=params.experiment,
        name="final fit",
        params=found.params,
        metrics={
            metric_for(prepared.task, params.training.metric): found.score,
            "parity_largest_difference": parity.largest_difference,
        },
        dataset_digest=prepared.dataset.digest,
        bundle_digest=bundle.digest,
        tags=origin_tags(context.project_root) | {"boucle.seed": str(params.training.seed)},
    )
    keep_environment(context.store, run)
    return Built(bundle=bundle, run_id=run.id)
