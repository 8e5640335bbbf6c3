"""`boucle webhooks`"""

import os
from typing import Annotated

import typer

from boucle.app.session import AsJson, session_of

app = typer.Typer(name="webhooks", help="Say which hosts webhooks may call, and see what waits.", no_args_is_help=True)

Host = Annotated[str, typer.Argument(help="A host's name or address, without port.")]


@app.command()
def allow(
    context: typer.Context,
    host: Host,
    private: Annotated[
        bool, typer.Option("--private", help="Its address may be of this machine or its network, and http:// will do.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let webhooks call a host.

    \b
    Example:
      boucle webhooks allow hooks.example.org
      boucle webhooks allow ci.internal --private
    """
    session = session_of(context)
    with session.store(new=True) as store:
        from boucle.app.console import console, print_json
        from boucle.identity.accounts import who_keeps
        from boucle.models.webhooks import api

        allowed = api.allow_host(
            store, host, private=private, actor=who_keeps(store, os.environ.get("BOUCLE_TOKEN")).name
        )
        if as_json:
            print_json(allowed)
        else:
            console(session.color).print(f"webhooks may call {allowed.host}")


@app.command()
def forbid(context: typer.Context, host: Host, as_json: AsJson = False) -> None:
    """Let webhooks call a host no more.

    \b
    Example:
      boucle webhooks forbid hooks.example.org
    """
    session = session_of(context)
    with session.store() as store:
        from boucle.app.console import console, print_json
        from boucle.identity.accounts import who_keeps
        from boucle.models.webhooks import api

        forbidden = api.forbid_host(store, host, actor=who_keeps(store, os.environ.get("BOUCLE_TOKEN")).name)
        if as_json:
            print_json(forbidden)
        else:
            console(session.color).print(f"webhooks may not call {forbidden.host}")


@app.command()
def hosts(context: typer.Context, as_json: AsJson = False) -> None:
    """List the hosts that webhooks may call.

    \b
    Example:
      boucle webhooks hosts
    """
    session = session_of(context)
    with session.store() as store:
        from boucle.app.console import console, print_json, table
        from boucle.models.webhooks import api

        found = api.list_hosts(store)
        if as_json:
            print_json(found)
            return
        rows = [(one.host, "yes" if one.private else "no", one.allowed_by) for one in found]
        console(session.color).print(table("", ("host", "private", "allowed by"), rows))


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List webhooks, with what has not arrived.

    Webhooks are made through MLflow's client: `MlflowClient().create_webhook(...)`.

    \b
    Example:
      boucle webhooks list
    """
    session = session_of(context)
    with session.store() as store:
        import msgspec

        from boucle.app.console import console, print_json, table
        from boucle.models.webhooks import api

        waiting = api.waiting(store)
        found = [(one, *waiting.get(one.id, (0, 0))) for one in api.list_webhooks(store)]
        if as_json:
            print_json([{**msgspec.to_builtins(one), "waiting": waits, "given_up": lost} for one, waits, lost in found])
            return
        columns = ("project", "name", "url", "events", "status", "waiting", "given up")
        rows = [
            (one.project_id, one.name, one.url, ", ".join(one.events), one.status.lower(), str(waits), str(lost))
            for one, waits, lost in found
        ]
        console(session.color).print(table("", columns, rows, right=("waiting", "given up")))
