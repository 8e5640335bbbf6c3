"""Step `read`: the project's source becomes a dataset version."""

from msgspec import Struct

from boucle.data.api import read_table, snapshot
from boucle.data.records import DataSection, DatasetVersion
from boucle.pipeline.api import StepContext


class ReadParams(Struct, frozen=True, kw_only=True):
    """What to read."""

    project_id: str
    section: DataSection


def read(context: StepContext) -> DatasetVersion:
    """Read and normalise the whole source, and keep it."""
    params = context.params_as(ReadParams)
    with context.progress.task(f"read {params.section.source}", None) as task:
        table = read_table(params.section, context.project_root)
        task.advance(note=f"{table.height:,} rows, {table.width} columns")
    return snapshot(context.store, table, project_id=params.project_id, time=params.section.time)
