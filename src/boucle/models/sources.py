"""What a version is made of: from the source that a client names to a frozen tree, and to the run that made it.

Threat model: a client names the files of one run and the metrics of another, so that the gates judge what does not
belong to the files. So the run and the logged model of a version are those that its source is of, or nothing is made.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from msgspec import Struct
from sqlalchemy import Connection

from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.kernel.trees import TreeEntry
from boucle.models import names
from boucle.models import store as tables
from boucle.models.api import create_version, known_model, known_version
from boucle.models.records import PROMPT, ModelVersion
from boucle.runs.artifact_paths import place_of
from boucle.runs.artifacts import freeze_tree, output_named, path_of_source, tree_of
from boucle.runs.logged_models import get_logged_model

_MODEL_ID: Final = re.compile(r"m-[0-9a-f]{32}")
_ID: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,255}")
"""What an id of a run or a logged model looks like, of whatever server. What is not kept here cannot be looked up."""
_ELSEWHERE: Final = frozenset(
    {"s3", "gs", "wasb", "wasbs", "abfs", "abfss", "dbfs", "hdfs", "viewfs", "r2", "http", "https", "hf", "ftp", "sftp"}
)
"""Schemes of places that this server does not keep: such a version is a note, and never passes a gate."""


class _Origin(Struct, frozen=True):
    """Where a version comes from."""

    source: str
    run_id: str
    model_id: str | None
    files: list[TreeEntry]
    copied: ModelVersion | None = None


def make_version(
    store: Store,
    *,
    project_id: str,
    model: str,
    source: str,
    author: str,
    run_id: str = "",
    model_id: str = "",
    run_link: str | None = None,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> ModelVersion:
    """Register a version as a client names it, its files frozen now.

    InvalidInput if the run or the logged model is not the one that the source is of, or could be none.
    """
    for field, given in (("run_id", run_id), ("model_id", model_id or "")):
        if given and not _ID.fullmatch(given):
            raise InvalidInput(
                f"{field} is {given[:100]!r}; allowed are letters, digits, `_` and `-`, at most 256, with a letter or "
                "digit at the front"
            )
    with store.visit() as here:
        here.read(lambda conn: known_model(conn, project_id, model))
        if (tags or {}).get(PROMPT, "").lower() == "true":
            origin = _Origin(source, run_id, model_id or None, [])
        else:
            origin = _origin(here, project_id, source, run_id, model_id)
        return create_version(
            here,
            project_id=project_id,
            model=model,
            bundle_digest=origin.copied.bundle_digest if origin.copied else freeze_tree(here, origin.files),
            author=author,
            source=origin.source,
            run_id=origin.run_id,
            model_id=origin.model_id,
            run_link=run_link,
            description=description,
            tags=tags,
            of=origin.copied,
        )


def is_elsewhere(source: str) -> bool:
    """Whether a source is a place that this server does not keep.

    >>> is_elsewhere("s3://bucket/model"), is_elsewhere("runs:/1f/model")
    (True, False)
    """
    return source.partition(":")[0].lstrip().lower() in _ELSEWHERE


def _origin(store: Store, project_id: str, source: str, run_id: str, model_id: str) -> _Origin:
    scheme, path = source.partition(":")[0], path_of_source(source)
    if is_elsewhere(source):
        if ".." in unquote(source).split("/"):
            raise InvalidInput(f"Invalid model version source: {source[:300]!r}: it has a relative part, '..'")
        return _Origin(source, run_id, model_id or None, [])
    if scheme == "models" and not _MODEL_ID.fullmatch(path.partition("/")[0]):
        return _copy(store, project_id, path, source, run_id, model_id)
    files = store.read(lambda conn: tree_of(conn, project_id, source))
    if scheme == "mlflow-artifacts":
        place = place_of(path)
        owner, kind = ("", "") if place is None else (place.owner, place.kind)
    else:
        owner, kind = path.partition("/")[0], "model" if scheme == "models" else "run"
    if kind == "run":
        _same("run_id", run_id, owner, source)
        if scheme == "runs" and not model_id:
            model_id = store.read(lambda conn: output_named(conn, project_id, owner, path.partition("/")[2])) or ""
        elif model_id:
            _refuse_other_files(store, project_id, source, owner, model_id, files)
        return _Origin(source, owner, model_id or None, files)
    _same("model_id", model_id, owner, source)
    made_by = get_logged_model(store, project_id, owner).source_run_id or ""
    _same("run_id", run_id, made_by, source)
    return _Origin(source, made_by, owner, files)


def _copy(store: Store, project_id: str, path: str, source: str, run_id: str, model_id: str) -> _Origin:
    """A version that copies another one: `models:/name/3`, `models:/name@champion`, `models:/name/Production`."""
    of = find_named(store, project_id, path)
    if of is None:
        raise InvalidInput(f"Invalid model version source: {source[:300]!r} names no version that there is")
    _same("run_id", run_id, of.run_id, source)
    _same("model_id", model_id, of.model_id or "", source)
    return _Origin(f"models:/{of.model}/{of.number}", of.run_id, of.model_id, [], of)


def find_named(store: Store, project_id: str, path: str) -> ModelVersion | None:
    """The version that `name/3`, `name@alias`, `name/stage` or `name/latest` stands for; None if it stands for none."""
    name, slash, suffix = path.partition("/")
    name, _, alias = (name, "", "") if slash else name.rpartition("@")
    names.check_model(name)

    def query(conn: Connection) -> ModelVersion | None:
        known_model(conn, project_id, name)
        if alias:
            move = tables.newest_move(conn, project_id, name, alias)
            return None if move is None or move.number is None else known_version(conn, project_id, name, move.number)
        if suffix.isascii() and suffix.isdecimal():
            return known_version(conn, project_id, name, int(suffix[:12]))
        stage = None if suffix.lower() == "latest" else names.stage_of(suffix)
        newest = tables.latest_of_stages(conn, project_id, [name])[name]
        return max((one for one in newest if stage in (None, one.stage)), key=lambda one: one.number, default=None)

    return store.read(query)


def _refuse_other_files(
    store: Store, project_id: str, source: str, run_id: str, model_id: str, files: list[TreeEntry]
) -> None:
    """InvalidInput unless a logged model is of this run, and the files are the model's own.

    What was reported about a model says nothing about other files of its run.
    """
    if get_logged_model(store, project_id, model_id).source_run_id != run_id:
        raise _mismatch("model_id", model_id, source)
    own = store.read(lambda conn: tree_of(conn, project_id, f"models:/{model_id}"))
    if not files or sorted(files, key=_path) != sorted(own, key=_path):
        raise InvalidInput(
            f"Invalid model version source: {source[:300]!r} has other files than the logged model {model_id}, so that "
            "what was reported about that says nothing about them",
            hint=f"give the source models:/{model_id}, or no model_id",
        )


def _path(entry: TreeEntry) -> str:
    return entry.path


def _same(field: str, given: str, found: str, source: str) -> None:
    if given and given != found:
        raise _mismatch(field, given, source)


def _mismatch(field: str, given: str, source: str) -> InvalidInput:
    return InvalidInput(
        f"Invalid model version source: {source[:300]!r}. The {field} request parameter must identify the resource "
        f"that contains the source; {given[:100]!r} is another one."
    )
