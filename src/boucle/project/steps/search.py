"""Step `search`: find the parameters, every trial tracked as a run."""

from msgspec import Struct

from boucle.data.records import DataSection
from boucle.evaluation.api import metric_for
from boucle.pipeline.api import StepContext
from boucle.project.steps.prepare import Prepared
from boucle.runs.api import origin_tags, record_run
from boucle.runs.records import ParamValue
from boucle.training.api import search
from boucle.training.records import TrainingSection, Trial


class SearchParams(Struct, frozen=True, kw_only=True):
    """What to search, and from where."""

    project_id: str
    section: DataSection
    training: TrainingSection
    trials: int
    start_from: dict[str, ParamValue] | None
    experiment: str


class Found(Struct, frozen=True, kw_only=True):
    """The best parameters, and the probability from which the positive class is answered."""

    params: dict[str, ParamValue]
    threshold: float
    score: float
    trials: int


def search_parameters(context: StepContext) -> Found:
    """Search on the rows before the holdout; trials are recorded as runs of one experiment.

    Interrupted, it goes on after the last finished trial.
    """
    params = context.params_as(SearchParams)
    prepared = context.value("prepare", Prepared)
    rows, _ = prepared.parted(context.store, params.section, params.training)

    done = context.kept_progress(list[Trial]) or []
    tried = list(done)

    def track(trial: Trial) -> None:
        _record_trial(context, params, prepared, trial)
        tried.append(trial)
        context.keep_progress(tried)

    result = search(
        rows,
        params.training,
        params.section.features,
        params.section.target,
        prepared.task,
        trials=params.trials,
        start_from=params.start_from,
        on_trial=track,
        progress=context.progress,
        time=params.section.time,
        done=done,
    )
    best = next(trial for trial in result.trials if trial.params == result.best)
    return Found(params=result.best, threshold=result.threshold, score=best.score, trials=len(result.trials))


def _record_trial(context: StepContext, params: SearchParams, prepared: Prepared, trial: Trial) -> None:
    metric = metric_for(prepared.task, params.training.metric)
    folds = {f"{metric}_fold_{n}": score for n, score in enumerate(trial.fold_scores)}
    record_run(
        context.store,
        project_id=params.project_id,
        experiment=params.experiment,
        name=f"trial-{trial.number}",
        params=trial.params,
        metrics={metric: trial.score, "seconds": trial.seconds} | folds,
        dataset_digest=prepared.dataset.digest,
        tags=origin_tags(context.project_root) | {"boucle.seed": str(params.training.seed)},
    )
