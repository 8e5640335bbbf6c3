"""`boucle models policy`"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.registry import Comment, In, Name, Registry, registry
from boucle.app.session import AsJson
from boucle.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from boucle.governance.records import Objective, PolicyChange, Verdict
    from boucle.models.records import Stage

app = typer.Typer(name="policy", help="What a version needs before a protected alias moves.", no_args_is_help=True)

Change = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Which one, as `boucle models policy show` has it; default: the only one."),
]

_OBJECTIVE = re.compile(r"\s*(.+?)\s*(>=|<=)\s*([-+0-9.eE]+)\s*")


@app.command()
def show(context: typer.Context, name: Name, project: In = None, as_json: AsJson = False) -> None:
    """Show the policy in force on a model, and changes of it that wait for approvals.

    \b
    Example:
      boucle models policy show flights
    """
    with registry(context, project) as found:
        from msgspec import UNSET

        from boucle.app.console import console, print_json
        from boucle.governance import api
        from boucle.models import commands

        held = api.policy_state(found.store, found.project_id, name)
        policy = held.policy
        if as_json:
            print_json(held)
            return
        screen = console(found.session.color)
        screen.print(f"policy {held.digest[:12]} on {name}, set by {held.set_by or 'boucle.yaml'}")
        for one in policy.objectives:
            bounds = ((">=", one.at_least), ("<=", one.at_most))
            screen.print(
                "  " + " and ".join(f"{one.metric} {sign} {value:g}" for sign, value in bounds if value is not None)
            )
        screen.print(f"  {policy.reviews} reviews; parity within {policy.parity_tolerance:g} where it is Boucle's own")
        stages = ["Production"] if policy.stages is UNSET else policy.stages
        screen.print(f"  protects {', '.join([*policy.protected_aliases, *(f'stage {stage}' for stage in stages)])}")
        if policy.measured is True:
            screen.print("  only what Boucle measured counts")
        if policy.require_signature is not UNSET:
            screen.print(f"  signed by one of the keys {', '.join(one[:12] for one in policy.require_signature)}")
        for notice in held.notices:
            screen.print(f"  {notice}")
        for change in held.changes:
            approve = commands.about("policy approve", change.project_id, name, change=change.id)
            why = f" ({change.reason})" if change.reason else ""
            screen.print(f"waits: {_what(change)}, asked for by {change.asked_by}{why}: {approve}", soft_wrap=True)


@app.command("set")
def set_(
    context: typer.Context,
    name: Name,
    objective: Annotated[
        list[str] | None, typer.Option(metavar="METRIC>=VALUE", help="A bound, >= or <=; may come several times.")
    ] = None,
    reviews: Annotated[int, typer.Option(min=0, help="Approvals of persons other than the author.")] = 0,
    alias: Annotated[
        list[str] | None, typer.Option(help="An alias that it protects besides champion. May come several times.")
    ] = None,
    stage: Annotated[
        list[str] | None, typer.Option(help="A stage that it protects; default: Production. May come several times.")
    ] = None,
    measured: Annotated[bool, typer.Option("--measured", help="Only what Boucle itself measured counts.")] = False,
    require_signature: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="A signature by this key: the file of the public key, or its fingerprint. May come several times.",
        ),
    ] = None,
    tolerance: Annotated[float, typer.Option(help="The largest difference of a compiled model.")] = 1e-9,
    reason: Comment = "",
    project: In = None,
    as_json: AsJson = False,
) -> None:
    """Put a policy on a model's name. A stricter one is in force at once, a weaker one once it is approved.

    Whatever is not given is not asked for: this is the whole policy.

    \b
    Example:
      boucle models policy set flights --objective "auc>=0.75" --reviews 1
    """
    with registry(context, project) as found:
        from msgspec import UNSET

        from boucle.governance import api
        from boucle.governance.records import Policy
        from boucle.models.names import stage_of
        from boucle.packaging.trust import fingerprint_of

        stages: list[Stage] = [stage_of(one) for one in stage or []]
        policy = Policy(
            objectives=[_objective(one) for one in objective or []],
            reviews=reviews,
            parity_tolerance=tolerance,
            aliases=alias or UNSET,
            stages=stages or UNSET,
            measured=True if measured else UNSET,
            require_signature=[fingerprint_of(one, Path()) for one in require_signature or []] or UNSET,
        )
        change = api.set_policy(
            found.store,
            found.who_may("administer"),
            project_id=found.project_id,
            model=name,
            policy=policy,
            reason=reason,
        )
        _tell(found, name, change, as_json=as_json)


@app.command()
def remove(
    context: typer.Context, name: Name, reason: Comment = "", project: In = None, as_json: AsJson = False
) -> None:
    """Ask for a model's policy to be taken away; it is once other persons approve.

    \b
    Example:
      boucle models policy remove flights --reason "retired"
    """
    with registry(context, project) as found:
        from boucle.governance import api

        change = api.set_policy(
            found.store,
            found.who_may("administer"),
            project_id=found.project_id,
            model=name,
            policy=None,
            reason=reason,
        )
        _tell(found, name, change, as_json=as_json)


@app.command()
def approve(
    context: typer.Context,
    name: Name,
    change: Change = None,
    comment: Comment = "",
    project: In = None,
    as_json: AsJson = False,
) -> None:
    """Approve a change of a policy that waits, with a reviewer's token in BOUCLE_TOKEN.

    \b
    Example:
      boucle models policy approve flights
    """
    _review(context, name, "approve", change, comment, project, as_json=as_json)


@app.command()
def reject(
    context: typer.Context,
    name: Name,
    change: Change = None,
    comment: Comment = "",
    project: In = None,
    as_json: AsJson = False,
) -> None:
    """Reject a change of a policy that waits, with a reviewer's token in BOUCLE_TOKEN.

    \b
    Example:
      boucle models policy reject flights --comment "not before the audit"
    """
    _review(context, name, "reject", change, comment, project, as_json=as_json)


def _review(
    context: typer.Context,
    name: str,
    verdict: "Verdict",
    change_id: str | None,
    comment: str,
    project: str | None,
    *,
    as_json: bool,
) -> None:
    with registry(context, project) as found:
        from boucle.app.console import console, print_json
        from boucle.governance.api import review_change

        change = review_change(
            found.store,
            found.principal(),
            project_id=found.project_id,
            model=name,
            verdict=verdict,
            change_id=change_id,
            comment=comment,
        )
        if as_json:
            print_json(change)
            return
        state = "is in force"
        if change.entered_at is None:
            state = "waits for further approvals" if verdict == "approve" else "waits until you approve it after all"
        console(found.session.color).print(f"{_what(change)} of the policy of {name} {state}")


def _what(change: "PolicyChange") -> str:
    """What a change makes of the policy, with its digest as `policy show` has it once it is in force."""
    from boucle.kernel.digests import digest_json, short

    return "the removal" if change.policy is None else f"the weaker version {short(digest_json(change.policy))}"


def _tell(found: Registry, name: str, change: "PolicyChange | None", *, as_json: bool) -> None:
    """Say that a policy is in force, and what it does not change; Refused for one that waits, which is kept."""
    from boucle.app.console import console, print_json
    from boucle.governance.api import policy_state, refuse_waiting

    refuse_waiting(found.store, change)
    notices = policy_state(found.store, found.project_id, name).notices
    if as_json:
        print_json({"model": name, "in_force": True, "notices": notices})
    else:
        screen = console(found.session.color)
        screen.print(f"the policy of {name} is in force")
        for notice in notices:
            screen.print(f"  {notice}")


def _objective(text: str) -> "Objective":
    from boucle.governance.records import Objective

    match = _OBJECTIVE.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        value = float(match[3])
    except ValueError:
        raise InvalidInput(
            f"`{text}` is no objective: write METRIC>=VALUE or METRIC<=VALUE", hint="--objective 'auc>=0.75'"
        ) from None
    if match[2] == ">=":
        return Objective(metric=match[1], at_least=value)
    return Objective(metric=match[1], at_most=value)
