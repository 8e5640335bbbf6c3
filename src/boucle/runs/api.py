"""What other rooms may import from runs: experiments, runs, params, metrics."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, get_args

import msgspec
from sqlalchemy import Connection

from boucle.identity.api import local_principal
from boucle.kernel.clock import from_ms, to_ms
from boucle.kernel.digests import Digest
from boucle.kernel.errors import Conflict, InvalidInput, NotFound
from boucle.kernel.points import reach
from boucle.kernel.store import Store
from boucle.runs import artifacts
from boucle.runs import store as tables
from boucle.runs.code_version import code_version
from boucle.runs.environment import environment_document
from boucle.runs.limits import check_title
from boucle.runs.records import PARENT_TAG, MetricPoint, ParamValue, Run, RunId, RunStatus
from boucle.runs.traced import origin_tags

__all__ = [
    "code_version",
    "finish_run",
    "get_run",
    "keep_environment",
    "list_runs",
    "log_metrics",
    "metric_history",
    "origin_tags",
    "record_run",
    "start_run",
]

_LONGEST_NAME: Final = 250
_LARGEST_LIMIT: Final = 10_000
_LARGEST_STEP: Final = 2**53


def keep_environment(store: Store, run: Run) -> None:
    """Keep this process's environment as an artifact of a run. The same environment is the same blob."""
    document = environment_document()[0].encode()
    digest = store.blobs.put(document)

    def unit(conn: Connection) -> None:
        place = artifacts.place_of_run(conn, run.project_id, run.id, "boucle/environment.json")
        artifacts.put(conn, run.project_id, place, digest, len(document), to_ms(store.clock.now()))

    store.write(unit)


def start_run(
    store: Store,
    *,
    project_id: str,
    experiment: str,
    name: str,
    params: Mapping[str, ParamValue],
    tags: Mapping[str, str] | None = None,
    parent_id: RunId | None = None,
    dataset_digest: Digest | None = None,
) -> Run:
    """Begin a run; it is `running` until `finish_run`."""
    run = Run(
        id=store.ids.new_hex(),
        project_id=project_id,
        experiment=experiment,
        name=name,
        status="running",
        user=local_principal().name.removeprefix("person:"),
        started_at=_to_the_ms(store.clock.now()),
        params=dict(params),
        tags=_with_parent(tags, parent_id),
        dataset_digest=dataset_digest,
    )
    _add(store, run, [])
    return run


def record_run(
    store: Store,
    *,
    project_id: str,
    experiment: str,
    name: str,
    params: Mapping[str, ParamValue],
    metrics: Mapping[str, float],
    tags: Mapping[str, str] | None = None,
    parent_id: RunId | None = None,
    dataset_digest: Digest | None = None,
    bundle_digest: Digest | None = None,
    started_at: datetime | None = None,
) -> Run:
    """Write a whole finished run in one unit of work: it is there with all its values, or not at all."""
    now = _to_the_ms(store.clock.now())
    run = Run(
        id=store.ids.new_hex(),
        project_id=project_id,
        experiment=experiment,
        name=name,
        status="finished",
        user=local_principal().name.removeprefix("person:"),
        started_at=_to_the_ms(started_at or now),
        ended_at=now,
        params=dict(params),
        metrics=dict(metrics),
        tags=_with_parent(tags, parent_id),
        dataset_digest=dataset_digest,
        bundle_digest=bundle_digest,
    )
    _add(store, run, [MetricPoint(metric, 0, value, to_ms(now)) for metric, value in metrics.items()])
    return run


def log_metrics(store: Store, run_id: RunId, points: Sequence[MetricPoint]) -> None:
    """Add values of metrics to a run; the same point again changes nothing."""
    _check_points(points)

    def unit(conn: Connection) -> None:
        tables.put_points(conn, _existing(conn, run_id), points)

    store.write(unit)


def finish_run(store: Store, run_id: RunId, status: RunStatus = "finished", bundle_digest: Digest | None = None) -> Run:
    """End a run. Ending it again in the same way changes nothing; in another way is a Conflict."""
    ends = [known for known in get_args(RunStatus) if known != "running"]
    if status not in ends:
        raise InvalidInput(f"a run cannot end as {status!r}; allowed are {', '.join(ends)}")
    now = _to_the_ms(store.clock.now())

    def unit(conn: Connection) -> Run:
        run = _existing(conn, run_id)
        if run.status == "running":
            run = msgspec.structs.replace(run, status=status, ended_at=now, bundle_digest=bundle_digest)
            tables.end(conn, run)
        elif (run.status, run.bundle_digest) != (status, bundle_digest):
            raise Conflict(
                f"run {run_id!r} has ended as {run.status!r} already and cannot end as {status!r}",
                hint="start a new run",
                details={"run_id": run_id, "status": run.status},
            )
        return run

    return store.write(unit)


def get_run(store: Store, run_id: RunId) -> Run:
    """One run with the last value of each metric."""
    return store.read(lambda conn: _existing(conn, run_id))


def list_runs(
    store: Store, project_id: str, *, experiment: str | None = None, parent_id: RunId | None = None, limit: int = 100
) -> list[Run]:
    """A project's runs, newest first; at most `limit` (1 to 10,000)."""
    if not 1 <= limit <= _LARGEST_LIMIT:
        raise InvalidInput(f"limit is {limit}; allowed are 1 to {_LARGEST_LIMIT}")
    return store.read(
        lambda conn: tables.newest(conn, project_id, experiment=experiment, parent_id=parent_id, limit=limit)
    )


def metric_history(store: Store, run_id: RunId, name: str) -> list[MetricPoint]:
    """All values of one metric, by step, then moment; none if the run has no such metric."""

    def query(conn: Connection) -> list[MetricPoint]:
        _existing(conn, run_id)
        return tables.points(conn, run_id, name)

    return store.read(query)


def _add(store: Store, run: Run, points: Sequence[MetricPoint]) -> None:
    _check_names([run.experiment, run.name, *run.params, *run.tags])
    for where, text in (("experiment", run.experiment), ("name", run.name)):
        check_title(text, where)
    _check_points(points)
    for name, value in run.params.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidInput(f"param {name!r} is {value}; allowed are finite numbers, text, true, false and null")

    def unit(conn: Connection) -> None:
        if run.parent_id is not None:
            _check_parent(_existing(conn, run.parent_id), run)
        tables.add(conn, run)
        tables.put_points(conn, run, points)

    store.write(unit)
    reach("run.recorded")


def _existing(conn: Connection, run_id: RunId) -> Run:
    run = tables.find(conn, run_id)
    if run is None:
        raise NotFound(f"there is no run {run_id!r} in this store", details={"run_id": run_id})
    return run


def _to_the_ms(at: datetime) -> datetime:
    return from_ms(to_ms(at))


def _with_parent(tags: Mapping[str, str] | None, parent_id: RunId | None) -> dict[str, str]:
    return {**(tags or {}), **({PARENT_TAG: parent_id} if parent_id else {})}


def _check_parent(parent: Run, run: Run) -> None:
    if parent.project_id != run.project_id:
        raise InvalidInput(
            f"run {parent.id!r} belongs to project {parent.project_id!r}; a parent must be of the same project, "
            f"{run.project_id!r}"
        )


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if not name.strip() or len(name) > _LONGEST_NAME or "\0" in name:
            raise InvalidInput(
                f"{name[:60]!r} cannot name anything in a run; allowed are 1 to {_LONGEST_NAME} characters"
            )


def _check_points(points: Sequence[MetricPoint]) -> None:
    _check_names([point.name for point in points])
    for point in points:
        if abs(point.step) > _LARGEST_STEP:
            raise InvalidInput(f"step {point.step} of metric {point.name!r} is too large; allowed are +-2**53")
