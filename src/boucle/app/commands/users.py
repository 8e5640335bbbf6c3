"""`boucle users`"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.session import AsJson, Session, session_of
from boucle.kernel.errors import NothingStored

if TYPE_CHECKING:
    from boucle.identity.records import NewToken
    from boucle.kernel.store import Store

app = typer.Typer(name="users", help="Say who may use the server, and as what.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the user.")]
Days = Annotated[int, typer.Option(help="Days until the token expires, 1 to 366.")]


@app.command()
def add(
    context: typer.Context,
    name: Name,
    role: Annotated[str, typer.Option(help="reader, author, reviewer or admin.")],
    days: Days = 90,
    as_json: AsJson = False,
) -> None:
    """Add a user, and print a token once.

    The first user must be an admin. From then on every request to the server needs a token, on this machine too.

    \b
    Example:
      boucle users add ada --role admin
    """
    with _opened(context, new=True) as (session, store):
        from boucle.identity import accounts

        _show(session, accounts.add(store, name, role, days=days, actor=_keeper(store)), as_json=as_json)


@app.command()
def token(
    context: typer.Context,
    name: Name,
    days: Days = 90,
    role: Annotated[str | None, typer.Option(help="A lesser role that it is limited to; default: the user's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a further token of a user, once.

    \b
    Example:
      boucle users token ada --days 7 --role reader
    """
    with _opened(context) as (session, store):
        from boucle.identity import accounts

        made = accounts.issue(store, name, role=role, days=days, actor=_keeper(store))
        _show(session, made, as_json=as_json)


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List users and their tokens, without the secrets.

    \b
    Example:
      boucle users list
    """
    with _opened(context) as (session, store):
        from boucle.app.console import console, print_json, table
        from boucle.identity import accounts

        found = accounts.everyone(store)
        if as_json:
            print_json(found)
            return
        rows = [
            (
                user.name if number == 0 else "",
                user.role if number == 0 else "",
                one.id if one else "-",
                (one.scope or "") if one else "",
                _state(one.expires_ms, store) if one else "",
            )
            for user in found
            for number, one in enumerate(user.tokens or [None])
        ]
        columns = ("user", "role", "token", "limited to", "expires (UTC)")
        console(session.color).print(table("", columns, rows))


@app.command()
def role(
    context: typer.Context,
    name: Name,
    role: Annotated[str, typer.Argument(help="reader, author, reviewer or admin.")],
    as_json: AsJson = False,
) -> None:
    """Give a user another role, at once for all tokens.

    \b
    Example:
      boucle users role ada author
    """
    with _opened(context) as (session, store):
        from boucle.app.console import console, print_json
        from boucle.identity import accounts

        user = accounts.change_role(store, name, role, actor=_keeper(store))
        if as_json:
            print_json(user)
        else:
            console(session.color).print(f"{user.name} is {user.role} now")


@app.command()
def revoke(
    context: typer.Context,
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as `boucle users list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a token: from now on no server takes it.

    \b
    Example:
      boucle users revoke 5b1c0f6a77e2d934
    """
    with _opened(context) as (session, store):
        from boucle.app.console import console, print_json
        from boucle.identity import accounts

        user = accounts.revoke(store, token_id, actor=_keeper(store))
        if as_json:
            print_json({"id": token_id, "user": user})
        else:
            console(session.color).print(f"the token {token_id} of {user} is revoked")


@app.command()
def remove(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Remove a user with all tokens; what the user did stays in the audit log.

    \b
    Example:
      boucle users remove ada
    """
    with _opened(context) as (session, store):
        from boucle.app.console import console, print_json
        from boucle.identity import accounts

        user = accounts.remove(store, name, actor=_keeper(store))
        if as_json:
            print_json(user)
        else:
            console(session.color).print(f"{user.name} is removed, with {len(user.tokens)} token(s)")


def _keeper(store: "Store") -> str:
    """Who acts."""
    from boucle.identity.accounts import who_keeps

    return who_keeps(store, os.environ.get("BOUCLE_TOKEN")).name


@contextmanager
def _opened(context: typer.Context, *, new: bool = False) -> "Iterator[tuple[Session, Store]]":
    """The store; with `new` it is made if there is none, as users may come before the first run."""
    session = session_of(context)
    home = session.home()
    if not new and not (home / "boucle.db").exists():
        raise NothingStored(f"nothing is stored yet in {home}", hint="boucle users add NAME --role admin")
    with session.store(new=True) as store:
        yield session, store


def _show(session: Session, made: "NewToken", *, as_json: bool) -> None:
    """The only place that shows a token's text."""
    from boucle.app.console import console, print_json

    expires = datetime.fromtimestamp(made.token.expires_ms / 1000, UTC)
    if as_json:
        print_json({"user": made.user, "token": made.text, "id": made.token.id, "expires_at": expires})
        return
    screen, aside = console(session.color), console(session.color, stderr=True)
    aside.print(f"The token of {made.user}, valid until {expires:%Y-%m-%d}. It is shown only now:")
    screen.print(made.text, soft_wrap=True)
    aside.print("next: set MLFLOW_TRACKING_TOKEN to it where the client runs")


def _state(expires_ms: int, store: "Store") -> str:
    when = datetime.fromtimestamp(expires_ms / 1000, UTC)
    return f"{when:%Y-%m-%d}" + (" (over)" if when <= store.clock.now() else "")
