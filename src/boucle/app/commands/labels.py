"""`boucle labels`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.session import AsJson, Session, session_of

if TYPE_CHECKING:
    from rich.console import Console

    from boucle.loop.labelling import LabelsTaken


def labels(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, Parquet, Arrow or JSON lines.")],
    url: Annotated[
        str | None, typer.Option(help="Send them to the server at this address (`boucle up`) instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring labels of what was answered live.

    The label is in the column `label` or that of the target, the id in `key`, that of `data.key`, `request_id` (and
    `row`) or `prediction_id`. Labels may come late, twice or corrected: the last one counts. What is not understood is
    told; a file of which not one label is, is refused.

    \b
    Example:
      boucle labels arrived.csv
      boucle labels arrived.parquet --json | jq .waiting
      boucle labels arrived.csv --url http://loop.example:5000
    """
    session = session_of(context)
    if url is not None:
        _show(session, _sent(session, file, url), as_json=as_json)
        return
    with session.open(stored=True) as project:
        project.store()  # what cannot be opened is told first
        from boucle.loop.labelling import read_labels, take_labels

        _show(session, take_labels(project, read_labels(file)), as_json=as_json)


def _sent(session: Session, file: Path, url: str) -> "LabelsTaken":
    """Send a file's labels; its columns may have the project's names where there is a boucle.yaml."""
    from boucle.loop.labelling import named, read_labels
    from boucle.protocols.native.send_labels import send_labels

    project = session.project_file()
    table = named(read_labels(file), None if project is None else project.data)
    return send_labels(table, url=url, project=None if project is None else project.project)


def _show(session: Session, taken: "LabelsTaken", *, as_json: bool) -> None:
    from boucle.app.console import console, print_json
    from boucle.kernel.errors import InvalidInput

    if as_json:
        print_json(taken)
    else:
        _tell(console(session.color), taken)
    if taken.not_understood and not taken.kept:
        raise InvalidInput(
            f"not one of the labels is understood: {', '.join(map(repr, taken.odd_labels))[:200]} are none of the "
            "model's classes, or no numbers",
            hint="boucle show",
        )


def _tell(screen: "Console", taken: "LabelsTaken") -> None:
    screen.print(f"{taken.kept:,} labels kept of {taken.rows:,} rows")
    for count, what in (
        (taken.incomplete, "rows without an id or a label were left out"),
        (
            taken.not_understood,
            "labels are none of the model's classes or no numbers, and were left out, as "
            f"{', '.join(map(repr, taken.odd_labels))[:200]}",
        ),
        (taken.repeated, "rows are repeated further down, where the last counts"),
        (taken.contradictory, "ids have different labels here"),
        (taken.known, "ids had that label before"),
        (taken.corrected, "ids had another label before"),
        (taken.joined, "ids are joined with what was answered"),
        (
            taken.waiting,
            f"ids wait: they are joined when a window closes that has them, as {', '.join(taken.waiting_ids)}",
        ),
    ):
        if count:
            screen.print(f"{count:,} {what}")
