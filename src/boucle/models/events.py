"""What webhooks are told of the registry, in the unit of work that makes it happen; payloads as MLflow's."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection

from boucle.models import store as tables
from boucle.models.records import PROMPT, AliasMove, ModelVersion
from boucle.models.webhooks.api import emit


def model_made(conn: Connection, project_id: str, name: str, description: str | None, at: datetime) -> None:
    """A model, or a prompt, was made."""
    tags = _tags(conn, project_id, name)
    event = "prompt.created" if _is_prompt(tags) else "registered_model.created"
    emit(conn, project_id, event, {"name": name, "tags": _shown(tags), "description": description}, at)


def version_made(conn: Connection, version: ModelVersion, tags: Mapping[str, str]) -> None:
    """A version of a model, or of a prompt, was made."""
    data: dict[str, object] = {"name": version.model, "version": str(version.number)}
    if _is_prompt(tags):
        data |= {"template": tags.get("mlflow.prompt.text")}
        event = "prompt_version.created"
    else:
        data |= {"source": version.source, "run_id": version.run_id or None}
        event = "model_version.created"
    data |= {"tags": _shown(tags), "description": version.description}
    emit(conn, version.project_id, event, data, version.created_at)


def version_tagged(
    conn: Connection, project_id: str, name: str, number: int, key: str, value: str | None, at: datetime
) -> None:
    """A tag of a version was set, or taken away."""
    kind = "prompt_version_tag" if _is_prompt(_tags(conn, project_id, name)) else "model_version_tag"
    data = {"name": name, "version": str(number), "key": key}
    _tag(conn, project_id, kind, data, value, at)


def model_tagged(conn: Connection, project_id: str, name: str, key: str, value: str | None, at: datetime) -> None:
    """A tag of a prompt was set, or taken away; of a model there is no such event."""
    if _is_prompt(_tags(conn, project_id, name)):
        _tag(conn, project_id, "prompt_tag", {"name": name, "key": key}, value, at)


def alias_moved(conn: Connection, move: AliasMove) -> None:
    """An alias points at a version now, or was taken away."""
    kind = "prompt_alias" if _is_prompt(_tags(conn, move.project_id, move.model)) else "model_version_alias"
    data = {"name": move.model, "alias": move.alias}
    if move.number is None:
        emit(conn, move.project_id, f"{kind}.deleted", data, move.moved_at)
    else:
        emit(conn, move.project_id, f"{kind}.created", {**data, "version": str(move.number)}, move.moved_at)


def _tag(
    conn: Connection,
    project_id: str,
    kind: str,
    data: Mapping[str, object],
    value: str | None,
    at: datetime,
) -> None:
    if value is None:
        emit(conn, project_id, f"{kind}.deleted", data, at)
    else:
        emit(conn, project_id, f"{kind}.set", {**data, "value": value}, at)


def _tags(conn: Connection, project_id: str, name: str) -> dict[str, str]:
    return tables.tags_of_models(conn, project_id, [name])[name]


def _is_prompt(tags: Mapping[str, str]) -> bool:
    return tags.get(PROMPT, "").lower() == "true"


def _shown(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if name not in (PROMPT, "mlflow.prompt.text")}
