"""`boucle doctor`"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from boucle.app.session import AsJson, Session, session_of
from boucle.kernel.errors import BoucleError, NotFound

if TYPE_CHECKING:
    from boucle.app.environment import Fact


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Look whether the machine has what Boucle needs.

    Versions, disk, clock, port, permissions, limits, what is missing for which extra. Changes nothing. Ends with 5 if
    something needed is missing.

    \b
    Example:
      boucle doctor
      boucle doctor --json | jq '.facts[] | select(.passed | not)'
    """
    from boucle.app.console import console, mark, print_json, table

    session = session_of(context)
    facts = list(_facts(session))
    healthy = all(fact.passed for fact in facts if fact.needed)
    if as_json:
        print_json({"passed": healthy, "facts": facts})
    else:
        screen = console(session.color)
        rows = [
            (mark(fact.passed if fact.passed or fact.needed else None), fact.name, fact.value, fact.message)
            for fact in facts
        ]
        screen.print(table("", ("", "fact", "found", "next"), rows))
        needed = [fact for fact in facts if fact.needed]
        screen.print(f"\n{sum(fact.passed for fact in needed)} of {len(needed)} needed facts are fine")
    if not healthy:
        raise typer.Exit(5)


def _facts(session: Session) -> "Iterator[Fact]":
    """Those of the project too, if there is one here."""
    from boucle.app import health
    from boucle.kernel.settings import value_of

    try:
        folder = session.folder()
    except NotFound:
        if session.project:
            raise
        yield from health.examine_machine(Path.cwd())
        return
    home = Path(value_of(session.settings(folder), "home"))
    yield from health.examine_machine(home)
    yield from health.examine_store(home)
    yield from _of_project(folder)


def _of_project(folder: Path) -> "Iterator[Fact]":
    from boucle.app import health
    from boucle.app.environment import Fact
    from boucle.project.folder import NAME
    from boucle.project.yaml_file import read_project

    try:
        project = read_project(folder / NAME)
    except BoucleError as error:
        told = error.message.partition("\n")[0]
        yield Fact(name=NAME, value=told, passed=False, message="boucle check")
        return
    yield Fact(name=NAME, value=f"{project.project} in {folder}", passed=True, message="")
    yield health.examine_port(project.serving.host, project.serving.port)
    yield from health.examine_routes(project.alerts.routes)
