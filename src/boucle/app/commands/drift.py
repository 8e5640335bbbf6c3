"""`boucle drift`"""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.session import AsJson, session_of
from boucle.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import Console

    from boucle.monitoring.records import Together
    from boucle.monitoring.verdict import ColumnVerdict, TableVerdict

_SHOWN = 30


class FailOn(Enum):
    """What ends the command with 3."""

    DRIFT = "drift"
    ANY = "any"
    NEVER = "never"


def drift(
    context: typer.Context,
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help="What was: a table, or a kept profile.")],
    current: Annotated[Path, typer.Argument(metavar="CURRENT", help="What is: a table, or a kept profile.")],
    as_json: AsJson = False,
    html: Annotated[Path | None, typer.Option(metavar="PAGE", help="Write a page with both distributions.")] = None,
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="End with 3 on drift, on any difference beyond noise, or never.")
    ] = FailOn.DRIFT,
    rate: Annotated[
        float, typer.Option("--rate", help="Share of comparisons without drift that may call a column drifted.")
    ] = 0.01,
    at_least: Annotated[
        float, typer.Option("--at-least", help="Share of the rows that must have moved for drift to matter.")
    ] = 0.05,
    weights: Annotated[
        Path | None, typer.Option(metavar="JSON", help="What each column matters: {column: importance}.")
    ] = None,
    all_together: Annotated[
        bool, typer.Option("--together", help="Also ask whether columns still go together as they did.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="List the columns that stayed the same, too.")] = False,
) -> None:
    """Compare two tables: which columns drifted, what matters first.

    Needs no project. CSV, Parquet, Arrow, JSON lines, or profiles that `boucle profile -o` kept. Tables are compared
    exactly. Ends with 3 if a column drifted, vanished or changed its type.

    \b
    Example:
      boucle drift january.parquet july.parquet
      boucle drift training.profile today.csv --html drift.html
      boucle drift old.csv new.csv --json | jq '.columns[] | select(.verdict == "drift") | .column'
    """
    session = session_of(context)
    _refuse_odd(reference, current, html, rate, at_least)
    from boucle.app.console import console, print_json, progress
    from boucle.kernel.paths import write_atomic
    from boucle.monitoring.records import SERIOUS
    from boucle.monitoring.tables import compare_files, with_together

    with progress(session.color) as shown:
        verdict = compare_files(
            reference,
            current,
            rate=rate,
            at_least=at_least,
            weights=None if weights is None else _weights(weights),
            jobs=session.threads(),
            progress=shown,
        )
        if all_together:
            verdict = with_together(verdict, reference, current)
    if html is not None:
        from boucle.app.drift_page import page

        write_atomic(html.absolute(), page(verdict, reference.name, current.name).encode(), mode=0o644)
    if as_json:
        print_json(verdict)
    else:
        screen = console(session.color)
        show(screen, verdict, everything=everything)
        if html is not None:
            screen.print(f"page: {html}")
    failing = {one.verdict for one in verdict.columns} - {"same", "few"} if fail_on is FailOn.ANY else SERIOUS
    moved = verdict.together is not None and verdict.together.drifted
    if fail_on is not FailOn.NEVER and (moved or any(one.verdict in failing for one in verdict.columns)):
        raise typer.Exit(3)


def show(screen: "Console", verdict: "TableVerdict", *, everything: bool) -> None:
    """One line a column, and what the verdicts rest on."""
    from boucle.app.console import table

    same = [one for one in verdict.columns if one.verdict == "same"]
    screen.print(
        f"{verdict.window_rows:,} rows beside {verdict.reference_rows:,} of the reference, "
        f"{len(verdict.columns)} columns: {told(verdict)}"
    )
    listed = [one for one in verdict.columns if everything or one.verdict != "same"][: None if everything else _SHOWN]
    if listed:
        head = ("column", "verdict", "moved", "p", "PSI", "KS", "JS", "Hellinger", "Wasserstein", "")
        screen.print(table("", head, [_row(one) for one in listed], right=head[2:-1]))
    if verdict.together is not None:
        screen.print(in_words(verdict.together))
    left = len(verdict.columns) - len(listed)
    if left:
        which = "" if left == len(same) else f", of which {len(same)} are the same"
        screen.print(f"{left} more{which or (' is' if left == 1 else ' are') + ' the same'}; --all lists them")
    screen.print(
        f"drift: at least {verdict.at_least:.0%} of the rows moved, beyond noise; slight: fewer, beyond noise; "
        f"noise passes for either in 1 of {1 / verdict.rate:,.0f} comparisons"
    )


def in_words(found: "Together") -> str:
    """Whether columns go together as they did.

    >>> from boucle.monitoring.records import Together
    >>> in_words(Together(auc=0.731, p_value=1e-9, drifted=True, rate=0.01, rows=1000, columns=["a", "b"]))
    'together: a, b no longer go together as they did; by that, rows are told apart with an AUC of 0.731 (p 1e-09)'
    """
    names = ", ".join(found.columns)
    if found.drifted:
        return (
            f"together: {names} no longer go together as they did; by that, rows are told apart with an AUC of "
            f"{found.auc:.3f} (p {figure(found.p_value)})"
        )
    return f"together: {names} go together as they did (AUC {found.auc:.3f}, p {figure(found.p_value)})"


def told(verdict: "TableVerdict") -> str:
    """How many columns each verdict has.

    >>> from boucle.monitoring.verdict import judged
    >>> told(judged([]))
    'nothing to compare'
    """
    names = {
        "empty": "without rows",
        "vanished": "vanished",
        "type": "of another type",
        "drift": "drifted",
        "slight": "slightly moved",
        "new": "new",
        "few": "with too few rows to tell",
        "same": "the same",
    }
    counts = {name: sum(one.verdict == key for one in verdict.columns) for key, name in names.items()}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing to compare"


def figure(value: float | None) -> str:
    """A distance in three figures.

    >>> figure(0.12345), figure(None), figure(1234567.0), figure(3e-9)
    ('0.123', '-', '1.23e+06', '3e-09')
    """
    return "-" if value is None else f"{value:.3g}"


def _row(one: "ColumnVerdict") -> tuple[str, ...]:
    far = one.distances
    return (
        one.column,
        one.verdict,
        "-" if far.moved is None else f"{far.moved:.1%}",
        figure(one.adjusted),
        *(figure(value) for value in (far.psi, far.ks, far.js, far.hellinger, far.wasserstein)),
        far.note or "",
    )


def _refuse_odd(reference: Path, current: Path, html: Path | None, rate: float, at_least: float) -> None:
    if not 0 < rate < 1:
        raise InvalidInput(f"--rate is {rate:g}; a share above 0 and below 1 is allowed", hint="boucle drift --help")
    if not 0 <= at_least <= 1:
        raise InvalidInput(f"--at-least is {at_least:g}; a share of 0 to 1 is allowed", hint="boucle drift --help")
    if html is not None and html.absolute() in (reference.absolute(), current.absolute()):
        raise InvalidInput(f"{html} is a table itself; it would be overwritten", hint="name another file")
    if html is not None and not html.absolute().parent.is_dir():
        raise InvalidInput(f"there is no folder {html.parent}", hint=f"mkdir -p {html.parent}")


def _weights(path: Path) -> dict[str, float]:
    import msgspec

    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except (msgspec.MsgspecError, OSError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidInput(
            f"{path} holds no weights: {said}", hint='write it as JSON: {"column": 0.3, "another": 0.1}'
        ) from error
