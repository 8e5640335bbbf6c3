"""`boucle keys`"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import typer

from boucle.app.registry import Registry, registry
from boucle.app.session import AsJson

app = typer.Typer(name="keys", help="Say who may ask an endpoint, and how often.", no_args_is_help=True)

Endpoint = Annotated[str, typer.Argument(help="Name of the endpoint.")]
Name = Annotated[str, typer.Argument(help="Whom the key is for.")]


@app.command()
def add(
    context: typer.Context,
    endpoint: Endpoint,
    name: Name,
    rate: Annotated[
        float | None, typer.Option(metavar="PER_SECOND", help="Requests a second that it may make; default: any.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key of an endpoint, and print it once. From the first one on nobody asks the endpoint without.

    Clients send it as `Authorization: Bearer KEY`. Running servers know it at once. An endpoint may get its keys before
    there is one; it is told, since it may be a slip.

    \b
    Example:
      boucle keys add flights app --rate 100
    """
    with registry(context, None) as found:
        from boucle.app.console import console, print_json
        from boucle.kernel.clock import to_ms
        from boucle.serving.keys import add_key
        from boucle.serving.traffic import traffic_file

        tell = _teller(found, endpoint)
        text, key = add_key(
            found.store.home,
            endpoint,
            name,
            per_second=rate,
            now_ms=to_ms(found.store.clock.now()),
            permitted=lambda key: tell("add_key", {"key": key.id, "name": name, "per_second": rate}),
        )
        known = traffic_file(found.store.home, endpoint).exists()
        if as_json:
            told = {"endpoint": endpoint, "name": name, "id": key.id, "key": text, "per_second": rate, "known": known}
            print_json(told)
        else:
            screen = console(found.session.color)
            screen.print(text, soft_wrap=True)
            screen.print("It is shown this once only. Send it as `Authorization: Bearer KEY`.")
            if not known:
                screen.print(
                    f"There is no endpoint {endpoint} yet; the key counts from the moment that there is one: "
                    f"boucle deploy VERSION --to {endpoint}",
                    soft_wrap=True,
                )


@app.command("list")
def list_(context: typer.Context, endpoint: Endpoint, as_json: AsJson = False) -> None:
    """List the keys of an endpoint, without the secrets.

    \b
    Example:
      boucle keys list flights
    """
    with registry(context, None) as found:
        from boucle.app.console import console, print_json, table
        from boucle.serving.keys import read_keys

        keys = read_keys(found.store.home, endpoint).keys
        if as_json:
            print_json(
                [
                    {"id": one.id, "name": one.name, "per_second": one.per_second, "created_ms": one.created_ms}
                    for one in keys
                ]
            )
            return
        rows = [
            (
                one.name,
                one.id,
                "any" if one.per_second is None else f"{one.per_second:g}",
                f"{datetime.fromtimestamp(one.created_ms / 1000, UTC):%Y-%m-%d}",
            )
            for one in keys
        ]
        console(found.session.color).print(table("", ("for", "id", "a second", "made"), rows))


@app.command()
def remove(context: typer.Context, endpoint: Endpoint, name: Name, as_json: AsJson = False) -> None:
    """Take a key away; running servers refuse it at once. The last one that goes leaves the endpoint closed.

    `boucle keys open` opens it again.

    \b
    Example:
      boucle keys remove flights app
    """
    with registry(context, None) as found:
        from boucle.app.console import console, print_json
        from boucle.serving.keys import remove_key

        tell = _teller(found, endpoint)
        key = remove_key(
            found.store.home,
            endpoint,
            name,
            permitted=lambda key: tell("remove_key", {"key": key.id, "name": name}),
        )
        if as_json:
            print_json({"endpoint": endpoint, "name": name, "id": key.id})
        else:
            console(found.session.color).print(f"the key of {name} opens nothing any more")


@app.command("open")
def open_(context: typer.Context, endpoint: Endpoint, as_json: AsJson = False) -> None:
    """Let this machine ask an endpoint without a key again, once its last key is taken away.

    \b
    Example:
      boucle keys open flights
    """
    with registry(context, None) as found:
        from boucle.app.console import console, print_json
        from boucle.serving.keys import open_again

        tell = _teller(found, endpoint)
        open_again(found.store.home, endpoint, permitted=lambda: tell("open", {}))
        if as_json:
            print_json({"endpoint": endpoint, "open": True})
        else:
            console(found.session.color).print(f"this machine asks {endpoint} without a key again")


def _teller(found: Registry, endpoint: str) -> Callable[[str, dict[str, object]], None]:
    """What puts an action at an endpoint into the audit log. Refused for whom the store does not let write."""
    from boucle.governance.api import tell_of_endpoint

    actor = found.who_may("write").name

    def tell(action: str, details: dict[str, object]) -> None:
        tell_of_endpoint(
            found.store, project_id=found.project_id, endpoint=endpoint, action=action, actor=actor, details=details
        )

    return tell
