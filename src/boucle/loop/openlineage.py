"""Lineage as OpenLineage events (https://openlineage.io/spec/2-0-2/OpenLineage.json), for other tools' catalogues."""

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from boucle import __version__
from boucle.kernel.store import Store
from boucle.loop.ancestry import Ancestry, Branch
from boucle.models.origins import versions_from
from boucle.runs import origins
from boucle.runs.records import Run
from boucle.runs.store import find as find_run

SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
PRODUCER: Final = f"https://pypi.org/project/boucle/{__version__}/"
_VERSION_FACET: Final = "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json"
_ENDS: Final = {"finished": "COMPLETE", "failed": "FAIL", "interrupted": "ABORT"}


def events(store: Store, project_id: str, of: Ancestry) -> list[dict[str, Any]]:
    """The events of every run in a lineage, oldest first: START, and how it ended if it has."""
    names = dict.fromkeys(_runs(of))
    known = store.read(lambda conn: [run for run in (find_run(conn, name) for name in names) if run is not None])
    found = [run for run in known if run.project_id == project_id]
    told: list[dict[str, Any]] = []
    for run in sorted(found, key=lambda one: (one.started_at, one.id)):
        told.append(_event(store, project_id, run, "START", run.started_at))
        ended_as = _ENDS.get(run.status)  # clients may give an end to a run that goes on
        if run.ended_at is not None and ended_as is not None:
            told.append(_event(store, project_id, run, ended_as, run.ended_at))
    return told


def run_uuid(run_id: str) -> str:
    """A run's id as OpenLineage wants it.

    >>> run_uuid("01a204ff3a436bd86382f63385ed57f4")
    '01a204ff-3a43-6bd8-6382-f63385ed57f4'
    """
    try:
        return str(uuid.UUID(hex=run_id))
    except ValueError:  # an id of another form
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"boucle:{run_id}"))


def _runs(of: Ancestry) -> Iterator[str]:
    def below(branches: list[Branch]) -> Iterator[str]:
        for one in branches:
            if one.kind == "run":
                yield one.name
            yield from below(one.branches)

    if of.kind == "run":
        yield of.name
    yield from below(of.made_from)
    yield from below(of.led_to)


def _event(store: Store, project_id: str, run: Run, kind: str, at: datetime) -> dict[str, Any]:
    used = store.read(lambda conn: origins.data_of_run(conn, project_id, run.id))
    taken = store.read(lambda conn: origins.models_taken(conn, project_id, run.id))
    given = _given(store, project_id, run) if kind != "START" else {}
    return {
        "eventType": kind,
        "eventTime": at.isoformat(),
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
        "run": {"runId": run_uuid(run.id)},
        "job": {"namespace": f"boucle:{project_id}", "name": run.experiment},
        "inputs": [
            *(_dataset(project_id, one.name or one.fingerprint, one.fingerprint) for one in used),
            *(_dataset(project_id, model, model) for model in taken),
        ],
        "outputs": [_dataset(project_id, name, version) for name, version in given.items()],
    }


def _given(store: Store, project_id: str, run: Run) -> dict[str, str]:
    """What a run gave, by name, each with what says its state: logged models, versions, otherwise its bundle."""

    def query(conn: Connection) -> dict[str, str]:
        logged = origins.models_of_run(conn, project_id, run.id)
        versions = versions_from(conn, project_id, "run_id", run.id)
        for model in logged:
            versions += versions_from(conn, project_id, "model_id", model)
        if run.bundle_digest:
            versions += versions_from(conn, project_id, "bundle_digest", run.bundle_digest)
        registered = {f"{one.model}/{one.number}": str(one.bundle_digest) for one in versions}
        bundle = run.bundle_digest
        if bundle and bundle not in registered.values():
            registered[f"bundle/{bundle}"] = bundle
        return {model: model for model in logged} | registered

    return store.read(query)


def _dataset(project_id: str, name: str, version: str) -> dict[str, Any]:
    facet = {"_producer": PRODUCER, "_schemaURL": _VERSION_FACET, "datasetVersion": version}
    return {"namespace": f"boucle:{project_id}", "name": name, "facets": {"version": facet}}
