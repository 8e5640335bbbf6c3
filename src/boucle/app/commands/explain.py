"""`boucle explain`"""

from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.session import AsJson, session_of

if TYPE_CHECKING:
    from rich.console import Console

    from boucle.app.explained import Explanation


def explain(
    context: typer.Context,
    code: Annotated[
        str | None, typer.Argument(metavar="[CODE]", help="A code from an error, a table or `$?`; none: list them all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain a code: what it means and what to do.

    Error codes, exit codes, checks, gates, decisions, alerts, problems of the audit log.

    \b
    Example:
      boucle explain
      boucle explain leakage
      boucle explain $?
    """
    from boucle.app import explained
    from boucle.app.console import console, print_json

    found = explained.explain(code) if code is not None else explained.everything()
    if as_json:
        listed = [{"code": one.code, "group": one.group, "title": one.title} for one in found]
        print_json([{**facts, "text": one.text} for facts, one in zip(listed, found, strict=True)] if code else listed)
        return
    screen = console(session_of(context).color)
    if code is None:
        _list(screen, found)
        return
    for one in found:
        _show(screen, one)


def _list(screen: "Console", found: "list[Explanation]") -> None:
    from boucle.app.console import table
    from boucle.app.explained import GROUPS

    for group, title in GROUPS.items():
        rows = [(one.code, one.title) for one in found if one.group == group]
        screen.print(table(title, ("code", "meaning"), rows))
    screen.print("\nnext: boucle explain CODE")


def _show(screen: "Console", one: "Explanation") -> None:
    """The Markdown as it is, which is made to be read, with its headings set off."""
    from rich.text import Text

    for line in one.text.splitlines():
        heading = line.lstrip("#").strip().replace("`", "") if line.startswith("#") else None
        screen.print(Text(line) if heading is None else Text(heading, style="bold"))
