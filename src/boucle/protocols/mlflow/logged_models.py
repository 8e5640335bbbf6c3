"""MLflow's routes of logged models. Their files are answered in `artifacts.py`."""

from dataclasses import dataclass
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Connection

from boucle.identity.http import Request, Response, Route
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.protocols.mlflow.entities import number
from boucle.protocols.mlflow.errors import EMPTY, reply
from boucle.protocols.mlflow.messages import KeyValue, asked, missing
from boucle.runs import logged_models
from boucle.runs.artifacts import model_uri
from boucle.runs.search import logged_models as searches
from boucle.runs.search.logged_models import search_logged_models

_STATUSES: Final = {
    "UNSPECIFIED": "LOGGED_MODEL_STATUS_UNSPECIFIED",
    "PENDING": "LOGGED_MODEL_PENDING",
    "READY": "LOGGED_MODEL_READY",
    "FAILED": "LOGGED_MODEL_UPLOAD_FAILED",
}
_BY_NAME: Final = {wire: status for status, wire in _STATUSES.items()}


class Create(Struct, frozen=True, kw_only=True):
    """Fields of `logged-models`."""

    experiment_id: str = ""
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: list[KeyValue] = []
    tags: list[KeyValue] = []


class Finalize(Struct, frozen=True):
    """Fields of `PATCH logged-models/{model_id}`."""

    status: str | int = ""


class Params(Struct, frozen=True):
    """Fields of `logged-models/{model_id}/params`."""

    params: list[KeyValue] = []


class Tags(Struct, frozen=True):
    """Fields of `logged-models/{model_id}/tags`."""

    tags: list[KeyValue] = []


class OnDataset(Struct, frozen=True):
    """A dataset that metrics are narrowed to."""

    dataset_name: str = ""
    dataset_digest: str | None = None


class OrderBy(Struct, frozen=True):
    """A key to order by."""

    field_name: str = ""
    ascending: bool = True
    dataset_name: str | None = None
    dataset_digest: str | None = None


class Search(Struct, frozen=True):
    """Fields of `logged-models/search`."""

    experiment_ids: list[str] = []
    filter: str | None = None
    datasets: list[OnDataset] = []
    max_results: int | None = None
    order_by: list[OrderBy] = []
    page_token: str | None = None


def routes(store: Store) -> list[Route]:
    """The routes behind MLflow's prefixes."""
    doors = _Doors(store)
    one = "/mlflow/logged-models/{model_id}"
    return [
        Route("POST", "/mlflow/logged-models", "write", doors.create),
        Route("POST", "/mlflow/logged-models/search", "read", doors.search),
        Route("GET", one, "read", doors.get),
        Route("PATCH", one, "write", doors.finalize),
        Route("DELETE", one, "write", doors.delete),
        Route("PATCH", f"{one}/tags", "write", doors.set_tags),
        Route("DELETE", f"{one}/tags/{{tag_key...}}", "write", doors.delete_tag),
        Route("POST", f"{one}/params", "write", doors.log_params),
    ]


@dataclass(frozen=True, slots=True)
class _Doors:
    store: Store

    def create(self, request: Request) -> Response:
        """`POST logged-models`"""
        message = asked(request, Create)
        model = logged_models.create_logged_model(
            self.store,
            request.project,
            _experiment(message.experiment_id),
            name=message.name or None,
            model_type=message.model_type or None,
            source_run_id=message.source_run_id or None,
            params=_pairs(message.params),
            tags=_pairs(message.tags),
            created_by=request.principal.name,
        )
        return reply({"model": message_of(model)})

    def get(self, request: Request) -> Response:
        """`GET logged-models/{model_id}`"""
        deleted = request.query.get("allow_deleted", ["false"])[-1].lower() == "true"
        model = logged_models.get_logged_model(self.store, request.project, _id(request), deleted=deleted)
        return reply({"model": message_of(model)})

    def search(self, request: Request) -> Response:
        """`POST logged-models/search`"""
        message = asked(request, Search)
        if any(not one.dataset_name for one in message.datasets):
            raise missing("dataset_name")

        def query(conn: Connection) -> tuple[list[logged_models.LoggedModel], str | None]:
            page = search_logged_models(
                conn,
                request.project,
                [_experiment(one) for one in message.experiment_ids],
                filter_text=message.filter or "",
                datasets=[searches.OnDataset(one.dataset_name, one.dataset_digest) for one in message.datasets],
                order_by=[
                    searches.OrderBy(one.field_name, one.ascending, one.dataset_name, one.dataset_digest)
                    for one in message.order_by
                ],
                max_results=message.max_results or 100,
                page_token=message.page_token,
            )
            return logged_models.load_logged_models(conn, page.items), page.token

        models, token = self.store.read(query)
        answer: dict[str, Any] = {"models": [message_of(model) for model in models]}
        return reply(answer | ({"next_page_token": token} if token else {}))

    def finalize(self, request: Request) -> Response:
        """`PATCH logged-models/{model_id}`"""
        given = asked(request, Finalize).status
        if given == "":
            raise missing("status")
        status = list(_STATUSES)[given] if isinstance(given, int) and 0 <= given < 4 else _BY_NAME.get(str(given))
        if status is None:
            raise InvalidInput(f"status is {str(given)[:100]!r}; allowed are {', '.join(_BY_NAME)}")
        model = logged_models.finalize_logged_model(self.store, request.project, _id(request), status)
        return reply({"model": message_of(model)})

    def delete(self, request: Request) -> Response:
        """`DELETE logged-models/{model_id}`"""
        logged_models.delete_logged_model(self.store, request.project, _id(request))
        return EMPTY

    def set_tags(self, request: Request) -> Response:
        """`PATCH logged-models/{model_id}/tags`"""
        tags = _pairs(asked(request, Tags).tags)
        logged_models.set_logged_model_tags(self.store, request.project, _id(request), tags)
        return EMPTY

    def delete_tag(self, request: Request) -> Response:
        """`DELETE logged-models/{model_id}/tags/{tag_key}`"""
        logged_models.delete_logged_model_tag(self.store, request.project, _id(request), request.values["tag_key"])
        return EMPTY

    def log_params(self, request: Request) -> Response:
        """`POST logged-models/{model_id}/params`"""
        params = _pairs(asked(request, Params).params)
        logged_models.log_logged_model_params(self.store, request.project, _id(request), params)
        return EMPTY


def message_of(model: logged_models.LoggedModel) -> dict[str, Any]:
    """A logged model as MLflow has it."""
    info = {
        "model_id": model.id,
        "experiment_id": str(model.experiment_id),
        "name": model.name,
        "creation_timestamp_ms": model.created_ms,
        "last_updated_timestamp_ms": model.updated_ms,
        "artifact_uri": model_uri(model.experiment_id, model.id),
        "status": _STATUSES[model.status],
        "status_message": model.status_message,
        "model_type": model.model_type,
        "source_run_id": model.source_run_id,
        "tags": _listed(model.tags),
    }
    data = {"params": _listed(model.params), "metrics": [_metric(model.id, metric) for metric in model.metrics]}
    return {"info": _present(info), "data": _present(data)}


def _metric(model_id: str, metric: logged_models.ModelMetric) -> dict[str, Any]:
    return _present(
        {
            "key": metric.name,
            "value": number(metric.value),
            "timestamp": metric.at_ms,
            "step": metric.step,
            "model_id": model_id,
            "run_id": metric.run_id,
            "dataset_name": metric.dataset_name,
            "dataset_digest": metric.dataset_fingerprint,
        }
    )


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None and value != []}


def _listed(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _pairs(given: list[KeyValue]) -> list[tuple[str, str]]:
    return [(one.key, one.value) for one in given]


def _id(request: Request) -> str:
    return request.values["model_id"]


def _experiment(text: str) -> int:
    if not text:
        raise missing("experiment_id")
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise InvalidInput(f"experiment_id is {text[:100]!r}; allowed are whole numbers")
    return int(text)
