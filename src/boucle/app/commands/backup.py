"""`boucle backup`, `boucle restore`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.session import AsJson, Session, session_of

if TYPE_CHECKING:
    from boucle.kernel.care.archive import Contents


def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file of the backup.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Write nothing: check every byte of the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the whole store into one file.

    As it was at one moment, while others go on writing and serving.

    \b
    Example:
      boucle backup /backups/flights.tar
      boucle backup --verify /backups/flights.tar
    """
    session = session_of(context)
    home = None if verify else session.stored_home()
    from boucle.app.console import progress
    from boucle.kernel.care import backup as engine

    with progress(session.color) as shown:
        if home is None:
            contents = engine.verify_backup(file, shown)
        else:
            from boucle import __version__
            from boucle.kernel.clock import SystemClock
            from boucle.serving.api import whole_bytes

            made_at = SystemClock().now()
            contents = engine.backup(
                home,
                file,
                whole_bytes=whole_bytes,
                force=force,
                written_by=__version__,
                made_at=made_at,
                progress=shown,
            )
    done = "is whole" if verify else "is written"
    _tell(session, contents, f"{file} {done}", as_json=as_json)


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file that `boucle backup` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Make the store from a backup.

    Every byte is checked first. The store's folder must be missing or empty; it appears whole or not at all.

    \b
    Example:
      boucle restore /backups/flights.tar
      boucle restore /backups/flights.tar --home /tmp/drill
    """
    session = session_of(context)
    home = session.home()
    from boucle.app.console import progress
    from boucle.kernel.care import restore as engine

    with progress(session.color) as shown:
        contents = engine.restore(file, home, shown)
    _tell(session, contents, f"{home} is restored", as_json=as_json)


def _tell(session: Session, contents: "Contents", done: str, *, as_json: bool) -> None:
    from boucle.app.console import console, print_json

    size = sum(entry.size for entry in contents.files)
    if as_json:
        facts = {"format": contents.format, "boucle": contents.boucle, "schema": contents.schema}
        print_json(facts | {"made_at": contents.made_at, "files": len(contents.files), "size_bytes": size})
    else:
        told = f"{len(contents.files):,} files, {size / 1e6:,.1f} MB, as of {contents.made_at:%Y-%m-%d %H:%M:%S} UTC"
        console(session.color).print(f"{done}: {told}")
