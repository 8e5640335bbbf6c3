"""`boucle alerts`"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.commands import alerts_rules, alerts_send
from boucle.app.session import AsJson, session_of
from boucle.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rich.console import Console

    from boucle.kernel.store import Store
    from boucle.monitoring.alerting.records import Evidence, Incident, Silence, Told

app = typer.Typer(
    name="alerts", help="Incidents: see, acknowledge and silence them, and who is told.", no_args_is_help=True
)
app.add_typer(alerts_rules.app)
app.command()(alerts_send.routes)
app.command()(alerts_send.send)

Number = Annotated[int, typer.Argument(metavar="INCIDENT", min=1, help="The incident's number.")]
Html = Annotated[Path | None, typer.Option(metavar="PAGE", help="Write a page with the charts and sample rows.")]
_SHOWN = 50


@app.command("list")
def list_(
    context: typer.Context,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are open.")] = False,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """List incidents, open ones first.

    \b
    Example:
      boucle alerts list
      boucle alerts list --open --json | jq '.[].title'
      boucle alerts list --html incidents.html
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json
        from boucle.monitoring.alerting import api

        store, name = project.store(), project.project.project
        found = api.incidents(store, name, only_open=only_open, most=None if as_json else _SHOWN)
        if html is not None:
            _page(store, name, found, html)
        if as_json:
            print_json([_facts(one) for one in found])
            return
        screen = console(session.color)
        _list(screen, found)
        counting = api.silences(store, name)
        if counting:
            screen.print(f"{len(counting)} silences count now; see: boucle alerts silences")
        if html is not None:
            screen.print(f"page: {html}")


@app.command()
def show(context: typer.Context, number: Number, html: Html = None, as_json: AsJson = False) -> None:
    """Show an incident with its alerts, its evidence and who was told.

    \b
    Example:
      boucle alerts show 7
      boucle alerts show 7 --html incident.html
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json
        from boucle.monitoring.alerting import api

        store, name = project.store(), project.project.project
        found = api.incident(store, name, number)
        shown, told = api.evidence(store, name, number), api.told(store, name, number)
        if html is not None:
            _page(store, name, [found], html)
        if as_json:
            print_json({**_facts(found), "evidence": shown, "told": told})
            return
        screen = console(session.color)
        _show(screen, found, shown, told)
        if html is not None:
            screen.print(f"page: {html}")


@app.command()
def ack(
    context: typer.Context,
    number: Number,
    note: Annotated[str, typer.Option(help="What others should know.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say that you look after an incident: nobody is reminded of it any more.

    \b
    Example:
      boucle alerts ack 7 --note 'the feed is being mended'
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json
        from boucle.monitoring.alerting import api

        store = project.store()
        found = api.acknowledge(store, project.project.project, number, by=_who(store), note=note)
        if as_json:
            print_json(_facts(found))
        elif found.acknowledged is not None:
            console(session.color).print(f"incident {number} is acknowledged by {found.acknowledged.by}")


@app.command()
def silence(
    context: typer.Context,
    why: Annotated[str, typer.Option("--why", help="Why nobody should be told.")],
    lasting: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="How long, such as 30m, 2h or 7d.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="MOMENT", help="Until when, such as 2026-03-01T08:00; UTC without a zone.")
    ] = None,
    incident: Annotated[int | None, typer.Option(min=1, help="Only this incident.")] = None,
    kind: Annotated[str | None, typer.Option(help="Kinds of alerts, as a pattern.")] = None,
    subject: Annotated[str | None, typer.Option(help="Columns or metrics, as a pattern such as 'temp*'.")] = None,
    rule: Annotated[str | None, typer.Option(help="Rules, as a pattern.")] = None,
    severity: Annotated[str | None, typer.Option(help="info, warning or critical, as a pattern.")] = None,
    version: Annotated[str | None, typer.Option("--model", help="Model versions, as a pattern.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hold back what routes would be told, until a moment.

    Of alerts that are like all that is given. It ends by itself; what it held back and is still so is told then.

    \b
    Example:
      boucle alerts silence --incident 7 --for 2h --why 'known, mended tonight'
      boucle alerts silence --kind drift --subject 'temp*' --for 7d --why 'new sensors'
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json
        from boucle.monitoring.alerting import api

        store = project.store()
        if all(one is None for one in (incident, kind, subject, rule, severity, version)):
            raise InvalidInput(
                "a silence without a choice would hold back all; choose by `--incident`, `--kind`, `--subject`, "
                "`--rule`, `--severity` or `--model`",
                hint="boucle alerts silence --help",
            )
        given = {
            "incident": None if incident is None else str(incident),
            "kind": kind,
            "subject": subject,
            "rule": rule,
            "severity": severity,
            "version": version,
        }
        made = api.silence(
            store,
            project.project.project,
            {name: value for name, value in given.items() if value is not None},
            until=_until(store.clock.now(), lasting, until),
            by=_who(store),
            why=why,
        )
        if as_json:
            print_json(made)
        else:
            console(session.color).print(f"silence {made.number} counts until {made.until:%Y-%m-%d %H:%M} UTC")


@app.command()
def unsilence(
    context: typer.Context,
    number: Annotated[int, typer.Argument(metavar="SILENCE", min=1, help="The silence's number.")],
    as_json: AsJson = False,
) -> None:
    """End a silence before its time.

    \b
    Example:
      boucle alerts unsilence 3
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json
        from boucle.monitoring.alerting import api

        store = project.store()
        ended = api.unsilence(store, project.project.project, number, by=_who(store))
        if as_json:
            print_json(ended)
        else:
            console(session.color).print(f"silence {number} has ended")


@app.command()
def silences(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the silences that count.

    \b
    Example:
      boucle alerts silences
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json, table
        from boucle.monitoring.alerting import api

        found = api.silences(project.store(), project.project.project, every=every)
        if as_json:
            print_json(found)
            return
        rows = [_silence(one) for one in found]
        console(session.color).print(table("", ("silence", "of", "until", "by", "why"), rows))


def _silence(one: "Silence") -> tuple[str, ...]:
    chosen = ", ".join(f"{name} {pattern}" for name, pattern in one.matches.items())
    ended = one.ended_at or one.until
    return (str(one.number), chosen, f"{ended:%Y-%m-%d %H:%M}", one.by, one.why)


def _facts(incident: "Incident") -> "dict[str, Any]":
    import msgspec

    return {**msgspec.to_builtins(incident), "severity": incident.severity, "title": incident.title}


def _who(store: "Store") -> str:
    from boucle.identity.accounts import who_logs

    return who_logs(store, os.environ.get("BOUCLE_TOKEN")).name


def _until(now: datetime, lasting: str | None, until: str | None) -> datetime:
    from boucle.monitoring.spans import DURATION, duration

    if (lasting is None) == (until is None):
        raise InvalidInput("a silence needs `--for` or `--until`, one of both", hint="boucle alerts silence --help")
    if lasting is not None:
        if not DURATION.fullmatch(lasting):
            raise InvalidInput(
                f"--for is {lasting[:20]!r}; allowed is a number and `s`, `m`, `h` or `d`, as in 2h",
                hint="boucle alerts silence --help",
            )
        if not duration(lasting):
            raise InvalidInput(
                f"--for is {lasting[:20]!r}, which is over at once; allowed is a time above 0, as in 2h",
                hint="boucle alerts silence --help",
            )
        return now + duration(lasting)
    try:
        moment = datetime.fromisoformat(until or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"--until is {(until or '')[:40]!r}; allowed is a moment such as 2026-03-01T08:00",
            hint="boucle alerts silence --help",
        ) from None


def _list(screen: "Console", found: "Sequence[Incident]") -> None:
    from boucle.app.console import table

    if not found:
        screen.print("no incidents")
        return
    rows = [
        (
            str(one.number),
            _state(one),
            one.severity,
            f"{one.opened_at:%Y-%m-%d %H:%M}",
            str(len(one.alerts)),
            one.title,
        )
        for one in found
    ]
    screen.print(table("", ("incident", "state", "severity", "since", "alerts", ""), rows, right=("alerts",)))


def _state(one: "Incident") -> str:
    if one.closed_at is not None:
        return f"over {one.closed_at:%Y-%m-%d %H:%M}"
    return "open" if one.acknowledged is None else f"acknowledged by {one.acknowledged.by}"


def _show(screen: "Console", one: "Incident", shown: "list[Evidence]", told: "list[Told]") -> None:
    from boucle.app.console import number, table

    screen.print(f"incident {one.number}, {one.severity}, {_state(one)}: {one.title}")
    screen.print(f"since {one.opened_at:%Y-%m-%d %H:%M} UTC, window {one.window}")
    if one.acknowledged is not None and one.acknowledged.note:
        screen.print(f"note: {one.acknowledged.note}")
    for alert in one.alerts:
        over = "" if alert.closed_at is None else f" (over {alert.closed_at:%Y-%m-%d %H:%M})"
        screen.print(f"- {alert.kind} {alert.subject}{over}: {alert.message}; rule {alert.rule}")
    for window in shown:
        screen.print(f"evidence of window {window.window}: {window.rows:,} rows, {len(window.sample)} of them kept")
        names = ("psi", "threshold", "ks", "js", "shift")
        rows = [
            (column.column, *(number(_figure(column.figures.get(name)), 3) for name in names))
            for column in window.columns
        ]
        if rows:
            screen.print(table("", ("column", *names), rows, right=names))
        for finding in window.findings:
            screen.print(f"  {finding}")
    for route in told:
        arrived = "has not arrived" if route.arrived_at is None else f"last arrived {route.arrived_at:%Y-%m-%d %H:%M}"
        problem = f"; {route.problem}" if route.problem else ""
        screen.print(
            f"told {route.route} that it {_EVENTS[route.event]} at {route.at:%Y-%m-%d %H:%M}; {arrived}{problem}"
        )


_EVENTS = {"opened": "opened", "changed": "has news", "repeated": "is still open", "closed": "is over"}


def _figure(value: float | bool | None) -> float | None:
    return None if value is None else float(value)


def _page(store: "Store", name: str, found: "Sequence[Incident]", path: Path) -> None:
    from boucle.app.alerts_page import page
    from boucle.kernel.paths import write_atomic
    from boucle.monitoring.alerting import api

    if not path.absolute().parent.is_dir():
        raise InvalidInput(f"there is no folder {path.parent}", hint=f"mkdir -p {path.parent}")
    shown = {one.number: api.evidence(store, name, one.number) for one in found}
    told = {one.number: api.told(store, name, one.number) for one in found}
    write_atomic(path.absolute(), page(name, found, shown, told).encode(), mode=0o600)
