"""Taking versions and models away, and giving a model another name. Only `boucle.governance` may import this module.

Whoever calls has asked whether a policy forbids it, in the same transaction. Every function leaves an audit record.
"""

from datetime import datetime

from sqlalchemy import Connection

from boucle.kernel import audit
from boucle.kernel.clock import to_ms
from boucle.models import store as tables
from boucle.models.aliases import PermitBook, point_alias
from boucle.models.records import AliasMove, ModelVersion


def delete_version(conn: Connection, version: ModelVersion, *, book: PermitBook, actor: str, at: datetime) -> None:
    """Take a version away with the aliases that point at it. Its number is never given again."""
    project_id, model = version.project_id, version.model
    for alias, number in tables.aliases_of(conn, project_id, [model])[model].items():
        if number == version.number:
            _take_away(conn, project_id, model, alias, book=book, actor=actor, at=at)
    tables.change_version(conn, version, to_ms(at), deleted_ms=to_ms(at), stage="None")
    tables.touch_model(conn, project_id, model, to_ms(at))
    audit.append(
        conn,
        project_id=project_id,
        actor=actor,
        action="version.delete",
        subject=f"{model}/{version.number}",
        details={"bundle_digest": version.bundle_digest, "source": version.source},
        at=at,
    )


def delete_model(conn: Connection, project_id: str, model: str, *, book: PermitBook, actor: str, at: datetime) -> None:
    """Take a model away with its versions and aliases. Its name keeps its policy, and its numbers stay used up."""
    for alias in tables.aliases_of(conn, project_id, [model])[model]:
        _take_away(conn, project_id, model, alias, book=book, actor=actor, at=at)
    tables.delete_model(conn, project_id, model, to_ms(at))
    audit.append(conn, project_id=project_id, actor=actor, action="model.delete", subject=model, details={}, at=at)


def rename_model(conn: Connection, project_id: str, model: str, new_name: str, *, actor: str, at: datetime) -> None:
    """Give a model another name. What gates and persons said about it stays with the old one."""
    tables.rename_model(conn, project_id, model, new_name, to_ms(at))
    audit.append(
        conn,
        project_id=project_id,
        actor=actor,
        action="model.rename",
        subject=new_name,
        details={"previous": model},
        at=at,
    )


def _take_away(
    conn: Connection, project_id: str, model: str, alias: str, *, book: PermitBook, actor: str, at: datetime
) -> None:
    move = AliasMove(
        project_id=project_id,
        model=model,
        alias=alias,
        number=None,
        permit_id=None,
        actor=actor,
        reason="the version was deleted",
        moved_at=at,
        effective_at=at,
    )
    point_alias(conn, move, book=book)
