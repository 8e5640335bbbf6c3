"""`boucle deploy`, `boucle rollback`, `boucle endpoints`"""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from boucle.app.registry import Comment, In, Registry, asked_version, registry
from boucle.app.session import AsJson

if TYPE_CHECKING:
    from boucle.loop.rollout import By
    from boucle.serving.records import Ack, Deployment, Traffic

TAKEN_UP_S: Final = 20.0
"""So long a running server is waited for."""
NEW_S: Final = 5.0
"""The same at an endpoint that is new: maybe the server is none that takes it up."""


def deploy(
    context: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A number, MODEL/NUMBER or MODEL@ALIAS.")],
    to: Annotated[str, typer.Option("--to", metavar="ENDPOINT", help="The endpoint; it is made if there is none.")],
    canary: Annotated[
        str | None, typer.Option(metavar="PERCENT", help="Answer this share of the questions only, such as 10%.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Draw the canary's share by this column; default: the entity key."),
    ] = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Answer unheard: the answers are compared and logged only.")
    ] = False,
    reason: Comment = "",
    project: In = None,
    as_json: AsJson = False,
) -> None:
    """Let a version answer at an endpoint: all questions, a share of them, or unheard.

    Where a policy is in force, a champion and a canary need gates that pass. A running server switches in all its
    workers at once, without a restart. At the endpoint that has the model's name, the champion is the alias `champion`.

    \b
    Example:
      boucle deploy 3 --to flights --shadow
      boucle deploy 3 --to flights --canary 10%
      boucle deploy 3 --to flights
    """
    with registry(context, project) as found:
        from boucle.kernel.errors import InvalidInput
        from boucle.loop import rollout

        if shadow and canary is not None:
            raise InvalidInput("a version is canary or shadow, not both", hint="leave out --canary or --shadow")
        if key is not None and canary is None:
            raise InvalidInput("--key says by what a canary's share is drawn", hint="add --canary 10%")
        by = _by(found, reason)
        model, number = asked_version(found, version)
        if shadow:
            traffic = rollout.deploy_shadow(found.store, by, to, model, number)
        elif canary is not None:
            traffic = rollout.deploy_canary(found.store, by, to, model, number, percent=_percent(canary), key=key)
        else:
            traffic = rollout.deploy_champion(found.store, by, to, model, number)
        _say_rules(found, to)
        _say(found, traffic, as_json=as_json)


def rollback(
    context: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint.")],
    version: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, help="To this former champion; default: the one before.")
    ] = None,
    canary: Annotated[bool, typer.Option("--canary", help="End the canary instead.")] = False,
    shadow: Annotated[bool, typer.Option("--shadow", help="End the shadow instead.")] = False,
    reason: Comment = "",
    project: In = None,
    as_json: AsJson = False,
) -> None:
    """Put the version before back in charge of an endpoint, or end its canary or shadow.

    A permit that the version had under the policy still in force counts again; else the gates are asked anew. After a
    former champion was deployed again it leads to the one before that, never forward to what came after it.

    \b
    Example:
      boucle rollback flights --reason "wrong currency"
      boucle rollback flights --canary
    """
    with registry(context, project) as found:
        from boucle.kernel.errors import InvalidInput
        from boucle.loop import rollout

        if canary + shadow + (version is not None) > 1:
            raise InvalidInput("--version, --canary and --shadow exclude each other", hint="give one of them")
        by = _by(found, reason)
        if canary or shadow:
            traffic = rollout.take_away(found.store, by, endpoint, "canary" if canary else "shadow")
        else:
            traffic = rollout.roll_back(found.store, by, endpoint, version)
        _say(found, traffic, as_json=as_json)


def endpoints(context: typer.Context, as_json: AsJson = False) -> None:
    """List the endpoints: who answers, which share, who answers unheard.

    \b
    Example:
      boucle endpoints
    """
    from boucle.app.session import session_of

    session = session_of(context)
    home = session.stored_home()

    from boucle.app.console import console, print_json, table
    from boucle.serving.traffic import endpoints as names
    from boucle.serving.traffic import read_traffic

    found = [(read_traffic(home, name), _said(home, name)) for name in names(home)]
    if as_json:
        print_json([{**_facts(traffic), "served": None if ack is None else ack.generation} for traffic, ack in found])
        return
    columns = ("endpoint", "champion", "canary", "shadow", "before", "server")
    rows = [
        (
            traffic.endpoint,
            _named(traffic.champion),
            "" if traffic.canary is None else f"{_named(traffic.canary.deployment)}, {traffic.canary.weight:g} %",
            "" if traffic.shadow is None else _named(traffic.shadow),
            ", ".join(_named(one) for one in reversed(traffic.before)),
            "not running" if ack is None else ack.error or "answers" if ack.generation == traffic.generation else "old",
        )
        for traffic, ack in found
    ]
    console(session.color).print(table("", columns, rows))


def _by(found: Registry, reason: str) -> "By":
    from boucle.loop.rollout import By

    return By(project_id=found.project_id, actor=found.who_may("write").name, reason=reason)


def _say_rules(found: Registry, endpoint: str) -> None:
    """Let whoever serves the endpoint know what its project keeps of its log."""
    from boucle.serving.owner import log_rules

    file = found.session.project_file()
    if found.project_id == found.session.project_name():
        log_rules(found.store.home, found.project_id, None if file is None else file.serving.log, endpoint)


def _percent(text: str) -> float:
    from boucle.kernel.errors import InvalidInput

    try:
        percent = float(text.strip().removesuffix("%"))
    except ValueError:
        percent = float("nan")
    if not 0 < percent < 100:
        raise InvalidInput(f"{text[:50]!r} is no share; allowed is more than 0% and less than 100%, such as 10%")
    return percent


def _say(found: Registry, traffic: "Traffic", *, as_json: bool) -> None:
    """Wait for a server that runs, then tell what answers now."""
    from boucle.app.console import console, print_json
    from boucle.kernel.errors import Unavailable
    from boucle.serving.holding import served_beside
    from boucle.serving.traffic import wait_acknowledged

    ack = _said(found.store.home, traffic.endpoint)
    if ack is None and served_beside(found.store.home, traffic.endpoint):
        with suppress(Unavailable):  # a server that serves chosen endpoints only leaves this one
            ack = wait_acknowledged(found.store.home, traffic.endpoint, traffic.generation, timeout_s=NEW_S)
    elif ack is not None:
        ack = wait_acknowledged(found.store.home, traffic.endpoint, traffic.generation, timeout_s=TAKEN_UP_S)
    if as_json:
        print_json({**_facts(traffic), "served": None if ack is None else ack.generation})
        return
    screen = console(found.session.color)
    rest = 100 - (0 if traffic.canary is None else traffic.canary.weight)
    screen.print(f"{traffic.endpoint}: {_named(traffic.champion)} answers {rest:g} %")
    if traffic.canary is not None:
        screen.print(f"  canary {_named(traffic.canary.deployment)} answers {traffic.canary.weight:g} %")
    if traffic.shadow is not None:
        screen.print(f"  shadow {_named(traffic.shadow)} answers unheard")
        if ack is not None and ack.shadow_error is not None:
            screen.print(f"  but it cannot be asked: {ack.shadow_error}")
    if ack is None:
        screen.print("  no server serves it; start one: boucle serve")


def _said(home: Path, endpoint: str) -> "Ack | None":
    """What the server of an endpoint said last; None where none runs: one that was killed left its word behind."""
    from boucle.serving.holding import is_held
    from boucle.serving.traffic import read_ack

    return read_ack(home, endpoint) if is_held(home, endpoint) else None


def _facts(traffic: "Traffic") -> dict[str, object]:
    from msgspec import to_builtins

    facts: dict[str, object] = to_builtins(traffic)
    return facts


def _named(deployment: "Deployment") -> str:
    return f"version {deployment.number}" + (f" of {deployment.model}" if deployment.model else "")
