"""MLflow's doors to what runs used and made: datasets and logged models."""

from msgspec import Struct, field

from boucle.identity.http import Request, Response, Route
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.protocols.mlflow.entities import ModelInput, ModelOutput, experiment_number
from boucle.protocols.mlflow.errors import EMPTY, reply
from boucle.protocols.mlflow.messages import KeyValue, Named, decode, missing
from boucle.runs import history, lifecycle
from boucle.runs.views import DatasetInput

_MAX_EXPERIMENTS = 20


class Dataset(Struct, frozen=True):
    """A dataset as a client tells of it."""

    name: str = ""
    digest: str = ""
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None


class DatasetUse(Struct, frozen=True):
    """A dataset, and how it was used."""

    dataset: Dataset | None = None
    tags: list[KeyValue] = field(default_factory=list)


class LogInputs(Named, frozen=True, kw_only=True):
    """What `runs/log-inputs` is sent."""

    datasets: list[DatasetUse] = field(default_factory=list)
    models: list[ModelInput] = field(default_factory=list)


class LogOutputs(Named, frozen=True, kw_only=True):
    """What `runs/outputs` is sent."""

    models: list[ModelOutput] = field(default_factory=list)


class SearchDatasets(Struct, frozen=True):
    """What `experiments/search-datasets` is sent."""

    experiment_ids: list[str] = field(default_factory=list)


class DatasetSummary(Struct, frozen=True, omit_defaults=True):
    """A dataset of an experiment."""

    experiment_id: str
    name: str
    digest: str
    context: str | None = None


def routes(store: Store) -> list[Route]:
    """Every door."""

    def log_inputs(request: Request) -> Response:
        message = decode(request.body, LogInputs)
        lifecycle.log_inputs(
            store,
            request.project,
            message.run,
            [_used(use, at) for at, use in enumerate(message.datasets)],
            [model.model_id for model in message.models],
        )
        return EMPTY

    def log_outputs(request: Request) -> Response:
        message = decode(request.body, LogOutputs)
        if not message.models:
            raise missing("models")
        models = [(model.model_id, model.step) for model in message.models]
        lifecycle.log_outputs(store, request.project, message.run, models)
        return EMPTY

    def search_datasets(request: Request) -> Response:
        numbers = [experiment_number(text) for text in decode(request.body, SearchDatasets).experiment_ids]
        if not 1 <= len(numbers) <= _MAX_EXPERIMENTS:
            raise InvalidInput(f"experiment_ids has {len(numbers)} entries; allowed are 1 to {_MAX_EXPERIMENTS}")
        found = history.used_datasets(store, request.project, numbers)
        summaries = [DatasetSummary(str(one.experiment_id), one.name, one.fingerprint, one.context) for one in found]
        return reply({"dataset_summaries": summaries} if summaries else {})

    return [
        Route("POST", "/mlflow/runs/log-inputs", "write", log_inputs),
        Route("POST", "/mlflow/runs/outputs", "write", log_outputs),
        Route("POST", "/mlflow/experiments/search-datasets", "read", search_datasets),
    ]


def _used(use: DatasetUse, at: int) -> DatasetInput:
    dataset = use.dataset
    if dataset is None:
        raise missing(f"datasets[{at}].dataset")
    return DatasetInput(
        name=dataset.name,
        fingerprint=dataset.digest,
        source_type=dataset.source_type,
        source=dataset.source,
        schema=dataset.schema,
        profile=dataset.profile,
        tags={tag.key: tag.value for tag in use.tags},
    )
