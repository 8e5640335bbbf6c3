"""`boucle sync`"""

from pathlib import Path
from typing import Annotated

import typer

from boucle.app.session import AsJson, session_of

WATCH_S = 5.0


def sync(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="Go on sending, until Ctrl-C.")] = False,
    spool: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of spools; default: BOUCLE_SPOOL, else the user's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send what training programs that are gone could not send.

    A program that lives sends its runs itself; what it left when it was killed is sent here, or by the next program
    of the same user that tracks. A token is sent to the server that BOUCLE_URL or MLFLOW_TRACKING_URI names, else to
    the only one that anything waits for.

    \b
    Example:
      boucle sync
      BOUCLE_TOKEN=... boucle sync --watch
    """
    import time

    from boucle.app.console import console, print_json, table
    from boucle.kernel.errors import Unavailable
    from boucle.runs.client.destination import Destination, spool_root, url_of_environment
    from boucle.runs.client.leftovers import replay, survey

    session = session_of(context)
    root = spool_root(Path(spool) if spool else None)
    url = url_of_environment()
    known = None if url is None else {Destination(url=url).server}
    while True:
        done = replay(root, known=known)
        here = [one for one in survey(root) if one.alive]
        if as_json:
            print_json(done + here)
        elif done or not watch:
            rows = [
                (one.spool[:12], one.destination, f"{one.size_bytes:,}", one.problem or _damage(one.damaged_bytes))
                for one in done
            ]
            rows += [(one.spool[:12], one.destination, f"{one.size_bytes:,}", "its program lives") for one in here]
            out = console(session.color)
            out.print(table("", ("spool", "to", "bytes", "state"), rows) if rows else f"nothing waits in {root}")
        if not watch:
            break
        time.sleep(WATCH_S)
    kept = [one for one in done if one.problem]
    if kept:
        raise Unavailable(
            f"{len(kept)} of {len(done)} spools could not be sent: {kept[0].problem}",
            hint=f"{kept[0].next or 'start the server'}, then run the same command again: boucle sync",
        )


def _damage(size: int) -> str:
    return f"sent; {size:,} damaged bytes held no record" if size else "sent"
