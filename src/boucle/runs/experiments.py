"""Experiments of a project, of which each has one from its beginning: 0, `Default`."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field
from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from boucle.kernel.clock import to_ms
from boucle.kernel.engines import raw_of
from boucle.kernel.errors import Conflict, InvalidInput, NotFound
from boucle.kernel.store import Store
from boucle.runs import hot_sqlite as sql
from boucle.runs import store as of_runs
from boucle.runs.batch import good_name
from boucle.runs.limits import (
    MAX_EXPERIMENT_NAME,
    MAX_EXPERIMENT_TAG,
    MAX_INT64,
    check_count,
    check_length,
    check_text,
    check_title,
)
from boucle.runs.store import DEFAULT_NAME, ensure_default
from boucle.runs.tables import experiment_tags, experiments, runs

DEFAULT: Final = 0
"""The id of the experiment that each project begins with."""


class Experiment(Struct, frozen=True, kw_only=True):
    """A named set of runs."""

    project_id: str
    id: int
    name: str
    lifecycle: str
    """`active` or `deleted`."""
    created_ms: int
    updated_ms: int
    tags: dict[str, str] = field(default_factory=dict)


def has_begun(store: Store, project_id: str) -> bool:
    """Whether a project has the experiment that it begins with, or can have it no more: another one has its name."""
    return store.read(lambda conn: of_runs.has_begun(conn, project_id))


def begin(store: Store, project_id: str) -> None:
    """Make a project's first experiment if it has none: a project springs into being when it is first written to."""
    if not has_begun(store, project_id):
        now = store.clock.now()
        store.write(lambda conn: ensure_default(conn, project_id, now))


def create_experiment(store: Store, project_id: str, name: str, tags: Mapping[str, str] | None = None) -> int:
    """A new experiment; its id. Conflict if the name is taken, also by a deleted one."""
    _check_experiment_name(name)
    check_count(len(tags or {}), "tags")
    for key, value in (tags or {}).items():
        _check_tag(key, value)
    now = store.clock.now()

    def unit(conn: Connection) -> int:
        ensure_default(conn, project_id, now)
        _check_free(conn, project_id, name)
        last = conn.scalar(select(func.max(experiments.c.id)).where(experiments.c.project_id == project_id))
        number = int(last or 0) + 1
        row = {"project_id": project_id, "id": number, "name": name, "lifecycle": "active"}
        conn.execute(insert(experiments).values(**row, created_ms=to_ms(now), updated_ms=to_ms(now)))
        for key, value in (tags or {}).items():
            _put_tag(conn, project_id, number, key, value)
        return number

    return store.write(unit)


def get_experiment(store: Store, project_id: str, number: int) -> Experiment:
    """One experiment, deleted or not; NotFound if there is none."""
    try:
        return store.read(lambda conn: find_experiment(conn, project_id, number))
    except NotFound:
        if number == DEFAULT and not has_begun(store, project_id):
            return unbegun(project_id)
        raise


def unbegun(project_id: str) -> Experiment:
    """The experiment that a project begins with, before anything made it: reading makes nothing, not even a project."""
    return Experiment(
        project_id=project_id, id=DEFAULT, name=DEFAULT_NAME, lifecycle="active", created_ms=0, updated_ms=0
    )


def experiment_by_name(store: Store, project_id: str, name: str) -> Experiment:
    """One experiment, deleted or not; NotFound if there is none."""

    def ask(conn: Connection) -> Experiment | None:
        number = sql.find_experiment(raw_of(conn), project_id, name)
        return None if number is None else load_experiments(conn, project_id, [number])[0]

    found = store.read(ask)
    if found is None and name == DEFAULT_NAME and not has_begun(store, project_id):
        return unbegun(project_id)
    if found is None:
        raise NotFound(f"Could not find experiment with name {name[:200]!r}")
    return found


def rename_experiment(store: Store, project_id: str, number: int, name: str) -> None:
    """Give an active experiment another name."""
    _check_experiment_name(name)
    _begun(store, project_id, number)
    now_ms = to_ms(store.clock.now())

    def unit(conn: Connection) -> None:
        found = active_experiment(conn, project_id, number)
        if found.name != name:
            _check_free(conn, project_id, name)
        conn.execute(update(experiments).where(_is(project_id, number)).values(name=name, updated_ms=now_ms))

    store.write(unit)


def delete_experiment(store: Store, project_id: str, number: int) -> None:
    """Mark an active experiment and all its runs as deleted."""
    _turn(store, project_id, number, "active", "deleted")


def restore_experiment(store: Store, project_id: str, number: int) -> None:
    """Make a deleted experiment and all its runs active again."""
    _turn(store, project_id, number, "deleted", "active")


def set_experiment_tag(store: Store, project_id: str, number: int, key: str, value: str) -> None:
    """Set a tag of an active experiment."""
    _check_tag(key, value)
    _begun(store, project_id, number)

    def unit(conn: Connection) -> None:
        active_experiment(conn, project_id, number)
        _put_tag(conn, project_id, number, key, value)

    store.write(unit)


def delete_experiment_tag(store: Store, project_id: str, number: int, key: str) -> None:
    """Take a tag from an active experiment; NotFound if it has none of that name."""
    _begun(store, project_id, number)

    def unit(conn: Connection) -> None:
        active_experiment(conn, project_id, number)
        tags = experiment_tags.c
        gone = delete(experiment_tags).where(
            tags.project_id == project_id, tags.experiment_id == number, tags.name == key
        )
        if conn.execute(gone).rowcount == 0:
            raise NotFound(f"No tag with name: {key[:100]!r} in experiment with id {number}")

    store.write(unit)


def find_experiment(conn: Connection, project_id: str, number: int) -> Experiment:
    """One experiment, deleted or not; NotFound if there is none."""
    found = load_experiments(conn, project_id, [number]) if 0 <= number <= MAX_INT64 else []
    if not found:
        raise NotFound(f"No Experiment with id={str(number)[:40]} exists", hint="list them by experiments/search")
    return found[0]


def active_experiment(conn: Connection, project_id: str, number: int) -> Experiment:
    """One experiment, which may be written to; InvalidInput if it is deleted."""
    found = find_experiment(conn, project_id, number)
    if found.lifecycle != "active":
        raise InvalidInput(
            f"The experiment {number} must be in the 'active' state. Current state is {found.lifecycle}.",
            hint="restore it first",
        )
    return found


def load_experiments(conn: Connection, project_id: str, numbers: list[int]) -> list[Experiment]:
    """Experiments with their tags, in the order of their ids as given; unknown ids are left out."""
    raw = raw_of(conn)
    tags: dict[int, dict[str, str]] = {}
    for number, key, value in sql.read_experiment_tags(raw, project_id, numbers):
        tags.setdefault(number, {})[key] = value
    found = {
        number: Experiment(
            project_id=project_id,
            id=number,
            name=name,
            lifecycle=lifecycle,
            created_ms=created_ms,
            updated_ms=updated_ms,
            tags=tags.get(number, {}),
        )
        for number, name, lifecycle, created_ms, updated_ms in sql.read_experiments(raw, project_id, numbers)
    }
    return [found[number] for number in numbers if number in found]


def _begun(store: Store, project_id: str, number: int) -> None:
    """See to the experiment that is there without being made."""
    if number == DEFAULT:
        begin(store, project_id)


def _turn(store: Store, project_id: str, number: int, before: str, after: str) -> None:
    now_ms = to_ms(store.clock.now())
    _begun(store, project_id, number)

    def unit(conn: Connection) -> None:
        found = find_experiment(conn, project_id, number)
        if found.lifecycle != before:
            raise NotFound(f"No {before} experiment with id={number} exists; it is {found.lifecycle}")
        conn.execute(update(experiments).where(_is(project_id, number)).values(lifecycle=after, updated_ms=now_ms))
        mine = (runs.c.project_id == project_id) & (runs.c.experiment_id == number) & (runs.c.lifecycle != "purging")
        deleted_ms = now_ms if after == "deleted" else None
        conn.execute(update(runs).where(mine).values(lifecycle=after, deleted_ms=deleted_ms))

    store.write(unit)


def _is(project_id: str, number: int) -> ColumnElement[bool]:
    return (experiments.c.project_id == project_id) & (experiments.c.id == number)


def _check_experiment_name(name: str) -> None:
    if not name.strip():
        raise InvalidInput(f"Invalid experiment name: {name[:20]!r}; a name has at least one character")
    check_length(name, MAX_EXPERIMENT_NAME, "name")
    check_title(name, "name")


def _check_tag(key: str, value: str) -> None:
    good_name(key, "key")
    check_length(value, MAX_EXPERIMENT_TAG, "value")
    check_text(value, "value")


def _check_free(conn: Connection, project_id: str, name: str) -> None:
    query = select(experiments.c.lifecycle).where(experiments.c.project_id == project_id, experiments.c.name == name)
    taken = conn.scalar(query)
    if taken is not None:
        raise Conflict(
            f"Experiment(name={name[:200]}) already exists; it is {taken}",
            hint="use it, restore it, or choose another name",
        )


def _put_tag(conn: Connection, project_id: str, number: int, key: str, value: str) -> None:
    row = upsert(experiment_tags).values(project_id=project_id, experiment_id=number, name=key, value=value)
    conn.execute(
        row.on_conflict_do_update(index_elements=["project_id", "experiment_id", "name"], set_={"value": value})
    )
