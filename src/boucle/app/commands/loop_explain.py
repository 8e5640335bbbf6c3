"""`boucle loop explain`"""

from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.session import AsJson, session_of

_MOST_DIGITS = 12

if TYPE_CHECKING:
    from rich.console import Console

    from boucle.loop.conditions import Condition
    from boucle.loop.decided import ExplainedDecision
    from boucle.loop.explain import Change, Counterfactual


def explain(
    context: typer.Context,
    decision: Annotated[
        str | None,
        typer.Argument(help="Its id, DAY/N or a DAY; without it the newest decision. What is live comes first."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show why something was decided, and what would have changed it.

    Every rule in its order: what was measured, what is asked, how far it is from it. Then the smallest changes of the
    facts with which something else would have been done, each tried on the rules.

    \b
    Example:
      boucle loop explain
      boucle loop explain 2013-05-04
      boucle loop explain live/2013-05-04/00 --json | jq '.[].why.otherwise'
    """
    session = session_of(context)
    with session.open(stored=True) as project:
        from boucle.app.console import console, print_json
        from boucle.loop.decided import explained

        found = explained(project, decision)
        if as_json:
            print_json(found)
            return
        screen = console(session.color)
        for one in found:
            show(screen, one)


def show(screen: "Console", one: "ExplainedDecision") -> None:
    """A decision: its rules as a table, then what would have been decided otherwise."""
    from rich.text import Text

    from boucle.app.console import mark, table

    taken = one.decision
    kind = str(taken.action.__struct_config__.tag)
    screen.print(Text(f"{taken.id}: {kind}: {taken.action.reason}"))
    screen.print(Text(f"came of it: {taken.outcome}"))
    if one.why is None:
        screen.print("its facts were not kept: it is a drill, or an older release decided it")
        return
    rows = []
    for rule in one.why.rules:
        for n, condition in enumerate(rule.conditions):
            head = ("", "") if n else (rule.name, rule.came)
            away = condition.distance
            rows.append(
                (
                    *head,
                    mark(condition.holds),
                    condition.what,
                    number(condition.measured),
                    limit(condition),
                    "" if away is None else signed(away),
                )
            )
    columns = ("rule", "", "", "fact", "measured", "asked", "distance")
    screen.print(table("Rules, in their order", columns, rows, right=("measured", "distance")))
    if not one.why.otherwise:
        screen.print("no other number would have changed it")
    for way in one.why.otherwise:
        screen.print(Text(otherwise(way)))


def otherwise(way: "Counterfactual") -> str:
    """One way to another outcome, in words."""
    changes = " and ".join(changed(change) for change in way.changes)
    if way.action is None:
        return f"with {changes}: nothing would have been done"
    aim = getattr(way.action, "number", None)
    then = str(way.action.__struct_config__.tag) + ("" if aim is None else f" version {aim}")
    return f"with {changes}: {then}"


def changed(change: "Change") -> str:
    """One fact that is another: a number beside the rule's limit by that, with as many digits as tell them apart.

    >>> from boucle.loop.explain import Change
    >>> changed(Change(fact="", what="better by", measured=0.0084, instead=0.005, limit=0.005))
    'better by 0.0050 instead of 0.0084'
    >>> changed(Change(fact="", what="better by", measured=0.005, instead=0.005 - 1e-12, limit=0.005))
    'better by just below 0.0050 instead of 0.0050'
    """
    instead, limit, measured = change.instead, change.limit, change.measured
    if limit is None:
        return f"{change.what} {number(instead)} instead of {number(measured)}"
    beside = "just below " if instead < limit else "just above " if instead > limit else ""
    digits = 4
    while digits < _MOST_DIGITS and measured != limit and number(measured, digits) == number(limit, digits):
        digits += 1
    return f"{change.what} {beside}{number(limit, digits)} instead of {number(measured, digits)}"


def number(value: float | int | bool | str | None, digits: int = 4) -> str:
    """A fact as it is shown.

    >>> number(True), number(None), number(12), number(0.51234), number(-1e-9)
    ('yes', 'nothing', '12', '0.5123', '0.0000')
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{round(value, digits) + 0.0:.{digits}f}" if isinstance(value, float) else str(value)


def signed(value: float | int) -> str:
    """A distance, with its sign.

    >>> signed(-6), signed(0.0123)
    ('-6', '+0.0123')
    """
    return f"{value:+.4f}" if isinstance(value, float) else f"{value:+d}"


def limit(condition: "Condition") -> str:
    """What is asked of a fact."""
    return number(condition.limit) if condition.must == "be" else f"{condition.must} {number(condition.limit)}"
