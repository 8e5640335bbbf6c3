"""Artifacts of runs and logged models: names are rows, bytes are blobs, and what a name stands for may change.

Nothing here opens a path or a URI that a user gave. What a model version is made of is a frozen tree (`freeze_tree`),
which keeps its blobs whatever becomes of the names.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from boucle.kernel.blobs import BlobStore
from boucle.kernel.digests import Digest, canonical_json, short
from boucle.kernel.errors import Conflict, InvalidInput, NotFound
from boucle.kernel.store import Store
from boucle.kernel.trees import TreeEntry
from boucle.kernel.trees import entries as entries_of
from boucle.runs.artifact_paths import Place, checked, parents, place_of
from boucle.runs.tables import artifacts, logged_models, runs

_PAGE: Final = 1000
_SOURCES: Final = "allowed are runs:/<run id>/<path>, models:/<model id> and mlflow-artifacts:/<path>"


class Listed(Struct, frozen=True):
    """One line of a folder's list."""

    path: str
    """From the owner's root."""
    is_dir: bool
    size: int


def check_owner(
    conn: Connection, project_id: str, place: Place, *, writing: bool = False, to_deleted: bool = False
) -> None:
    """Raise NotFound unless the run or logged model is there; InvalidInput to write to a deleted one, unless
    `to_deleted`.
    """
    table = runs if place.kind == "run" else logged_models
    what = "run" if place.kind == "run" else "logged model"
    row = conn.execute(
        select(table.c.experiment_id, table.c.lifecycle).where(
            table.c.id == place.owner, table.c.project_id == project_id
        )
    ).first()
    if row is None or row.experiment_id != place.number:
        raise NotFound(f"there is no {what} {place.owner!r} in experiment {place.number} of project {project_id!r}")
    if writing and row.lifecycle not in ("active", "deleted" if to_deleted else "active"):
        raise InvalidInput(
            f"{what} {place.owner!r} is {row.lifecycle}; artifacts of active ones can be changed",
            hint="restore it first",
        )


def check_free(conn: Connection, project_id: str, place: Place, *, to_deleted: bool = False) -> None:
    """Raise unless the name may stand for a file: the owner takes files, and no folder is a file or file a folder."""
    if not place.path:
        raise InvalidInput("an artifact needs a name below `artifacts/`")
    check_owner(conn, project_id, place, writing=True, to_deleted=to_deleted)
    names = parents(place.path)
    of_owner = (artifacts.c.project_id == project_id) & (artifacts.c.owner == place.owner)
    if names:
        file = conn.scalar(select(artifacts.c.path).where(of_owner, artifacts.c.path.in_(names)).limit(1))
        if file is not None:
            raise InvalidInput(f"{place.path!r} cannot be an artifact: {file!r} is a file, not a folder")
    if conn.scalar(select(artifacts.c.path).where(of_owner, _below(place.path)).limit(1)) is not None:
        raise InvalidInput(f"{place.path!r} is a folder already and cannot be a file, too")


def put(
    conn: Connection,
    project_id: str,
    place: Place,
    digest: Digest,
    size: int,
    now_ms: int,
    *,
    to_deleted: bool = False,
) -> None:
    """Let a name stand for a kept blob, whatever it stood for before."""
    check_free(conn, project_id, place, to_deleted=to_deleted)
    row = {"digest": digest, "size": size, "updated_ms": now_ms}
    key = {"project_id": project_id, "owner": place.owner, "path": place.path}
    statement = insert(artifacts).values(**key, **row)
    conn.execute(statement.on_conflict_do_update(index_elements=list(key), set_=row))


def find(conn: Connection, project_id: str, owner: str, path: str) -> TreeEntry | None:
    """The file of a name, or None."""
    row = conn.execute(
        select(artifacts.c.path, artifacts.c.size, artifacts.c.digest).where(
            artifacts.c.project_id == project_id, artifacts.c.owner == owner, artifacts.c.path == path
        )
    ).first()
    return None if row is None else TreeEntry(row.path, row.size, Digest(row.digest))


def get(conn: Connection, project_id: str, place: Place) -> TreeEntry:
    """The file of a name; NotFound if there is none."""
    check_owner(conn, project_id, place)
    found = find(conn, project_id, place.owner, place.path)
    if found is None:
        raise NotFound(f"there is no artifact {place.path!r} of {place.owner!r}")
    return found


def listing(conn: Connection, project_id: str, owner: str, path: str) -> list[Listed]:
    """What is directly in a folder, by name; nothing for a file or for what is not there.

    Costs as much as there are files, at most; a subfolder with many is left out with its first page.
    """
    found: dict[str, Listed] = {}
    prefix = f"{path}/" if path else ""
    onward = artifacts.c.path > ""
    while True:
        rows = _page(conn, project_id, owner, path, onward)
        for one in group(rows, path):
            found.setdefault(one.path, one)
        if len(rows) < _PAGE:
            return [found[name] for name in sorted(found)]
        last = rows[-1].path
        name, slash, _ = last[len(prefix) :].partition("/")
        onward = artifacts.c.path >= f"{prefix}{name}0" if slash else artifacts.c.path > last  # `0` follows `/`


def group(entries: Iterable[TreeEntry], path: str) -> Iterator[Listed]:
    """What is directly in a folder of a tree; a subfolder may come several times.

    >>> [one.path for one in group([TreeEntry("a/b", 1, Digest("")), TreeEntry("c", 1, Digest(""))], "")]
    ['a', 'c']
    """
    prefix = f"{path}/" if path else ""
    for entry in entries:
        if entry.path.startswith(prefix):
            name, slash, _ = entry.path[len(prefix) :].partition("/")
            yield Listed(prefix + name, bool(slash), 0 if slash else entry.size)


def remove(conn: Connection, project_id: str, place: Place) -> None:
    """Forget a file, or a folder with all that is in it. What is not there is gone already."""
    check_owner(conn, project_id, place, writing=True)
    of_owner = (artifacts.c.project_id == project_id) & (artifacts.c.owner == place.owner)
    if place.path:
        of_owner &= (artifacts.c.path == place.path) | _below(place.path)
    conn.execute(delete(artifacts).where(of_owner))


def all_of(conn: Connection, project_id: str, owner: str, path: str) -> list[TreeEntry]:
    """Every file in a folder, or the file itself, by path from there on."""
    prefix = f"{path}/" if path else ""
    found: list[TreeEntry] = []
    onward = artifacts.c.path > ""
    while True:
        rows = _page(conn, project_id, owner, path, onward)
        found += [TreeEntry(row.path[len(prefix) :], row.size, row.digest) for row in rows]
        if len(rows) < _PAGE:
            break
        onward = artifacts.c.path > rows[-1].path
    if not found and path and (file := find(conn, project_id, owner, path)):
        found = [TreeEntry(path.rpartition("/")[2], file.size, file.digest)]
    return sorted(found, key=lambda entry: entry.path)


def tree_of(conn: Connection, project_id: str, source: str) -> list[TreeEntry]:
    """The files that a version's source stands for, as a tree; empty if there are none yet.

    Sources are `runs:/<run id>/<path>`, `models:/<model id>` of a logged model and `mlflow-artifacts:/...` of either.
    InvalidInput for any other: the server never opens what a user names.
    """
    scheme, colon, _ = source.partition(":")
    if not colon or scheme not in ("runs", "models", "mlflow-artifacts"):
        raise InvalidInput(
            f"{source[:200]!r} is no source of a version: it lies outside of this server, which opens nothing that a "
            f"client names; {_SOURCES}",
            hint="log the files to a run first: mlflow.log_artifacts(FOLDER, 'model')",
        )
    path = path_of_source(source)
    if not path:
        raise InvalidInput(f"{source[:200]!r} names nothing; {_SOURCES}")
    if scheme == "mlflow-artifacts":
        place = place_of(path)
        if place is None or place.kind == "version":
            raise InvalidInput(f"{source[:200]!r} is no artifact of a run or logged model; {_SOURCES}")
        check_owner(conn, project_id, place)
        return all_of(conn, project_id, place.owner, place.path)
    owner, _, rest = checked(path).partition("/")
    if scheme == "models":
        _experiment_of(conn, project_id, "model", owner)
        return all_of(conn, project_id, owner, rest)
    _experiment_of(conn, project_id, "run", owner)
    model = output_named(conn, project_id, owner, rest)
    if model is not None:
        return all_of(conn, project_id, model, rest.partition("/")[2])
    return all_of(conn, project_id, owner, rest)


def path_of_source(source: str) -> str:
    """The path that a version's source names, without `/` around it; InvalidInput for what is no address.

    >>> path_of_source("runs:/1f/model%20a/")
    '1f/model a'
    """
    try:
        return unquote(urlsplit(source).path).strip("/")
    except ValueError as error:  # such as a bracket that nothing closes
        raise InvalidInput(f"{source[:200]!r} is no address: {error}; {_SOURCES}") from error


def output_named(conn: Connection, project_id: str, run_id: str, path: str) -> str | None:
    """The newest logged model that a run gave under this name, which MLflow 3 keeps beside the run.

    None where the run itself has files there.
    """
    if all_of(conn, project_id, run_id, path):
        return None
    name = path.partition("/")[0]
    model: str | None = conn.scalar(
        select(logged_models.c.id)
        .where(
            logged_models.c.project_id == project_id,
            logged_models.c.source_run_id == run_id,
            logged_models.c.name == name,
            logged_models.c.lifecycle == "active",
        )
        .order_by(logged_models.c.seq.desc())
        .limit(1)
    )
    return model


def freeze_tree(store: Store, entries: Sequence[TreeEntry]) -> Digest:
    """Keep a tree of kept blobs, and count them as used now; the digest of their list names it.

    Conflict if one of them was taken away since it was looked up. A server does this, and writes the row that names the
    tree, in one `Store.visit`.
    """
    blobs = store.blobs
    blobs.presence.begin()
    for digest in {entry.digest for entry in entries}:
        if not blobs.use(digest):
            raise Conflict(f"blob {short(digest)} went while its tree was frozen", hint="log the files again")
    return blobs.put(canonical_json(sorted(entries, key=lambda entry: entry.path)))


def frozen(blobs: BlobStore, tree: Digest) -> tuple[TreeEntry, ...]:
    """The files of a frozen tree."""
    return _frozen(blobs.root, tree)


@lru_cache(maxsize=256)
def _frozen(root: Path, tree: Digest) -> tuple[TreeEntry, ...]:
    return tuple(entries_of(BlobStore(root), tree))


def artifact_uri(experiment_id: int, run_id: str) -> str:
    """Where clients find a run's artifacts.

    >>> artifact_uri(0, "1f")
    'mlflow-artifacts:/0/1f/artifacts'
    """
    return f"mlflow-artifacts:/{experiment_id}/{run_id}/artifacts"


def model_uri(experiment_id: int, model_id: str) -> str:
    """Where clients find a logged model's files.

    >>> model_uri(0, "m-1f")
    'mlflow-artifacts:/0/models/m-1f/artifacts'
    """
    return f"mlflow-artifacts:/{experiment_id}/models/{model_id}/artifacts"


def place_of_run(conn: Connection, project_id: str, run_id: str, path: str) -> Place:
    """The place of a name of a run; NotFound if there is no such run."""
    return Place("run", run_id, _experiment_of(conn, project_id, "run", run_id), checked(path, empty=True))


def place_of_model(conn: Connection, project_id: str, model_id: str, path: str) -> Place:
    """The place of a name of a logged model; NotFound if there is no such model."""
    return Place("model", model_id, _experiment_of(conn, project_id, "model", model_id), checked(path, empty=True))


def _experiment_of(conn: Connection, project_id: str, kind: str, owner: str) -> int:
    table = runs if kind == "run" else logged_models
    found = conn.scalar(select(table.c.experiment_id).where(table.c.id == owner, table.c.project_id == project_id))
    if found is None:
        what = "run" if kind == "run" else "logged model"
        raise NotFound(f"there is no {what} {owner[:100]!r} in project {project_id!r}")
    return int(found)


def _below(path: str) -> ColumnElement[bool]:
    return (artifacts.c.path > f"{path}/") & (artifacts.c.path < f"{path}0")  # `0` follows `/`


def _page(conn: Connection, project_id: str, owner: str, path: str, onward: ColumnElement[bool]) -> list[TreeEntry]:
    where = (artifacts.c.project_id == project_id) & (artifacts.c.owner == owner) & onward
    if path:
        where &= _below(path)
    rows = conn.execute(
        select(artifacts.c.path, artifacts.c.size, artifacts.c.digest)
        .where(where)
        .order_by(artifacts.c.path)
        .limit(_PAGE)
    )
    return [TreeEntry(row.path, row.size, Digest(row.digest)) for row in rows]
