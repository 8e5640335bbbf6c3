"""MLflow's webhooks: `/mlflow/webhooks`. Administrators make, see and try them; no answer ever holds a secret."""

from dataclasses import dataclass
from typing import Final, Literal

from msgspec import UNSET, Struct, UnsetType, field

from boucle.identity.http import Request, Response, Route
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.models.webhooks import api
from boucle.models.webhooks.delivery import try_out
from boucle.models.webhooks.records import Webhook, WebhookStatus
from boucle.protocols.mlflow.errors import EMPTY, reply
from boucle.protocols.mlflow.messages import asked, decode, missing

_MOST: Final = 1000
_DEFAULT: Final = 100


class EventMessage(Struct, frozen=True):
    """An event as MLflow's messages have it: `{"entity": "MODEL_VERSION", "action": "CREATED"}`."""

    entity: str = ""
    action: str = ""

    @property
    def name(self) -> str:
        """`model_version.created`."""
        return f"{self.entity}.{self.action}".lower()


class CreateWebhook(Struct, frozen=True):
    """Body of `POST /mlflow/webhooks`."""

    name: str = ""
    url: str = ""
    events: list[EventMessage] = field(default_factory=list)
    description: str | None = None
    secret: str | None = None
    status: WebhookStatus | None = None


class UpdateWebhook(Struct, frozen=True):
    """Body of `PATCH /mlflow/webhooks/{webhook_id}`: what is absent stays."""

    name: str | None = None
    url: str | None = None
    events: list[EventMessage] = field(default_factory=list)
    description: str | None = None
    secret: str | None = None
    status: WebhookStatus | None = None


class ListWebhooks(Struct, frozen=True):
    """Query of `GET /mlflow/webhooks`."""

    max_results: int = _DEFAULT
    page_token: str = ""


class TestWebhook(Struct, frozen=True):
    """Body of `POST /mlflow/webhooks/{webhook_id}/test`."""

    event: EventMessage | None = None


class WebhookMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A webhook in an answer."""

    webhook_id: str
    name: str
    url: str
    events: list[EventMessage]
    status: Literal["ACTIVE", "DISABLED"] | UnsetType = UNSET
    description: str | None = None
    creation_timestamp: int
    last_updated_timestamp: int


def routes(store: Store) -> list[Route]:
    """Every door of webhooks."""
    doors = _Doors(store)
    one = "/mlflow/webhooks/{webhook_id}"
    return [
        Route("POST", "/mlflow/webhooks", "administer", doors.create),
        Route("GET", "/mlflow/webhooks", "administer", doors.list_),
        Route("GET", one, "administer", doors.get),
        Route("PATCH", one, "administer", doors.update),
        Route("DELETE", one, "administer", doors.delete),
        Route("POST", f"{one}/test", "administer", doors.test),
    ]


@dataclass(frozen=True, slots=True)
class _Doors:
    store: Store

    def create(self, request: Request) -> Response:
        """`POST webhooks`"""
        asks = decode(request.body, CreateWebhook)
        for name in ("name", "url", "events"):
            if not getattr(asks, name):
                raise missing(name)
        made = api.create(
            self.store,
            project_id=request.project,
            name=asks.name,
            url=asks.url,
            events=[event.name for event in asks.events],
            actor=request.principal.name,
            description=asks.description,
            secret=asks.secret or None,
            status=asks.status or "ACTIVE",
        )
        return reply({"webhook": _message(made)})

    def list_(self, request: Request) -> Response:
        """`GET webhooks`"""
        asks = asked(request, ListWebhooks)
        if not 1 <= asks.max_results <= _MOST:
            raise InvalidInput(f"max_results is {asks.max_results}; allowed are 1 to {_MOST}")
        found = api.list_webhooks(self.store, request.project, after=asks.page_token, limit=asks.max_results + 1)
        page = found[: asks.max_results]
        more = {"next_page_token": page[-1].id} if len(found) > len(page) else {}
        return reply({"webhooks": [_message(one) for one in page], **more})

    def get(self, request: Request) -> Response:
        """`GET webhooks/{webhook_id}`"""
        return reply({"webhook": _message(api.get(self.store, request.project, request.values["webhook_id"]))})

    def update(self, request: Request) -> Response:
        """`PATCH webhooks/{webhook_id}`"""
        asks = decode(request.body, UpdateWebhook)
        changed = api.update(
            self.store,
            request.project,
            request.values["webhook_id"],
            actor=request.principal.name,
            name=asks.name or None,
            url=asks.url or None,
            events=[event.name for event in asks.events] or None,
            description=asks.description,
            secret=asks.secret or None,
            status=asks.status,
        )
        return reply({"webhook": _message(changed)})

    def delete(self, request: Request) -> Response:
        """`DELETE webhooks/{webhook_id}`"""
        api.delete(self.store, request.project, request.values["webhook_id"], actor=request.principal.name)
        return EMPTY

    def test(self, request: Request) -> Response:
        """`POST webhooks/{webhook_id}/test`"""
        event = decode(request.body, TestWebhook).event
        sent = try_out(self.store, request.project, request.values["webhook_id"], event.name if event else None)
        result: dict[str, object] = {"success": sent.arrived}
        if sent.status is not None:
            result |= {"response_status": sent.status, "response_body": sent.body}
        if sent.problem is not None:
            result["error_message"] = sent.problem
        return reply({"result": result})


def _message(webhook: Webhook) -> WebhookMessage:
    return WebhookMessage(
        webhook_id=webhook.id,
        name=webhook.name,
        url=webhook.url,
        events=[EventMessage(*event.upper().split(".")) for event in webhook.events],
        status=webhook.status,
        description=webhook.description,
        creation_timestamp=webhook.created_ms,
        last_updated_timestamp=webhook.updated_ms,
    )
