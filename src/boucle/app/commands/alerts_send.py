"""`boucle alerts routes` and `boucle alerts send`"""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.session import AsJson, session_of
from boucle.kernel.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from threading import Event

    from boucle.kernel.store import Store
    from boucle.monitoring.alerting.policy import AlertsSection


def routes(
    context: typer.Context,
    attempt: Annotated[
        str | None, typer.Option("--try", metavar="ROUTE", help="Tell this route of a made-up incident, now.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List who is told of incidents, and what has not arrived.

    \b
    Example:
      boucle alerts routes
      boucle alerts routes --try on-call
    """
    session = session_of(context)
    with session.open(stored=attempt is None) as project:
        from boucle.app.console import console, print_json, table

        store, name, policy = project.store(), project.project.project, project.project.alerts
        if attempt is not None:
            _try(store, name, policy, attempt)
        found = _standing(store, name, policy)
        if as_json:
            print_json(found)
            return
        screen = console(session.color)
        if not found:
            screen.print("nobody is told: boucle.yaml has no `alerts.routes`")
            return
        columns = ("route", "to", "waiting", "given up", "last arrived", "problem")
        rows = [tuple(map(_cell, one.values())) for one in found]
        screen.print(table("", columns, rows, right=("waiting", "given up")))
        if attempt is not None:
            screen.print(f"{attempt} took it")


def send(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Try each notification that is due once, then end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell routes what is on its way.

    `boucle monitor` does this itself. This is for cron, or where the monitor may reach no network.

    \b
    Example:
      boucle alerts send --once
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json
        from boucle.app.parts import until_stopped
        from boucle.integrations.dispatch import Dispatcher

        sender = Dispatcher(project.store(), project.project.project, project.project.alerts)
        if not once:
            sender.start()
            until_stopped(_wait)
            sender.stop()
            return
        done = sender.once()
        if as_json:
            print_json(done)
        else:
            screen = console(session.color)
            screen.print(f"{done.arrived} notifications arrived, {len(done.problems)} routes failed")
            for route, problem in done.problems.items():
                screen.print(f"{route}: {problem}")
        if done.problems:
            raise typer.Exit(5)


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return "-" if value is None else str(value)


def _wait(stopped: "Event") -> None:
    stopped.wait()


def _try(store: "Store", name: str, policy: "AlertsSection", route: str) -> None:
    from boucle.integrations.dispatch import send as tell
    from boucle.integrations.example import example
    from boucle.kernel.clock import SteadyClock

    chosen = next((one for one in policy.routes if one.name == route), None)
    if chosen is None:
        known = ", ".join(one.name for one in policy.routes) or "none"
        raise NotFound(f"boucle.yaml has no route {route[:80]!r}; there are: {known}", hint="boucle alerts routes")
    wall = SteadyClock()
    sent = tell(store, chosen, example(name, wall.now()), store.ids.new_hex(), wall)
    if sent.problem or not sent.arrived:
        raise Unavailable(
            f"route {route} did not take it: {sent.problem or f'it answered {sent.status}'}",
            hint="boucle alerts routes",
        )


def _standing(store: "Store", name: str, policy: "AlertsSection") -> list[dict[str, object]]:
    from boucle.monitoring.alerting import outbox

    counts = store.read(lambda conn: outbox.counts(conn, name))
    told = store.read(lambda conn: outbox.newest_told(conn, name))
    return [
        {
            "route": one.name,
            "to": str(type(one).__struct_config__.tag),
            "waiting": counts.get(one.name, (0, 0, None))[0],
            "given_up": counts.get(one.name, (0, 0, None))[1],
            "arrived_at": told[one.name].arrived_at if one.name in told else None,
            "problem": counts.get(one.name, (0, 0, None))[2] or (told[one.name].problem if one.name in told else None),
        }
        for one in policy.routes
    ]
