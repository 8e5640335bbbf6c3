"""`boucle loop simulate`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boucle.app.session import AsJson, session_of

if TYPE_CHECKING:
    from rich.console import Console

    from boucle.loop.outcome import Simulation
    from boucle.project.records import LoopSection, Project

WORLDS = 20
"""Made-up worlds in which two policies are compared."""


def simulate(
    context: typer.Context,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A key of the other policy, as in boucle.yaml."),
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="A YAML file whose `loop` section is the other policy.")] = None,
    made_up: Annotated[bool, typer.Option("--made-up", help="On made-up years, not on what was recorded.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what another policy would have done.

    Lives through the newest recorded stream again, under the policy of boucle.yaml and under another one, and shows
    quality and counts beside what happened. Trains nothing: a training yields the newest version that is kept from
    until then.

    \b
    Example:
      boucle loop simulate --set loop.retrain.cooldown_days=5
      boucle loop simulate --policy other.yaml --made-up
    """
    session = session_of(context)
    with session.open(stored=not made_up) as project:
        from boucle.app.console import console, print_json, progress
        from boucle.loop.made_up import World
        from boucle.loop.outcome import on_made_up, on_record
        from boucle.loop.recorded import record

        other = other_policy(project.project, changes or [], policy)
        if made_up:
            told = on_made_up([World(seed=seed) for seed in range(WORLDS)], project.project.loop, other)
        else:
            with progress(session.color) as shown:
                told = on_record(record(project, shown), project.project.loop, other)
        if as_json:
            print_json(told)
        else:
            show(console(session.color), told)


def other_policy(project: "Project", changes: list[str], file: Path | None) -> "LoopSection":
    """The project's policy with these changes, held to the same rules as boucle.yaml.

    Raises:
        InvalidInput: nothing is changed, a change is none of `loop`, or a value is not allowed.
    """
    import json

    from boucle.kernel.errors import InvalidInput, InvalidProject
    from boucle.project.records import beyond_defaults
    from boucle.project.yaml_file import parse_project, read_document, read_value

    document: dict[str, Any] = beyond_defaults(project)
    if file is None and not changes:
        raise InvalidInput(
            "no other policy was given to simulate", hint="boucle loop simulate --set loop.retrain.cooldown_days=5"
        )
    if file is not None:
        _, value = read_document(file)
        if not isinstance(value, dict) or not isinstance(value.get("loop"), dict):
            raise InvalidInput(f"{file} has no `loop` section", hint=f"write the section as in boucle.yaml into {file}")
        document["loop"] = value["loop"]
    for change in changes:
        key, equals, text = change.partition("=")
        parts = key.split(".")
        if not equals or not text.strip() or parts[0] != "loop" or len(parts) < 2:
            raise InvalidInput(
                f"{change!r} sets no key of the policy; allowed is `loop.SECTION.KEY=VALUE`",
                hint="boucle loop simulate --set loop.retrain.cooldown_days=5",
            )
        place = document
        for part in parts[:-1]:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                break
        if not isinstance(place, dict):
            raise InvalidInput(f"{key!r} is no key of the policy", hint="boucle schema")
        try:
            place[parts[-1]] = read_value(text, key)
        except InvalidProject as error:
            raise InvalidInput(f"{change!r}: {error.message}", hint="write the value as in boucle.yaml") from error
    try:
        return parse_project(json.dumps(document), "the other policy").loop
    except InvalidProject as error:
        found: Any = error.details["problems"]
        said = "; ".join(f"{one['path']}: {one['message']}" for one in found)
        raise InvalidInput(
            f"the other policy is not allowed: {said}",
            hint="give `--set` other values" if file is None else f"edit {file}, or give `--set` other values",
            details=error.details,
        ) from error


def show(screen: "Console", told: "Simulation") -> None:
    """The outcomes as a table, and what they cannot say."""
    from boucle.app.console import number, table

    columns = (told.metric, "trainings", "minutes", "of unknown result", "promotions", "refusals", "rollbacks")
    rows = [
        (
            one.name,
            number(one.quality),
            *(f"{n:g}" for n in (one.trainings, one.minutes, one.unknown, one.promotions, one.refusals, one.rollbacks)),
        )
        for one in told.outcomes
    ]
    screen.print(table(f"{told.days} days of {told.on}", ("", *columns), rows, right=columns))
    if told.first is None:
        screen.print("made-up worlds compare policies; they say nothing about your data")
    else:
        screen.print("nothing was trained: a training yields the newest version kept from until then, or none")
