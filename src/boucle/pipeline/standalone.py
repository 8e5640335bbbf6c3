"""Runs a pipeline of one's own in any folder, without a project file."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from boucle.kernel.progress import Progress, Silent
from boucle.pipeline.execute import run
from boucle.pipeline.fingerprint import environment_digest
from boucle.pipeline.graph import Pipeline
from boucle.pipeline.records import PipelineResult

if TYPE_CHECKING:
    from boucle.kernel.store import Store


def run_pipeline(
    pipeline: Pipeline,
    folder: Path,
    *,
    home: Path | None = None,
    progress: Progress | None = None,
    threads: int = 2,
    force: bool = False,
) -> PipelineResult:
    """Run the steps whose kept result is missing or no longer fits; `force` runs them all.

    `folder` holds the steps' code and sources; results are kept in `home` (default: `.boucle` in that folder). The
    database is opened only if a step asks for the store. Raises what the first failing step raised, as one of
    Boucle's own errors, with what is kept and what goes on from there.
    """
    kept = (home or folder / ".boucle").absolute()
    with ExitStack() as opened:

        def open_store() -> Store:
            from boucle.kernel.store import Store  # loads the database library, which most pipelines never need

            return opened.enter_context(Store.open(kept))

        return run(
            pipeline,
            kept,
            open_store,
            project_root=folder.absolute(),
            environment=environment_digest(),
            progress=progress or Silent(),
            threads=threads,
            force=force,
        )
