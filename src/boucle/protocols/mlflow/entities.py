"""MLflow's nouns as its clients read them, made from ours. Fields that are absent are left out."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct, field

from boucle.kernel.errors import InvalidInput
from boucle.runs.experiments import Experiment
from boucle.runs.records import MetricPoint
from boucle.runs.views import DatasetInput, RunView

LARGEST: Final = 1.7976931348623157e308
STATUSES: Final = {
    "running": "RUNNING",
    "scheduled": "SCHEDULED",
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
_OURS: Final = {theirs: ours for ours, theirs in STATUSES.items()} | {
    str(number): ours for number, ours in enumerate(STATUSES, 1)
}


class Metric(Struct, frozen=True, omit_defaults=True, gc=False):
    """A point of a metric. Its fields refer to nothing further, so the garbage collector need not look at them."""

    key: str
    value: float | str
    timestamp: int
    step: int
    run_id: str = ""


class ExperimentMessage(Struct, frozen=True, omit_defaults=True):
    """An experiment."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    last_update_time: int
    creation_time: int
    tags: list["Pair"] = field(default_factory=list)


class RunInfo(Struct, frozen=True, omit_defaults=True):
    """What a run is, without what was logged to it."""

    run_uuid: str
    run_id: str
    run_name: str
    experiment_id: str
    user_id: str
    status: str
    start_time: int
    artifact_uri: str
    lifecycle_stage: str
    end_time: int | None = None


class RunData(Struct, frozen=True, omit_defaults=True):
    """What was logged to a run."""

    metrics: list[Metric] = field(default_factory=list)
    params: list["Pair"] = field(default_factory=list)
    tags: list["Pair"] = field(default_factory=list)


class Pair(Struct, frozen=True):
    """A tag or param as it goes out; an empty value is there."""

    key: str
    value: str


class DatasetMessage(Struct, frozen=True, omit_defaults=True):
    """A dataset as a client told of it."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


class DatasetInputMessage(Struct, frozen=True, omit_defaults=True):
    """A dataset that a run used."""

    dataset: DatasetMessage
    tags: list[Pair] = field(default_factory=list)


class ModelInput(Struct, frozen=True):
    """A logged model that a run used."""

    model_id: str


class ModelOutput(Struct, frozen=True):
    """A logged model that a run made."""

    model_id: str
    step: int


class RunInputs(Struct, frozen=True, omit_defaults=True):
    """What a run used."""

    dataset_inputs: list[DatasetInputMessage] = field(default_factory=list)
    model_inputs: list[ModelInput] = field(default_factory=list)


class RunOutputs(Struct, frozen=True, omit_defaults=True):
    """What a run made."""

    model_outputs: list[ModelOutput] = field(default_factory=list)


class Run(Struct, frozen=True):
    """A run and what belongs to it."""

    info: RunInfo
    data: RunData
    inputs: RunInputs
    outputs: RunOutputs


def experiment_message(found: Experiment) -> ExperimentMessage:
    """An experiment of ours."""
    return ExperimentMessage(
        experiment_id=str(found.id),
        name=found.name,
        artifact_location=f"mlflow-artifacts:/{found.id}",
        lifecycle_stage=found.lifecycle,
        last_update_time=found.updated_ms,
        creation_time=found.created_ms,
        tags=_pairs(list(found.tags.items())),
    )


def run_message(run: RunView) -> Run:
    """A run of ours."""
    return Run(
        info=run_info(run),
        data=RunData(metrics=metric_messages(run.metrics), params=_pairs(run.params), tags=_pairs(run.tags)),
        inputs=RunInputs(
            dataset_inputs=[_dataset(used) for used in run.datasets],
            model_inputs=[ModelInput(model_id) for model_id in run.models_in],
        ),
        outputs=RunOutputs([ModelOutput(model_id, step) for model_id, step in run.models_out]),
    )


def run_info(run: RunView) -> RunInfo:
    """What a run of ours is."""
    return RunInfo(
        run_uuid=run.id,
        run_id=run.id,
        run_name=run.name,
        experiment_id=str(run.experiment_id),
        user_id=run.user,
        status=STATUSES[run.status],
        start_time=run.started_ms,
        end_time=run.ended_ms,
        artifact_uri=f"mlflow-artifacts:/{run.experiment_id}/{run.id}/artifacts",
        lifecycle_stage=run.lifecycle,
    )


def metric_messages(points: Iterable[MetricPoint], run_id: str = "") -> list[Metric]:
    """Points of ours."""
    return [Metric(point.name, number(point.value), point.at_ms, point.step, run_id) for point in points]


def number(value: float) -> float | str:
    """A number as JSON has it: NaN is a text, and an infinity the largest number there is, as MLflow tells it.

    >>> number(0.5), number(math.nan), number(-math.inf)
    (0.5, 'NaN', -1.7976931348623157e+308)
    """
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else math.copysign(LARGEST, value)


def our_status(status: str) -> str:
    """A status of ours for the name, or number, of MLflow's.

    >>> our_status("KILLED"), our_status("3")
    ('interrupted', 'finished')
    """
    found = _OURS.get(status)
    if found is None:
        raise InvalidInput(f"status is {status[:40]!r}; allowed are {', '.join(STATUSES.values())}")
    return found


def experiment_number(text: str) -> int:
    """An experiment's id from its text.

    >>> experiment_number("12")
    12
    """
    try:
        if len(text) <= 40 and text.isascii():
            return int(text)
    except ValueError:
        pass
    raise InvalidInput(f"Invalid experiment ID {text[:40]!r}. Experiment ID must be a valid integer.")


def _pairs(values: Sequence[tuple[str, str]]) -> list[Pair]:
    return [Pair(key, value) for key, value in values]


def _dataset(used: DatasetInput) -> DatasetInputMessage:
    dataset = DatasetMessage(used.name, used.fingerprint, used.source_type, used.source, used.schema, used.profile)
    return DatasetInputMessage(dataset, _pairs(list(used.tags.items())))
