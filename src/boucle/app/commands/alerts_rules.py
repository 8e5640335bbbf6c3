"""`boucle alerts rules`"""

import typer

from boucle.app.session import AsJson, session_of

app = typer.Typer(name="rules", help="The rules of `alerts` in boucle.yaml.", no_args_is_help=True)


@app.command("test")
def try_out(context: typer.Context, as_json: AsJson = False) -> None:
    """Say which rule takes which open alert, and who would be told of it.

    By boucle.yaml as it is now. Changes nothing and tells nobody.

    \b
    Example:
      boucle alerts rules test
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json, table
        from boucle.loop.live import LIVE
        from boucle.monitoring.alerting.trial import taken
        from boucle.monitoring.api import alerts

        store, name = project.store(), project.project.project
        found = taken(alerts(store, name, LIVE, only_open=True), project.project.alerts)
        if as_json:
            print_json(found)
            return
        screen = console(session.color)
        if not found:
            screen.print("no alert is open")
            return
        rows = [
            (
                one.kind,
                one.subject,
                one.rule,
                one.severity if one.counts else "counts no more",
                ", ".join(f"{key} {value}" for key, value in one.group.items()),
                ", ".join(one.routes) or "nobody",
            )
            for one in found
        ]
        screen.print(table("", ("kind", "subject", "rule", "severity", "one incident by", "told"), rows))
