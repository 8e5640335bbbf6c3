"""What lineage says of a run: who, which code, seed, command, environment and machine."""

from typing import Final

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from boucle.kernel.errors import BoucleError
from boucle.kernel.store import Store
from boucle.runs.artifacts import find
from boucle.runs.origins import makers
from boucle.runs.records import Run

DOCUMENT: Final = "boucle/environment.json"
SEEDS: Final = ("seed", "random_seed", "random_state")
"""Params that programs commonly give their seed in."""
_LARGEST: Final = 1 << 20
_LONGEST: Final = 200


class _Environment(Struct, frozen=True):
    """The part of the document that is shown."""

    python: str = ""
    cpu: str = ""
    cores: int | None = None
    memory_bytes: int | None = None
    gpus: list[str] = []
    packages: dict[str, str] = {}


class _Source(Struct, frozen=True):
    """The usual ways in which MLflow's client says where data came from."""

    uri: str = ""
    url: str = ""
    path: str = ""
    tags: dict[str, str] = {}


def facts_of_run(store: Store, conn: Connection, run: Run) -> dict[str, str]:
    """A few words each; what is not known is empty or left out."""
    tags = run.tags
    code = tags.get("git.revision") or tags.get("mlflow.source.git.commit") or ""
    changed = " and changes" if tags.get("git.dirty") == "true" else ""
    made_by = next(iter(makers(conn, run.project_id, [run.id])), "") or tags.get("boucle.principal", "")
    facts = {
        "name": run.name,
        "experiment": run.experiment,
        "status": run.status,
        "by": made_by.removeprefix("person:") or run.user,
        "code": f"{code[:12]}{changed}" if code else "",
        "seed": seed_of(run),
        "params": str(len(run.params)),
        "command": (tags.get("boucle.command") or tags.get("mlflow.source.name", ""))[:_LONGEST],
    }
    known = _environment(store, conn, run)
    digest = tags.get("boucle.environment", "")[:12]
    if known is None:
        return facts | {"environment": digest, "machine": tags.get("boucle.host", "")}
    python = f"Python {known.python}, {len(known.packages)} packages"
    memory = f"{known.memory_bytes / 2**30:.0f} GiB" if known.memory_bytes else ""
    cores = f"{known.cores} cores" if known.cores else ""
    machine = [tags.get("boucle.host", ""), known.cpu, cores, memory, *known.gpus]
    return facts | {"environment": f"{python}, {digest}", "machine": ", ".join(one for one in machine if one)}


def seed_of(run: Run) -> str:
    """The seed that a run says it used; empty if it says none."""
    said = run.tags.get("boucle.seed", "")
    return said or next((str(run.params[name]) for name in SEEDS if run.params.get(name) is not None), "")


def source_of(text: str) -> str:
    """Where data came from: MLflow's clients say it as JSON.

    >>> source_of('{"tags": {"mlflow.source.name": "train.py"}}'), source_of('{"uri": "s3://a/b"}'), source_of("a.csv")
    ('train.py', 's3://a/b', 'a.csv')
    """
    try:
        said = msgspec.json.decode(text, type=_Source)
    except msgspec.MsgspecError:
        return text[:_LONGEST]
    return (said.uri or said.url or said.path or said.tags.get("mlflow.source.name", ""))[:_LONGEST]


def _environment(store: Store, conn: Connection, run: Run) -> _Environment | None:
    """The document that the run keeps as an artifact; None if it has none or it says something else."""
    kept = find(conn, run.project_id, run.id, DOCUMENT)
    if kept is None or kept.size > _LARGEST:
        return None
    try:
        return msgspec.json.decode(store.blobs.get(kept.digest), type=_Environment)
    except (BoucleError, msgspec.MsgspecError, OSError):
        return None
