"""`boucle lineage`"""

import shlex
from typing import TYPE_CHECKING, Annotated, Final

import typer

from boucle.app.session import AsJson, session_of

if TYPE_CHECKING:
    from rich.tree import Tree

    from boucle.loop.ancestry import Branch

_BELOW: Final = ("command", "environment", "machine")
"""Facts that are too long to stand in a thing's line."""


def lineage(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="A run id, model/3, model@champion, a digest, data, or an endpoint.")],
    as_json: AsJson = False,
    openlineage: Annotated[
        bool, typer.Option("--openlineage", help="Print the runs in it as OpenLineage events, one a line.")
    ] = False,
) -> None:
    """Show where something came from and what came of it.

    From data over runs, bundles and versions to aliases and deployments, in both directions.

    \b
    Example:
      boucle lineage flights@champion
      boucle lineage flights/3 --openlineage
    """
    session = session_of(context)
    home = session.stored_home()

    import json

    from rich.text import Text
    from rich.tree import Tree

    from boucle.app.console import console, print_json
    from boucle.kernel.store import Store
    from boucle.loop.ancestry import ancestry, left_out
    from boucle.loop.openlineage import events

    name = session.project_name()
    with Store.open(home) as store:
        found = ancestry(store, name, what)
        if openlineage:
            for event in events(store, name, found):
                typer.echo(json.dumps(event))
            for one in left_out(found):
                typer.echo(f"left out, as there is so much: {one}", err=True)
            return
        if as_json:
            print_json(found)
            return
        tree = Tree(Text(_line(found.kind, found.name, found.facts)))
        for title, branches, more in (
            ("made from", found.made_from, found.more_made_from),
            ("led to", found.led_to, found.more_led_to),
        ):
            below = tree.add(Text(title if branches else f"{title} nothing that is known"))
            for branch in branches:
                _grow(below, branch)
            _tell_more(below, more)
        console(session.color).print(tree)


def _grow(tree: "Tree", branch: "Branch") -> None:
    from rich.text import Text

    again = " (shown above)" if branch.repeated else ""
    onward = f"\n  goes on: boucle lineage {shlex.quote(branch.name)}" if branch.is_cut else ""
    below = tree.add(Text(_line(branch.kind, branch.name, branch.facts) + again + onward))
    for one in branch.branches:
        _grow(below, one)
    _tell_more(below, branch.more)


def _tell_more(tree: "Tree", more: int) -> None:
    from rich.text import Text

    if more:
        tree.add(Text(f"and {more:,} more"))


def _line(kind: str, name: str, facts: dict[str, str]) -> str:
    said = {key: value for key, value in facts.items() if value}
    below = "".join(f"\n  {key}: {said.pop(key)}" for key in _BELOW if key in said)
    told = ", ".join(value if key == "note" else f"{key} {value}" for key, value in said.items())
    short = name[:12] if len(name) == 64 else name
    return f"{kind} {short}" + (f"  ({told})" if told else "") + below
