"""A run's life: made, changed, deleted, restored; and what it used and gave."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from boucle.kernel.clock import to_ms
from boucle.kernel.engines import raw_of
from boucle.kernel.errors import InvalidInput, NotFound
from boucle.kernel.store import Store
from boucle.runs import hot_sqlite as sql
from boucle.runs.batch import NAME_TAG
from boucle.runs.batch import tag as checked_tag
from boucle.runs.experiments import DEFAULT, active_experiment
from boucle.runs.hot_writer import no_run, not_active
from boucle.runs.limits import (
    MAX_INPUT_TAG,
    MAX_INPUT_TAG_NAME,
    MAX_INT64,
    MAX_NAME,
    MAX_TAG,
    check_count,
    check_dataset,
    check_length,
    check_moment,
    check_step,
    check_text,
    check_title,
)
from boucle.runs.names import new_name
from boucle.runs.records import RunId
from boucle.runs.store import ensure_default
from boucle.runs.tables import datasets, logged_models, run_datasets, run_models, run_tags, runs
from boucle.runs.views import DatasetInput, RunView, view

STATUSES: Final = ("running", "scheduled", "finished", "failed", "interrupted")
LEGACY_MODELS_TAG: Final = "mlflow.log-model.history"
"""Where clients before MLflow 3 look for the models of a run: a JSON list."""
RunUnit: TypeAlias = Callable[[Connection], RunView]
"""A unit of work that gives a run."""
_names: Final = random.Random()
_MAX_USER: Final = 256
_MAX_MODEL_ID: Final = 64


def creation(
    store: Store,
    project_id: str,
    *,
    experiment_id: int = DEFAULT,
    name: str = "",
    user: str = "",
    started_ms: int | None = None,
    tags: Sequence[tuple[str, str]] = (),
    created_by: str | None = None,
) -> RunUnit:
    """What makes a new run, `running`. Its name is `name`, or that in the tag `mlflow.runName`, or made up."""
    check_count(len(tags), "tags")
    kept = dict(checked_tag(key, value, f"tags[{at}].") for at, (key, value) in enumerate(tags))
    named = kept.get(NAME_TAG, "")
    if name and named and name != named:
        raise InvalidInput(
            f"Both 'run_name' argument and '{NAME_TAG}' tag are specified, but with different values "
            f"(run_name={name[:100]!r}, {NAME_TAG}={named[:100]!r})."
        )
    kept[NAME_TAG] = name or named or new_name(_names)
    _check_run_name(kept[NAME_TAG])
    check_length(user, _MAX_USER, "user_id")
    check_title(user, "user_id")
    now = store.clock.now()
    started_ms = to_ms(now) if started_ms is None else started_ms
    check_moment(started_ms, "start_time")
    row = {
        "id": store.ids.new_hex(),
        "project_id": project_id,
        "experiment_id": experiment_id,
        "name": kept[NAME_TAG],
        "status": "running",
        "lifecycle": "active",
        "user": user,
        "started_ms": started_ms,
    }

    def unit(conn: Connection) -> RunView:
        raw = raw_of(conn)
        is_number = 0 <= experiment_id <= MAX_INT64
        if not is_number or sql.find_lifecycle(raw, project_id, experiment_id) != "active":
            ensure_default(conn, project_id, now)  # of a project that is new
            active_experiment(conn, project_id, experiment_id)
        seq = sql.add_run(raw, {**row, "created_by": created_by})
        sql.write_tags(raw, [part for key, value in kept.items() for part in (seq, key, value)])
        return RunView(seq=seq, tags=sorted(kept.items()), **row)  # type: ignore[arg-type]

    return unit


def change(
    project_id: str,
    run_id: RunId,
    *,
    status: str | None = None,
    ended_ms: int | None = None,
    name: str = "",
) -> RunUnit:
    """What changes an active run's status, end or name; what is not given stays."""
    if status is not None and status not in STATUSES:
        raise InvalidInput(f"status is {status!r}; allowed are {', '.join(STATUSES)}")
    if ended_ms is not None:
        check_moment(ended_ms, "end_time")
    if name:
        _check_run_name(name)

    def unit(conn: Connection) -> RunView:
        seq = active_run(conn, project_id, run_id)
        raw = raw_of(conn)
        sql.change_run(raw, seq, status, ended_ms, name or None)
        if name:
            sql.write_tags(raw, [seq, NAME_TAG, name])
        return view(conn, project_id, run_id)

    return unit


def delete_run(store: Store, project_id: str, run_id: RunId) -> None:
    """Mark a run as deleted; it can be restored."""
    _turn(store, project_id, run_id, "deleted", to_ms(store.clock.now()))


def restore_run(store: Store, project_id: str, run_id: RunId) -> None:
    """Make a deleted run active again."""
    _turn(store, project_id, run_id, "active", None)


def get_run(store: Store, project_id: str, run_id: RunId) -> RunView:
    """One run, deleted or not; NotFound if the project has none of that id."""
    return store.read(lambda conn: view(conn, project_id, run_id))


def delete_tag(store: Store, project_id: str, run_id: RunId, key: str) -> None:
    """Take a tag from an active run; NotFound if it has none of that name."""

    def unit(conn: Connection) -> None:
        seq = active_run(conn, project_id, run_id)
        gone = delete(run_tags).where(run_tags.c.run == seq, run_tags.c.name == key)
        if conn.execute(gone).rowcount == 0:
            raise NotFound(f"No tag with name: {key[:100]!r} in run with id {run_id}")

    store.write(unit)


def log_inputs(
    store: Store, project_id: str, run_id: RunId, used: Sequence[DatasetInput], models: Sequence[str] = ()
) -> None:
    """Tell of datasets and logged models that an active run used. The same again changes nothing."""
    check_count(len(used), "datasets")
    check_count(len(models), "models")
    for at, dataset in enumerate(used):
        check_dataset(dataset, f"datasets[{at}].dataset")
        for key, value in dataset.tags.items():
            check_length(key, MAX_INPUT_TAG_NAME, f"datasets[{at}].tags.key")
            check_length(value, MAX_INPUT_TAG, f"datasets[{at}].tags.value")
            check_title(key, f"datasets[{at}].tags.key")
            check_text(value, f"datasets[{at}].tags.value")

    def unit(conn: Connection) -> None:
        seq = active_run(conn, project_id, run_id)
        number = conn.scalars(select(runs.c.experiment_id).where(runs.c.seq == seq)).one()
        for dataset in used:
            row = {"run": seq, "dataset": _dataset(conn, project_id, number, dataset), "tags": json.dumps(dataset.tags)}
            conn.execute(upsert(run_datasets).values(**row).on_conflict_do_nothing())
        _put_models(conn, project_id, seq, "input", [(model, 0) for model in models])

    store.write(unit)


def log_outputs(store: Store, project_id: str, run_id: RunId, models: Sequence[tuple[str, int]]) -> None:
    """Tell of logged models that an active run made, each at a step."""
    check_count(len(models), "models")

    def unit(conn: Connection) -> None:
        _put_models(conn, project_id, active_run(conn, project_id, run_id), "output", models)

    store.write(unit)


def record_model(store: Store, project_id: str, run_id: RunId, model: Mapping[str, object]) -> None:
    """Add a model to the list that clients before MLflow 3 read from a tag."""

    def unit(conn: Connection) -> None:
        seq = active_run(conn, project_id, run_id)
        known = conn.scalar(select(run_tags.c.value).where(run_tags.c.run == seq, run_tags.c.name == LEGACY_MODELS_TAG))
        try:
            listed = json.loads(known) if known else []
        except (ValueError, RecursionError):
            listed = []
        text = json.dumps([*(listed if isinstance(listed, list) else []), dict(model)])
        check_length(text, MAX_TAG, f"the tag {LEGACY_MODELS_TAG}")  # cut off it would be no JSON
        put_tag(conn, seq, LEGACY_MODELS_TAG, text)

    store.write(unit)


def active_run(conn: Connection, project_id: str, run_id: RunId) -> int:
    """The number of a run that may be written to."""
    found = sql.find_run(raw_of(conn), run_id)
    if found is None or found[1] != project_id:
        raise no_run(run_id)
    seq, _, _, lifecycle = found
    if lifecycle != "active":
        raise not_active(run_id, lifecycle)
    return seq


def put_tag(conn: Connection, seq: int, key: str, value: str) -> None:
    """Set a tag of a run."""
    row = upsert(run_tags).values(run=seq, name=key, value=value)
    conn.execute(row.on_conflict_do_update(index_elements=["run", "name"], set_={"value": value}))


def _turn(store: Store, project_id: str, run_id: RunId, lifecycle: str, deleted_ms: int | None) -> None:
    mine = (runs.c.id == run_id) & (runs.c.project_id == project_id)

    def unit(conn: Connection) -> None:
        changed = conn.execute(
            update(runs).where(mine, runs.c.lifecycle != "purging").values(lifecycle=lifecycle, deleted_ms=deleted_ms)
        )
        if changed.rowcount == 0:
            raise no_run(run_id)

    store.write(unit)


def _check_run_name(name: str) -> None:
    check_length(name, MAX_NAME, "run_name")
    check_title(name, "run_name")


def _dataset(conn: Connection, project_id: str, number: int, used: DatasetInput) -> int:
    columns = datasets.c
    known = conn.scalar(
        select(columns.id).where(
            columns.project_id == project_id,
            columns.experiment_id == number,
            columns.name == used.name,
            columns.fingerprint == used.fingerprint,
        )
    )
    if known is not None:
        return int(known)
    row = {field: getattr(used, field) for field in ("name", "fingerprint", "source_type", "source")}
    row |= {"schema": used.schema, "profile": used.profile, "project_id": project_id, "experiment_id": number}
    return int(conn.execute(insert(datasets).values(**row).returning(columns.id)).scalar_one())


def _put_models(conn: Connection, project_id: str, seq: int, role: str, models: Sequence[tuple[str, int]]) -> None:
    for model_id, step in models:
        check_length(model_id, _MAX_MODEL_ID, "model_id")
        check_step(step, "step")
        known = select(logged_models.c.seq).where(
            logged_models.c.id == model_id, logged_models.c.project_id == project_id
        )
        if conn.scalar(known) is None:
            raise NotFound(f"there is no logged model {model_id[:100]!r} in this project")
        row = upsert(run_models).values(run=seq, model_id=model_id, role=role, step=step)
        conn.execute(row.on_conflict_do_update(index_elements=["run", "model_id", "role"], set_={"step": step}))
