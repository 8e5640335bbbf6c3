"""`boucle profile`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.session import AsJson, session_of
from boucle.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import Console

    from boucle.data.profile_facts import ColumnFacts, TableFacts

_BLOCKS = "▁▂▃▄▅▆▇█"
_STRONG, _MOST_PAIRS = 0.3, 10


def profile(
    context: typer.Context,
    table: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV, Parquet, Arrow or JSON lines; or a kept profile.")
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="PROFILE", help="Keep the profile in this file.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="PAGE", help="Write a page with charts.")] = None,
    rows: Annotated[
        int, typer.Option("--rows", min=0, help="Keep so many rows in the profile, for `boucle drift --together`.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Summarise a table of any size: missing, distinct and frequent values, moments, quantiles, correlations.

    Needs no project. Files may be larger than memory. A kept profile is a summary of a few kilobytes a column, which
    can be shown again.

    \b
    Example:
      boucle profile orders.csv
      boucle profile orders.parquet -o orders.profile --html orders.html
      boucle profile orders.profile --json | jq '.columns[] | [.column, .missing]'
    """
    session = session_of(context)
    for path in (out, html):
        if path is not None and path.absolute() == table.absolute():
            raise InvalidInput(f"{path} is the table itself; it would be overwritten", hint="name another file")
        if path is not None and not path.absolute().parent.is_dir():
            raise InvalidInput(f"there is no folder {path.parent}", hint=f"mkdir -p {path.parent}")
    from boucle.data.profile_file import SUFFIX, load, profile_file, sample_file, to_bytes

    if out is not None and out.suffix != SUFFIX:
        raise InvalidInput(
            f"{out} does not end in {SUFFIX}, by which commands know a kept profile",
            hint=f"boucle profile {table} -o {out.with_suffix(SUFFIX)}",
        )
    from boucle.app.console import console, print_json, progress
    from boucle.data.profile_facts import facts
    from boucle.kernel.paths import write_atomic

    if table.suffix == SUFFIX:
        made = load(table)
    else:
        with progress(session.color) as shown:
            made = profile_file(table, jobs=session.threads(), progress=shown)
    told = facts(made)
    if out is not None:
        from msgspec.structs import replace

        from boucle.monitoring.tables import reference_noise

        made = replace(made, noise=made.noise or reference_noise(made))
        if rows and table.suffix != SUFFIX:
            made = replace(made, sample=sample_file(table, rows))
        write_atomic(out.absolute(), to_bytes(made), mode=0o644)
    if html is not None:
        from boucle.app.profile_page import page

        write_atomic(html.absolute(), page(told).encode(), mode=0o644)
    if as_json:
        print_json(told)
        return
    screen = console(session.color)
    show(screen, told)
    for name, path in (("profile", out), ("page", html)):
        if path is not None:
            screen.print(f"{name}: {path}")


def show(screen: "Console", told: "TableFacts") -> None:
    """Numbers and times as one table, texts and booleans as another, then the strongest correlations."""
    from boucle.app.console import table

    screen.print(f"{told.source}: {told.rows:,} rows, {len(told.columns)} columns")
    numbers = [one for one in told.columns if one.type == "number"]
    if numbers:
        head = ("column", "missing", "distinct", "mean", "deviation", "least", "median", "most", "distribution")
        rows = [(*_general(one), figure(one.mean), figure(one.deviation), *_range(one)) for one in numbers]
        screen.print(table("numbers", head, rows, right=head[1:-1]))
    times = [one for one in told.columns if one.type == "time"]
    if times:
        spans = ("column", "missing", "distinct", "first", "median", "last", "distribution")
        screen.print(table("times", spans, [(*_general(one), *_range(one)) for one in times], right=spans[1:-1]))
    texts = [one for one in told.columns if one.type in ("text", "boolean")]
    if texts:
        named = ("column", "missing", "distinct", "most frequent")
        shown = [(*_general(one), _frequent(one)) for one in texts]
        screen.print(table("texts and booleans", named, shown, right=named[1:3]))
    strong = [one for one in told.correlations if one.value is not None and abs(one.value) >= _STRONG]
    if strong:
        pairs = [(one.first, one.second, f"{one.value:+.3f}") for one in strong[:_MOST_PAIRS]]
        screen.print(table("strongest correlations", ("column", "with", "r"), pairs, right=("r",)))
    if told.left_out:
        screen.print(
            f"left out, as no profile is made of lists, structs, bytes or durations: {', '.join(told.left_out)}"
        )
    if any(one.distinct is not None and not one.distinct_is_exact for one in told.columns):
        screen.print("~ estimated, standard error 2.3 %")


def sketched(shares: list[float]) -> str:
    """A histogram as a line of blocks, two parts a block.

    >>> sketched([0.1, 0.0, 0.2, 0.3, 0.0, 0.0])
    '▂█ '
    """
    pairs = [sum(shares[at : at + 2]) for at in range(0, len(shares), 2)]
    most = max(pairs, default=0.0)
    return "".join(" " if not share else _BLOCKS[min(7, int(share / most * 8))] for share in pairs)


def _general(one: "ColumnFacts") -> tuple[str, str, str]:
    return one.column, missing_told(one), distinct_told(one)


def _range(one: "ColumnFacts") -> tuple[str, str, str, str]:
    ends = (one.minimum, one.quantiles.get("0.5"), one.maximum)
    least, median, most = map(figure, ends)
    return least, median, most, sketched([bar.share for bar in one.bars])


def missing_told(one: "ColumnFacts") -> str:
    if not one.missing:
        return "-"
    share = one.missing / one.rows
    return f"{share:.1%}" if share >= 0.001 else f"{one.missing:,}"


def distinct_told(one: "ColumnFacts") -> str:
    return "-" if one.distinct is None else f"{'' if one.distinct_is_exact else '~'}{one.distinct:,}"


def figure(value: float | str | bool | None) -> str:
    """A number in five figures; a moment to the minute.

    >>> figure(1234567.0), figure(0.000123456), figure(3.14159265), figure("2013-01-01T05:00:00.250000Z")
    ('1,234,567', '0.00012346', '3.1416', '2013-01-01 05:00')
    """
    if value is None:
        return "-"
    if isinstance(value, str):
        return value[:16].replace("T", " ")
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if 10_000 <= abs(value) < 1e15 else f"{value:.5g}"


def span(seconds: float | None) -> str:
    """A number of seconds in the largest unit that it fills."""
    if seconds is None:
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"


def _frequent(one: "ColumnFacts") -> str:
    """The heaviest values with their shares of the values that there are."""
    present = one.rows - one.missing
    shown = [
        f"{top.value[:24] or '(empty)'} {top.rows / present:.0%}" for top in one.top[:4] if top.rows >= present / 200
    ]
    if not shown:
        return "none above 0.5 %" if present else "-"
    return ", ".join(shown)
