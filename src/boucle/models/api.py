"""The registry: versions, aliases and their history. Moving an alias is `boucle.governance.api`'s."""

from datetime import datetime

from sqlalchemy import Connection

from boucle.kernel import audit
from boucle.kernel.digests import Digest, short
from boucle.kernel.errors import NotFound
from boucle.kernel.points import reach
from boucle.kernel.store import Store
from boucle.models import store as tables
from boucle.models.records import AliasMove, ModelVersion

__all__ = ["alias", "get_version", "history", "list_versions", "register", "version_at"]


def register(
    store: Store,
    *,
    project_id: str,
    model: str,
    bundle_digest: Digest,
    dataset_digest: Digest,
    evaluation_digest: Digest,
    run_id: str,
    author: str,
    note: str,
) -> ModelVersion:
    """Give a bundle the next number. The same bundle with the same evaluation again is the same version.

    NotFound if the bundle, the dataset or the evaluation is not kept in the blob store.
    """
    for what, digest in (("bundle", bundle_digest), ("dataset", dataset_digest), ("evaluation", evaluation_digest)):
        if not store.blobs.has(digest):
            raise NotFound(f"cannot register a version of {model!r}: its {what} {short(digest)} is not in the store")

    def unit(conn: Connection) -> ModelVersion:
        same = tables.find_same(conn, project_id, model, bundle_digest, evaluation_digest)
        if same is not None:
            return same
        version = ModelVersion(
            project_id=project_id,
            model=model,
            number=tables.next_number(conn, project_id, model),
            bundle_digest=bundle_digest,
            dataset_digest=dataset_digest,
            evaluation_digest=evaluation_digest,
            run_id=run_id,
            author=author,
            created_at=store.clock.now(),
            note=note,
        )
        tables.add_version(conn, version)
        audit.append(
            conn,
            project_id=project_id,
            actor=author,
            action="model.register",
            subject=f"{model}/{version.number}",
            details={
                "bundle_digest": bundle_digest,
                "dataset_digest": dataset_digest,
                "evaluation_digest": evaluation_digest,
                "run_id": run_id,
                "note": note,
            },
            at=version.created_at,
        )
        return version

    reach("version.known")
    version = store.write(unit)
    reach("version.registered")
    return version


def get_version(store: Store, project_id: str, model: str, number: int) -> ModelVersion:
    """One version; NotFound names those that exist."""
    version = store.read(lambda conn: tables.find_version(conn, project_id, model, number))
    if version is None:
        count = len(list_versions(store, project_id, model))
        known = f"versions 1 to {count} exist" if count else "there are no versions yet"
        raise NotFound(f"no version {number} of model {model!r}; {known}", hint="boucle models list")
    return version


def list_versions(store: Store, project_id: str, model: str) -> list[ModelVersion]:
    """Every version, oldest first."""
    return store.read(lambda conn: tables.all_versions(conn, project_id, model))


def alias(store: Store, project_id: str, model: str, alias: str) -> AliasMove | None:
    """Where an alias points: its newest move, or None if it never moved."""
    moves = history(store, project_id, model, alias)
    return moves[-1] if moves else None


def history(store: Store, project_id: str, model: str, alias: str) -> list[AliasMove]:
    """Every move of an alias in the order in which it was made, oldest first."""
    return store.read(lambda conn: tables.all_moves(conn, project_id, model, alias))


def ever_pointed_at(conn: Connection, version: ModelVersion, alias: str) -> bool:
    """Whether an alias points, or pointed, at a version with this version's bundle; asked within a unit of work."""
    moves = tables.all_moves(conn, version.project_id, version.model, alias)
    known = (
        tables.find_version(conn, version.project_id, version.model, number) for number in {m.number for m in moves}
    )
    return any(one is not None and one.bundle_digest == version.bundle_digest for one in known)


def version_at(store: Store, project_id: str, model: str, alias: str, at: datetime) -> int | None:
    """The version that an alias stood for at an event time; None before its first move.

    Among the moves effective by then the one made last counts, so that history replayed again replaces what was
    known before.
    """
    moves = [move for move in history(store, project_id, model, alias) if move.effective_at <= at]
    return moves[-1].number if moves else None
