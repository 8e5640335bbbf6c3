"""What runs took and gave: the questions that lineage asks of runs."""

from collections.abc import Collection

from msgspec import Struct
from sqlalchemy import Connection, select, union

from boucle.runs.tables import datasets, logged_models, run_datasets, run_models, runs


class UsedData(Struct, frozen=True):
    """Data that a run used."""

    name: str
    fingerprint: str
    source: str


def data_of_run(conn: Connection, project_id: str, run_id: str) -> list[UsedData]:
    """The data that a run used: what its client says, and the dataset version of the pipeline."""
    said = (
        select(datasets.c.name, datasets.c.fingerprint, datasets.c.source)
        .join(run_datasets, run_datasets.c.dataset == datasets.c.id)
        .join(runs, runs.c.seq == run_datasets.c.run)
        .where(runs.c.project_id == project_id, runs.c.id == run_id)
        .order_by(datasets.c.name)
    )
    found = [UsedData(*row) for row in conn.execute(said)]
    own = conn.scalar(select(runs.c.dataset_digest).where(runs.c.project_id == project_id, runs.c.id == run_id))
    if own is not None and own not in [one.fingerprint for one in found]:
        found.append(UsedData("", own, f"boucle:{own}"))
    return found


def fingerprints_named(conn: Connection, project_id: str, name: str) -> list[str]:
    """The fingerprints of all data of a name."""
    query = select(datasets.c.fingerprint).where(datasets.c.project_id == project_id, datasets.c.name == name)
    return sorted(set(conn.scalars(query)))


def runs_of_data(conn: Connection, project_id: str, fingerprint: str) -> list[str]:
    """Runs that used data, oldest first."""
    own = select(runs.c.id).where(runs.c.project_id == project_id, runs.c.dataset_digest == fingerprint)
    said = (
        select(runs.c.id)
        .join(run_datasets, run_datasets.c.run == runs.c.seq)
        .join(datasets, datasets.c.id == run_datasets.c.dataset)
        .where(runs.c.project_id == project_id, datasets.c.fingerprint == fingerprint)
    )
    return sorted(conn.scalars(union(own, said)))


def runs_of_bundle(conn: Connection, project_id: str, digest: str) -> list[str]:
    """Runs that gave a bundle, oldest first."""
    query = select(runs.c.id).where(runs.c.project_id == project_id, runs.c.bundle_digest == digest)
    return sorted(conn.scalars(query))


def models_of_run(conn: Connection, project_id: str, run_id: str) -> list[str]:
    """Logged models that a run gave."""
    mine = select(logged_models.c.id).where(
        logged_models.c.project_id == project_id, logged_models.c.source_run_id == run_id
    )
    given = (
        select(run_models.c.model_id)
        .join(runs, runs.c.seq == run_models.c.run)
        .where(runs.c.project_id == project_id, runs.c.id == run_id, run_models.c.role == "output")
    )
    return sorted(conn.scalars(union(mine, given)))


def run_of_model(conn: Connection, project_id: str, model_id: str) -> str | None:
    """The run that gave a logged model."""
    query = select(logged_models.c.source_run_id).where(
        logged_models.c.project_id == project_id, logged_models.c.id == model_id
    )
    found: str | None = conn.scalar(query)
    return found


def makers(conn: Connection, project_id: str, ids: Collection[str]) -> frozenset[str]:
    """The principals whose requests made these runs and logged models, and the runs that gave those."""
    gave = select(logged_models.c.source_run_id).where(
        logged_models.c.project_id == project_id, logged_models.c.id.in_(ids)
    )
    of_runs = select(runs.c.created_by).where(runs.c.project_id == project_id, runs.c.id.in_(ids) | runs.c.id.in_(gave))
    of_models = select(logged_models.c.created_by).where(
        logged_models.c.project_id == project_id, logged_models.c.id.in_(ids)
    )
    return frozenset(name for name in conn.scalars(union(of_runs, of_models)) if name)
