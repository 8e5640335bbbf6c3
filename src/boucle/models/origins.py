"""Which versions came from something: the question that lineage asks of the registry."""

from typing import Literal

from sqlalchemy import Connection, select

from boucle.models.records import ModelVersion
from boucle.models.store import version_of
from boucle.models.tables import model_versions


def versions_from(
    conn: Connection,
    project_id: str,
    kind: Literal["run_id", "bundle_digest", "model_id", "dataset_digest"],
    value: str,
) -> list[ModelVersion]:
    """Versions made from a run, a bundle, a logged model or a dataset version; those deleted are left out."""
    query = (
        select(model_versions)
        .where(
            model_versions.c.project_id == project_id,
            model_versions.c[kind] == value,
            model_versions.c.deleted_ms.is_(None),
        )
        .order_by(model_versions.c.model, model_versions.c.number)
    )
    return [version_of(row) for row in conn.execute(query).mappings()]


def versions_of_files(conn: Connection, project_id: str, bundle_digest: str) -> list[ModelVersion]:
    """Every version of any model that has these files, deleted ones too."""
    query = select(model_versions).where(
        model_versions.c.project_id == project_id, model_versions.c.bundle_digest == bundle_digest
    )
    return [version_of(row) for row in conn.execute(query).mappings()]
