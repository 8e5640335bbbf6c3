"""The nouns of webhooks: who is told of changes in the registry."""

from typing import Final, Literal

from msgspec import Struct

EVENTS: Final = (
    "registered_model.created",
    "model_version.created",
    "model_version_tag.set",
    "model_version_tag.deleted",
    "model_version_alias.created",
    "model_version_alias.deleted",
    "prompt.created",
    "prompt_version.created",
    "prompt_tag.set",
    "prompt_tag.deleted",
    "prompt_version_tag.set",
    "prompt_version_tag.deleted",
    "prompt_alias.created",
    "prompt_alias.deleted",
)
"""What a webhook may be told of, as MLflow names it: `<entity>.<action>`. An alias that moves is `created` anew."""

WebhookStatus = Literal["ACTIVE", "DISABLED"]


class Webhook(Struct, frozen=True, kw_only=True):
    """An address that is told of some events of a project's registry."""

    project_id: str
    id: str
    name: str
    url: str
    events: list[str]
    description: str | None = None
    status: WebhookStatus = "ACTIVE"
    created_ms: int
    updated_ms: int


class Host(Struct, frozen=True, kw_only=True):
    """A host that an administrator allowed webhooks to call."""

    host: str
    private: bool
    """Whether its address may be of a private network or of this machine."""
    allowed_by: str
    allowed_ms: int


class Delivery(Struct, frozen=True, kw_only=True):
    """One event on its way to one webhook."""

    id: str
    """The same at every attempt, so that a receiver can tell a repetition."""
    webhook_id: str
    body: str
    attempts: int
    """How often it was tried."""
    next_ms: int


class Sent(Struct, frozen=True, kw_only=True):
    """What became of an attempt."""

    status: int | None = None
    """HTTP status of the answer; None if there was none."""
    body: str = ""
    """The beginning of the answer."""
    problem: str | None = None
    """Why there is no answer."""

    @property
    def arrived(self) -> bool:
        """Whether the receiver took it."""
        return self.status is not None and 200 <= self.status < 300
