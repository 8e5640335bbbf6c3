"""MLflow's doors to runs, but those by which they are logged to and searched."""

import json

from msgspec import Struct, field

from boucle.identity.http import MAX_BODY_BYTES, Request, Response, Route
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.protocols.mlflow.entities import experiment_number, our_status, run_info, run_message
from boucle.protocols.mlflow.errors import EMPTY, reply
from boucle.protocols.mlflow.messages import KeyValue, Named, asked, decode, missing
from boucle.runs import lifecycle
from boucle.runs.inbox import Inbox

_OF_A_MODEL = ("artifact_path", "flavors", "utc_time_created", "run_id")


class CreateRun(Struct, frozen=True):
    """What `runs/create` is sent."""

    experiment_id: str = ""
    user_id: str = ""
    run_name: str = ""
    start_time: int | None = None
    tags: list[KeyValue] = field(default_factory=list)


class UpdateRun(Named, frozen=True, kw_only=True):
    """What `runs/update` is sent. A status may also come as its number."""

    status: str | int | None = None
    end_time: int | None = None
    run_name: str = ""


class DeleteTag(Named, frozen=True, kw_only=True):
    """What `runs/delete-tag` is sent."""

    key: str = ""


class LogModel(Named, frozen=True, kw_only=True):
    """What `runs/log-model` is sent."""

    model_json: str = ""


def routes(store: Store, inbox: Inbox) -> list[Route]:
    """Every door. Those that each run goes through twice are answered on the server's loop."""

    async def create(request: Request) -> Response:
        message = decode(await request.read(MAX_BODY_BYTES), CreateRun)
        making = lifecycle.creation(
            store,
            request.project,
            experiment_id=experiment_number(message.experiment_id or "0"),
            name=message.run_name,
            user=message.user_id,
            started_ms=message.start_time,
            tags=[(tag.key, tag.value) for tag in message.tags],
            created_by=request.principal.name,
        )
        return reply({"run": run_message(await inbox.run(making))})

    async def update(request: Request) -> Response:
        message = decode(await request.read(MAX_BODY_BYTES), UpdateRun)
        changing = lifecycle.change(
            request.project,
            message.run,
            status=None if message.status is None else our_status(str(message.status)),
            ended_ms=message.end_time,
            name=message.run_name,
        )
        return reply({"run_info": run_info(await inbox.run(changing))})

    def get(request: Request) -> Response:
        return reply({"run": run_message(lifecycle.get_run(store, request.project, asked(request, Named).run))})

    def delete(request: Request) -> Response:
        lifecycle.delete_run(store, request.project, decode(request.body, Named).run)
        return EMPTY

    def restore(request: Request) -> Response:
        lifecycle.restore_run(store, request.project, decode(request.body, Named).run)
        return EMPTY

    def delete_tag(request: Request) -> Response:
        message = decode(request.body, DeleteTag)
        if not message.key:
            raise missing("key")
        lifecycle.delete_tag(store, request.project, message.run, message.key)
        return EMPTY

    def log_model(request: Request) -> Response:
        message = decode(request.body, LogModel)
        if not message.model_json:
            raise missing("model_json")
        lifecycle.record_model(store, request.project, message.run, _model(message.model_json))
        return EMPTY

    here = "/mlflow/runs"
    return [
        Route("POST", f"{here}/create", "write", create),
        Route("POST", f"{here}/update", "write", update),
        Route("GET", f"{here}/get", "read", get),
        Route("POST", f"{here}/delete", "write", delete),
        Route("POST", f"{here}/restore", "write", restore),
        Route("POST", f"{here}/delete-tag", "write", delete_tag),
        Route("POST", f"{here}/log-model", "write", log_model),
    ]


def _model(text: str) -> dict[str, object]:
    """A model as clients before MLflow 3 tell of it."""
    try:
        model = json.loads(text)
    except (ValueError, RecursionError):
        model = None
    if not isinstance(model, dict):
        raise InvalidInput("Malformed model info: model_json is no JSON object")
    absent = [field for field in _OF_A_MODEL if field not in model]
    if absent:
        raise InvalidInput(f"Model json is missing mandatory fields: {', '.join(absent)}")
    return model
