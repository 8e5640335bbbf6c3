"""`boucle labels`"""

from pathlib import Path
from typing import Annotated

import typer

from boucle.app.session import AsJson, session_of


def labels(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, Parquet, Arrow or JSON lines.")],
    as_json: AsJson = False,
) -> None:
    """Bring labels of what was answered live.

    The label is in the column `label` or that of the target, the id in `key`, that of `data.key`, or `request_id` (and
    `row`). Labels may come late, twice or corrected: the last one counts. What is not understood is told.

    \b
    Example:
      boucle labels arrived.csv
      boucle labels arrived.parquet --json | jq .unknown
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        project.store()  # what cannot be opened is told first
        from boucle.app.console import console, print_json
        from boucle.loop.labelling import read_labels, take_labels

        taken = take_labels(project, read_labels(file))
        if as_json:
            print_json(taken)
            return
        screen = console(session.color)
        screen.print(f"{taken.kept:,} labels kept of {taken.rows:,} rows")
        for count, what in (
            (taken.incomplete, "rows without an id or a label were left out"),
            (taken.not_understood, "labels are none of the model's classes or no numbers, and were left out"),
            (taken.repeated, "rows are repeated further down, where the last counts"),
            (taken.corrected, "ids had another label before"),
            (taken.unknown, f"ids are in no closed window, as {', '.join(taken.unknown_ids)}"),
        ):
            if count:
                screen.print(f"{count:,} {what}")
