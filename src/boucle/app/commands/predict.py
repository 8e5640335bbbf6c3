"""`boucle predict`"""

from pathlib import Path
from typing import Annotated

import typer

from boucle.app.asked_bundle import asked_bundle
from boucle.app.session import AsJson, session_of
from boucle.kernel.errors import InvalidInput


def predict(
    context: typer.Context,
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV, Parquet, Arrow or JSON lines; or a folder.")],
    version: Annotated[int | None, typer.Option(min=1, help="Version to ask; default: the one in charge.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Bundle folder to ask; needs no project and no store.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The result, .parquet or .csv; default: beside the table.")
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out rows that cannot be predicted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Predict a table of any size with a version of the model.

    Reads and predicts in pieces, on all cores. Every row is checked as the server would; rows that it would turn down
    are named with file and line. Stopped or killed, the same command goes on where it was.

    \b
    Example:
      boucle predict orders.csv
      boucle predict history/ --version 3 --out scores.csv
    """
    session = session_of(context)
    if bundle is not None and version is not None:
        raise InvalidInput("--bundle and --version name two models; give one of them", hint="boucle predict --help")
    from boucle.app.console import console, print_json, progress
    from boucle.serving.batch.run import predict_table

    with asked_bundle(session, version, bundle) as (folder, digest, number), progress(session.color) as shown:
        project = session.project_file() if bundle is None else None
        report = predict_table(
            table,
            folder,
            digest,
            number=number,
            out=out,
            csv_format=project.data.csv if project else None,
            skip_bad=skip_bad,
            jobs=session.threads(),
            progress=shown,
        )
    if as_json:
        print_json(report)
        return
    screen = console(session.color)
    who = "the bundle" if report.number is None else f"version {report.number}"
    if report.kept_pieces:
        screen.print(f"{report.kept_pieces:,} of {report.pieces:,} pieces were finished already")
    if report.bad_rows is not None:
        screen.print(f"{report.left_out:,} rows were left out; why stands in {report.bad_rows}")
    screen.print(f"{report.rows:,} rows predicted by {who}: {report.out}")
