"""`boucle models`"""

from datetime import UTC
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.commands import evidence, model_policies
from boucle.app.registry import Comment, In, Name, Number, Registry, registry
from boucle.app.session import AsJson
from boucle.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from boucle.governance.records import Verdict

app = typer.Typer(
    name="models", help="The registry: versions, reviews, policies, and which was in charge when.", no_args_is_help=True
)
app.add_typer(model_policies.app)
app.command()(evidence.evidence)

Alias = Annotated[str, typer.Option(help="The alias to ask about.")]
SomeModel = Annotated[str | None, typer.Argument(help="Name of the model; default: the project's own.")]


@app.command("list")
def list_(context: typer.Context, name: SomeModel = None, project: In = None, as_json: AsJson = False) -> None:
    """List the versions of a model, or every model where there is no project.

    \b
    Example:
      boucle models list
      boucle models list flights --in default
    """
    with registry(context, project) as found:
        from boucle.app.console import console, print_json, table
        from boucle.models import api

        if name is None and not found.is_project:
            _list_models(found, as_json=as_json)
            return
        versions = api.list_versions(found.store, found.project_id, found.model(name))
        if as_json:
            print_json(versions)
            return
        columns = ("version", "bundle", "dataset", "run", "author", "made (UTC)", "stage", "why")
        rows = [
            (
                str(one.number),
                one.bundle_digest[:12],
                (one.dataset_digest or "")[:12],
                one.run_id,
                one.author,
                f"{one.created_at:%Y-%m-%d %H:%M}",
                "" if one.stage == "None" else one.stage,
                one.note,
            )
            for one in versions
        ]
        console(found.session.color).print(table("", columns, rows, right=("version",)))


def _list_models(found: Registry, *, as_json: bool) -> None:
    from boucle.app.console import console, print_json, table
    from boucle.governance.api import policy_on
    from boucle.models import api

    models = found.store.read(lambda conn: api.model_facts(conn, api.list_models(found.store, found.project_id)))
    if as_json:
        print_json(models)
        return
    columns = ("model", "newest", "aliases", "policy", "description")
    rows = [
        (
            one.model.name,
            str(max((latest.version.number for latest in one.latest), default="")),
            ", ".join(f"{alias} {number}" for alias, number in one.aliases.items()),
            "yes" if policy_on(found.store, found.project_id, one.model.name) else "",
            one.model.description or "",
        )
        for one in models
    ]
    console(found.session.color).print(table("", columns, rows, right=("newest",)))


@app.command()
def show(context: typer.Context, name: Name, number: Number, project: In = None, as_json: AsJson = False) -> None:
    """Show a version: where it comes from, what its gates say now, who reviewed it.

    \b
    Example:
      boucle models show flights 3
    """
    with registry(context, project) as found:
        from boucle.app.console import console, mark, print_json, table
        from boucle.governance.api import standing

        told = standing(found.store, found.project_id, name, number)
        if as_json:
            print_json(told)
            return
        version, report, screen = told.version, told.report, console(found.session.color)
        source = version.source or f"run {version.run_id}"
        screen.print(f"version {number} of {name}, made by {version.author} at {version.created_at:%Y-%m-%d %H:%M} UTC")
        screen.print(f"  from {source}, bundle {version.bundle_digest[:12]}, stage {version.stage}", soft_wrap=True)
        if told.aliases:
            screen.print(f"  behind {', '.join(told.aliases)}")
        if report is None:
            screen.print("no policy: whoever may write moves its aliases")
            return
        rows = [(mark(one.passed), one.gate, one.message) for one in report.verdicts]
        screen.print(table("gates", ("", "gate", "verdict"), rows))
        if told.reviews:
            said = [(f"{one.reviewed_at:%Y-%m-%d}", one.reviewer, one.verdict, one.comment) for one in told.reviews]
            screen.print(table("reviews", ("day", "who", "said", "why"), said))
        if told.next is not None:
            screen.print(f"next: {told.next}", soft_wrap=True)


@app.command()
def history(
    context: typer.Context,
    name: SomeModel = None,
    alias: Alias = "champion",
    at: Annotated[
        str | None,
        typer.Option(metavar="MOMENT", help="Tell which version it was then: a date or a moment; UTC without a zone."),
    ] = None,
    project: In = None,
    as_json: AsJson = False,
) -> None:
    """Show every move of an alias, or which version it stood for at a moment.

    From which event time on, to which version, by whom, why, under which permit.

    \b
    Example:
      boucle models history
      boucle models history flights --at 2013-07-15T12:00:00-04:00
    """
    from boucle.models import api

    moment = None if at is None else api.moment_of(at)
    with registry(context, project) as found:
        from boucle.app.console import console, print_json, table

        model, screen = found.model(name), console(found.session.color)
        if moment is not None:
            number = api.version_then(found.store, found.project_id, model, alias, moment)
            if as_json:
                print_json({"alias": alias, "at": moment, "version": number})
            else:
                screen.print(f"version {number} was {alias} at {moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
            return
        moves = api.history(found.store, found.project_id, model, alias)
        if as_json:
            print_json(moves)
            return
        columns = ("effective (UTC)", "version", "actor", "permit", "why")
        rows = [
            (
                f"{one.effective_at:%Y-%m-%d %H:%M}",
                "taken away" if one.number is None else str(one.number),
                one.actor,
                one.permit_id or "",
                one.reason,
            )
            for one in moves
        ]
        screen.print(table("", columns, rows, right=("version",)))


@app.command()
def promote(
    context: typer.Context,
    name: Name,
    number: Number,
    alias: Annotated[str | None, typer.Option(help="The alias that moves; default: champion.")] = None,
    reason: Comment = "",
    stage: Annotated[str | None, typer.Option(help="Put it into this stage instead, such as Production.")] = None,
    archive: Annotated[bool, typer.Option("--archive", help="Take those that are in the stage out of it.")] = False,
    instead_of: Annotated[
        int | None, typer.Option(metavar="VERSION", help="Only if the alias points at this version now.")
    ] = None,
    project: In = None,
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version, or back at an earlier one; or put it into a stage.

    Where a policy protects the alias or the stage, its gates are asked, and a permit is issued and used up.

    \b
    Example:
      boucle models promote flights 3
      boucle models promote flights 3 --instead-of 2
      boucle models promote flights 3 --stage Production --archive
    """
    if stage is not None and (alias is not None or instead_of is not None):
        raise InvalidInput("--stage goes without --alias and --instead-of", hint="boucle models promote --help")
    if stage is None and archive:
        raise InvalidInput("--archive is about a stage", hint="boucle models promote --help")
    with registry(context, project) as found:
        from msgspec import UNSET

        from boucle.app.console import console, print_json
        from boucle.governance import api

        screen, actor = console(found.session.color), found.who_may("write").name
        if stage is not None:
            api.set_stage(
                found.store,
                project_id=found.project_id,
                model=name,
                number=number,
                stage=stage,
                archive_existing=archive,
                actor=actor,
                reason=reason,
            )
            told = api.standing(found.store, found.project_id, name, number)
            if as_json:
                print_json(told)
            else:
                screen.print(f"version {number} of {name} is in stage {told.version.stage}")
            return
        move = api.set_alias(
            found.store,
            project_id=found.project_id,
            model=name,
            alias="champion" if alias is None else alias,
            number=number,
            actor=actor,
            reason=reason,
            expected=UNSET if instead_of is None else instead_of,
        )
        if as_json:
            print_json(move)
        else:
            screen.print(f"{move.alias} of {name} is version {move.number}")


@app.command()
def approve(
    context: typer.Context,
    name: Name,
    number: Number,
    comment: Comment = "",
    project: In = None,
    as_json: AsJson = False,
) -> None:
    """Approve a version, with a reviewer's token in BOUCLE_TOKEN; its author cannot.

    \b
    Example:
      boucle models approve flights 3 --comment "slices look fine"
    """
    _review(context, name, number, "approve", comment, project, as_json=as_json)


@app.command()
def reject(
    context: typer.Context,
    name: Name,
    number: Number,
    comment: Comment = "",
    project: In = None,
    as_json: AsJson = False,
) -> None:
    """Reject a version, with a reviewer's token in BOUCLE_TOKEN, until the same person approves it.

    \b
    Example:
      boucle models reject flights 3 --comment "trained on the wrong year"
    """
    _review(context, name, number, "reject", comment, project, as_json=as_json)


@app.command()
def waive(
    context: typer.Context,
    name: Name,
    number: Number,
    gate: Annotated[str, typer.Argument(help="The gate, as `boucle models show` names it.")],
    reason: Annotated[str, typer.Option(help="Why it may be passed; goes into the audit log and the permit.")],
    days: Annotated[float, typer.Option(help="For how long, at most 30.")] = 7,
    project: In = None,
    as_json: AsJson = False,
) -> None:
    """Let a gate pass for one version and some days, with a reviewer's token in BOUCLE_TOKEN.

    \b
    Example:
      boucle models waive flights 3 "objective(recall)" --reason "holiday weeks" --days 3
    """
    with registry(context, project) as found:
        from boucle.app.console import console, print_json
        from boucle.governance import api

        waiver = api.waive(
            found.store,
            found.principal(),
            project_id=found.project_id,
            model=name,
            number=number,
            gate=gate,
            reason=reason,
            days=days,
        )
        if as_json:
            print_json(waiver)
        else:
            console(found.session.color).print(
                f"{gate} of version {number} is waived until {waiver.expires_at:%Y-%m-%d %H:%M} UTC"
            )


def _review(
    context: typer.Context,
    name: str,
    number: int,
    verdict: "Verdict",
    comment: str,
    project: str | None,
    *,
    as_json: bool,
) -> None:
    with registry(context, project) as found:
        from boucle.app.console import console, print_json
        from boucle.governance.api import review_version

        review = review_version(
            found.store,
            found.principal(),
            project_id=found.project_id,
            model=name,
            number=number,
            verdict=verdict,
            comment=comment,
        )
        if as_json:
            print_json(review)
        else:
            done = "approves" if verdict == "approve" else "rejects"
            console(found.session.color).print(f"{review.reviewer} {done} version {number} of {name}")
