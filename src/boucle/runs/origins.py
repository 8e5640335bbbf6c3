"""What runs took and gave: the questions that lineage asks of runs."""

from collections.abc import Collection

from msgspec import Struct
from sqlalchemy import Column, Connection, Select, select, union

from boucle.kernel.listed import among
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
    given = _roles(run_models.c.model_id, project_id, "output").where(runs.c.id == run_id)
    return sorted(conn.scalars(union(mine, given)))


def models_taken(conn: Connection, project_id: str, run_id: str) -> list[str]:
    """Logged models that a run took."""
    query = _roles(run_models.c.model_id, project_id, "input").where(runs.c.id == run_id)
    return sorted(conn.scalars(query.distinct()))


def is_model(conn: Connection, project_id: str, model_id: str) -> bool:
    """Whether there is a logged model of this id."""
    query = select(logged_models.c.id).where(logged_models.c.project_id == project_id, logged_models.c.id == model_id)
    return conn.scalar(query) is not None


def runs_of_model(conn: Connection, project_id: str, model_id: str) -> list[str]:
    """Runs that gave a logged model; none for one that was made without."""
    source = select(logged_models.c.source_run_id).where(
        logged_models.c.project_id == project_id, logged_models.c.id == model_id
    )
    given = _roles(runs.c.id, project_id, "output").where(run_models.c.model_id == model_id)
    return sorted(one for one in conn.scalars(union(source, given)) if one)


def runs_that_took(conn: Connection, project_id: str, model_id: str) -> list[str]:
    """Runs that took a logged model."""
    query = _roles(runs.c.id, project_id, "input").where(run_models.c.model_id == model_id)
    return sorted(conn.scalars(query.distinct()))


def makers(conn: Connection, project_id: str, ids: Collection[str]) -> frozenset[str]:
    """The principals whose requests made these runs and logged models, and the runs that gave those."""
    of_them = (logged_models.c.project_id == project_id) & among(logged_models.c.id, ids, conn.dialect.name)
    made_or_gave = among(runs.c.id, ids, conn.dialect.name) | runs.c.id.in_(
        select(logged_models.c.source_run_id).where(of_them)
    )
    of_runs = select(runs.c.created_by).where(runs.c.project_id == project_id, made_or_gave)
    of_models = select(logged_models.c.created_by).where(of_them)
    return frozenset(name for name in conn.scalars(union(of_runs, of_models)) if name)


def _roles(column: Column[str], project_id: str, role: str) -> Select[str]:
    """Of the logged models that runs of a project took (`input`) or gave (`output`)."""
    join = select(column).select_from(run_models).join(runs, runs.c.seq == run_models.c.run)
    return join.where(runs.c.project_id == project_id, run_models.c.role == role)
