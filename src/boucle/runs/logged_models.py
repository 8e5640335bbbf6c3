"""Logged models: what MLflow 3 keeps of a model beside the run that made it. Their files are artifacts, their metrics
are logged with those of runs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, get_args

from msgspec import Struct, field
from sqlalchemy import Connection, Table, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from boucle.kernel.clock import to_ms
from boucle.kernel.errors import InvalidInput, NotFound
from boucle.kernel.store import Store
from boucle.runs.experiments import active_experiment, begin
from boucle.runs.limits import MAX_PARAM, MAX_TAG, check_count, check_length, check_name, check_text, check_title, cut
from boucle.runs.tables import logged_model_metrics, logged_model_params, logged_model_tags, logged_models

T = TypeVar("T")
ModelStatus = Literal["UNSPECIFIED", "PENDING", "READY", "FAILED"]
_LONGEST_NAME: Final = 500
_FORBIDDEN: Final = "/:.%\"'"
_CHUNK: Final = 500


class ModelMetric(Struct, frozen=True, kw_only=True):
    """A value of a metric of a logged model."""

    run_id: str
    name: str
    value: float
    step: int
    at_ms: int
    dataset_name: str | None = None
    dataset_fingerprint: str | None = None


class LoggedModel(Struct, frozen=True, kw_only=True):
    """A logged model and all that belongs to it but its files."""

    id: str
    project_id: str
    experiment_id: int
    name: str
    status: ModelStatus
    lifecycle: str
    created_ms: int
    updated_ms: int
    status_message: str | None = None
    model_type: str | None = None
    source_run_id: str | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[ModelMetric] = field(default_factory=list)


def create_logged_model(
    store: Store,
    project_id: str,
    experiment_id: int,
    *,
    name: str | None = None,
    model_type: str | None = None,
    source_run_id: str | None = None,
    params: Sequence[tuple[str, str]] = (),
    tags: Sequence[tuple[str, str]] = (),
    created_by: str | None = None,
) -> LoggedModel:
    """A new logged model of an active experiment, `PENDING` until it is finalized."""
    model_id = f"m-{store.ids.new_hex()}"
    name = f"model-{model_id[-8:]}" if name is None else name
    _check_model_name(name)
    for where, text in (("model_type", model_type), ("source_run_id", source_run_id)):
        if text is not None:
            check_length(text, 500 if where == "model_type" else 64, where)
            check_title(text, where)
    check_count(len(params), "params")
    check_count(len(tags), "tags")
    begin(store, project_id)
    now_ms = to_ms(store.clock.now())

    def unit(conn: Connection) -> LoggedModel:
        active_experiment(conn, project_id, experiment_id)
        values = {"id": model_id, "project_id": project_id, "experiment_id": experiment_id, "name": name}
        values |= {"status": "PENDING", "lifecycle": "active", "created_ms": now_ms, "updated_ms": now_ms}
        values |= {"model_type": model_type, "source_run_id": source_run_id, "created_by": created_by}
        seq = conn.execute(insert(logged_models).values(values).returning(logged_models.c.seq)).scalar_one()
        _put_params(conn, seq, params)
        _put_tags(conn, seq, tags)
        return load_logged_models(conn, [seq])[0]

    return store.write(unit)


def get_logged_model(store: Store, project_id: str, model_id: str, *, deleted: bool = False) -> LoggedModel:
    """One logged model, `deleted` ones only on demand; NotFound if there is none."""
    return store.read(lambda conn: load_logged_models(conn, [_seq(conn, project_id, model_id, deleted=deleted)])[0])


def finalize_logged_model(store: Store, project_id: str, model_id: str, status: str) -> LoggedModel:
    """Say how the upload of a logged model ended."""
    if status not in get_args(ModelStatus):
        raise InvalidInput(f"status is {status[:100]!r}; allowed are {', '.join(get_args(ModelStatus))}")

    def unit(conn: Connection, seq: int) -> None:
        conn.execute(update(logged_models).where(logged_models.c.seq == seq).values(status=status))

    _change(store, project_id, model_id, unit)
    return get_logged_model(store, project_id, model_id, deleted=True)  # no writer waits while its metrics are read


def delete_logged_model(store: Store, project_id: str, model_id: str) -> None:
    """Mark a logged model as deleted."""
    now_ms = to_ms(store.clock.now())

    def unit(conn: Connection, seq: int) -> None:
        gone = {"lifecycle": "deleted", "deleted_ms": now_ms}
        conn.execute(update(logged_models).where(logged_models.c.seq == seq).values(gone))

    _change(store, project_id, model_id, unit)


def set_logged_model_tags(store: Store, project_id: str, model_id: str, tags: Sequence[tuple[str, str]]) -> None:
    """Set tags; of a key that comes twice the last value counts."""
    check_count(len(tags), "tags")
    _change(store, project_id, model_id, lambda conn, seq: _put_tags(conn, seq, tags))


def delete_logged_model_tag(store: Store, project_id: str, model_id: str, key: str) -> None:
    """Take a tag away; NotFound if there is none of that name."""

    def unit(conn: Connection, seq: int) -> None:
        tags = logged_model_tags.c
        if conn.execute(delete(logged_model_tags).where(tags.model == seq, tags.name == key)).rowcount == 0:
            raise NotFound(f"logged model {model_id!r} has no tag {key[:100]!r}")

    _change(store, project_id, model_id, unit)


def log_logged_model_params(store: Store, project_id: str, model_id: str, params: Sequence[tuple[str, str]]) -> None:
    """Add params; one that is there may be sent again, but not with another value."""
    check_count(len(params), "params")
    _change(store, project_id, model_id, lambda conn, seq: _put_params(conn, seq, params))


def load_logged_models(conn: Connection, seqs: Sequence[int]) -> list[LoggedModel]:
    """Logged models by their numbers, in that order, with their params, tags and metrics."""
    rows = {row["seq"]: row for row in _of(conn, logged_models, "seq", seqs)}
    params, tags, metrics = (
        _by_model(conn, table, seqs) for table in (logged_model_params, logged_model_tags, logged_model_metrics)
    )
    return [
        LoggedModel(
            **{name: rows[seq][name] for name in LoggedModel.__struct_fields__ if name in rows[seq]},
            params={row["name"]: row["value"] for row in params.get(seq, [])},
            tags={row["name"]: row["value"] for row in tags.get(seq, [])},
            metrics=[
                ModelMetric(
                    **{name: row[name] for name in ModelMetric.__struct_fields__ if name != "value"},
                    value=math.nan if row["value"] is None else row["value"],
                )
                for row in metrics.get(seq, [])
            ],
        )
        for seq in seqs
        if seq in rows
    ]


def _change(store: Store, project_id: str, model_id: str, unit: Callable[[Connection, int], T]) -> T:
    """Run a unit of work on a logged model that is not deleted, and note when."""
    now_ms = to_ms(store.clock.now())

    def whole(conn: Connection) -> T:
        seq = _seq(conn, project_id, model_id)
        conn.execute(update(logged_models).where(logged_models.c.seq == seq).values(updated_ms=now_ms))
        return unit(conn, seq)

    return store.write(whole)


def _seq(conn: Connection, project_id: str, model_id: str, *, deleted: bool = False) -> int:
    query = select(logged_models.c.seq, logged_models.c.lifecycle).where(
        logged_models.c.id == model_id, logged_models.c.project_id == project_id
    )
    found = conn.execute(query).first()
    if found is None or (found.lifecycle != "active" and not deleted):
        raise NotFound(f"there is no logged model {model_id[:100]!r} in project {project_id!r}")
    return int(found.seq)


def _put_params(conn: Connection, seq: int, params: Sequence[tuple[str, str]]) -> None:
    table = logged_model_params
    known = {row.name: row.value for row in conn.execute(select(table).where(table.c.model == seq))}
    for name, value in params:
        check_name(name, "key")
        check_text(value, f"param {name!r}")
        kept = cut(value, MAX_PARAM)
        if known.setdefault(name, kept) != kept:
            raise InvalidInput(
                f"Changing param values is not allowed: {name!r} is {known[name][:100]!r} and cannot become "
                f"{value[:100]!r}"
            )
        conn.execute(upsert(table).values(model=seq, name=name, value=kept).on_conflict_do_nothing())


def _put_tags(conn: Connection, seq: int, tags: Sequence[tuple[str, str]]) -> None:
    for name, value in tags:
        check_name(name, "key")
        check_text(value, f"tag {name!r}")
        row = upsert(logged_model_tags).values(model=seq, name=name, value=cut(value, MAX_TAG))
        conn.execute(row.on_conflict_do_update(index_elements=["model", "name"], set_={"value": cut(value, MAX_TAG)}))


def _check_model_name(name: str) -> None:
    if not name or any(character in _FORBIDDEN for character in name):
        raise InvalidInput(f"Invalid model name ({name[:100]!r}): it must not be empty or contain any of {_FORBIDDEN}")
    check_length(name, _LONGEST_NAME, "name")
    check_title(name, "name")


def _by_model(conn: Connection, table: Table, seqs: Sequence[int]) -> dict[int, list[Mapping[str, Any]]]:
    found: dict[int, list[Mapping[str, Any]]] = {}
    for row in _of(conn, table, "model", seqs):
        found.setdefault(row["model"], []).append(row)
    return found


def _of(conn: Connection, table: Table, column: str, seqs: Sequence[int]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for first in range(0, len(seqs), _CHUNK):
        wanted = table.c[column].in_(seqs[first : first + _CHUNK])
        rows = conn.execute(select(table).where(wanted).order_by(*table.primary_key.columns))
        found += [dict(row) for row in rows.mappings()]
    return found
