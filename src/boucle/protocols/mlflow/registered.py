"""Models and versions of the registry as MLflow's clients read them. Fields that are absent are left out."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field

from boucle.kernel.clock import to_ms
from boucle.kernel.errors import InvalidInput
from boucle.models.records import ModelFacts, VersionFacts
from boucle.protocols.mlflow.messages import KeyValue, missing

_LARGEST: Final = 2**31 - 1


class Alias(Struct, frozen=True):
    """Where an alias points."""

    alias: str
    version: str


class VersionMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A version."""

    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    user_id: str
    current_stage: str
    status: str
    description: str | None = None
    source: str | None = None
    run_id: str | None = None
    run_link: str | None = None
    model_id: str | None = None
    tags: list[KeyValue] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)


class ModelMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A registered model."""

    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str | None = None
    latest_versions: list[VersionMessage] = field(default_factory=list)
    tags: list[KeyValue] = field(default_factory=list)
    aliases: list[Alias] = field(default_factory=list)


def version_message(facts: VersionFacts) -> VersionMessage:
    """A version in an answer. What the pipeline registered has no source of a client: its own place stands for it."""
    version = facts.version
    return VersionMessage(
        name=version.model,
        version=str(version.number),
        creation_timestamp=to_ms(version.created_at),
        last_updated_timestamp=version.updated_ms,
        user_id=version.author,
        current_stage=version.stage,
        status="READY",
        description=(version.note if version.source is None and not version.description else version.description) or "",
        source=version.source or place_of(version.model, version.number),
        run_id=version.run_id or None,
        run_link=version.run_link or None,
        model_id=version.model_id,
        tags=_pairs(facts.tags),
        aliases=facts.aliases,
    )


def model_message(facts: ModelFacts) -> ModelMessage:
    """A model in an answer."""
    return ModelMessage(
        name=facts.model.name,
        creation_timestamp=facts.model.created_ms,
        last_updated_timestamp=facts.model.updated_ms,
        description=facts.model.description or None,
        latest_versions=[version_message(one) for one in facts.latest],
        tags=_pairs(facts.tags),
        aliases=[Alias(alias, str(number)) for alias, number in facts.aliases.items()],
    )


def place_of(name: str, number: int) -> str:
    """Where clients find a version's files.

    >>> place_of("flights", 3)
    'mlflow-artifacts:/versions/flights/3'
    """
    return f"mlflow-artifacts:/versions/{name}/{number}"


def number_of(version: str) -> int:
    """A version's number as clients send it: a text.

    >>> number_of("3")
    3
    """
    if not version:
        raise missing("version")
    if not (version.isascii() and version.isdecimal()) or len(version) > 10 or int(version) > _LARGEST:
        raise InvalidInput(f"Invalid value {version[:100]!r} for parameter 'version' supplied: it must be an integer.")
    return int(version)


def needed(**fields: str) -> None:
    """InvalidInput that names a field which is not there."""
    for name, value in fields.items():
        if not value:
            raise missing(name)


def tags_of(given: list[KeyValue]) -> dict[str, str]:
    """Tags by name; of a name that comes several times the last counts."""
    return {one.key: one.value for one in given}


def _pairs(tags: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(name, value) for name, value in tags.items()]


class Search(Struct, frozen=True):
    """Fields of `registered-models/search` and `model-versions/search`; 0 results stand for the default number."""

    filter: str = ""
    max_results: int = 0
    order_by: list[str] = []
    page_token: str = ""
