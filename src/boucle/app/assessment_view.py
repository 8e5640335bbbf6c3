"""What a person sees of `boucle init`: the columns, the looks at them, what was written."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.text import Text

from boucle.app.console import console, progress, table
from boucle.data.proposal import ColumnFacts, Proposal
from boucle.kernel.progress import Task
from boucle.project.proposal.assessment import Assessment

_MOST_SHOWN = 80
"""Columns that are shown; more are counted."""


class Shown:
    """What a person sees while the table is looked at, and at the end. Also a `Progress`."""

    def __init__(self, color: str | None, *, quiet: bool, asks: bool) -> None:
        self.color = color
        self.quiet = quiet
        self.asks = asks
        """Somebody answers, who has to see the table first."""

    @contextmanager
    def task(self, description: str, total: int | None, *, even: bool = False) -> Iterator[Task]:
        """Each look has a bar of its own: questions and a bar that moves would write over each other."""
        with progress(self.color) as shown, shown.task(description, total, even=even) as task:
            yield task

    def say(self, message: str) -> None:
        """Nothing is told in between."""

    def columns(self, proposals: Sequence[Proposal], rows: int, *, first: bool) -> None:
        """The roles of all columns, as a table; before the first question only what they hold."""
        if self.quiet or (first and not self.asks):
            return
        styles = {"unused": "dim", "known_later": "bold red", "target": "bold"}
        cells = [
            (
                Text(one.column.name, style=styles.get(one.role, "")),
                one.column.kind,
                f"{one.column.nulls / one.column.rows:.0%}" if one.column.nulls else "",
                _holds(one.column),
                Text(one.role.replace("_", " "), style=styles.get(one.role, "")),
                Text(one.why, style="bold yellow" if one.loud else ""),
            )
            for one in proposals
        ]
        heads = ("column", "kind", "missing", "holds", "role", "why")[: 4 if first else 6]
        listed = [row[: len(heads)] for row in cells[:_MOST_SHOWN]]
        screen = console(self.color)
        screen.print(table(f"{rows:,} rows, {len(cells)} columns", heads, listed, right=("missing",)))
        if len(cells) > _MOST_SHOWN:
            screen.print(f" and {len(cells) - _MOST_SHOWN} columns more")

    def ending(self, found: Assessment, written: Sequence[str], folder: Path) -> None:
        """What to look at, what was written, what comes next."""
        screen = console(self.color)
        needs, measured = found.needs, found.look.metrics[found.needs.metric]
        if found.dropped:
            screen.print(f"{found.dropped:,} rows have no `{needs.target}`; a Python source leaves them out")
        least = "at least" if measured.larger_is_better else "at most"
        asked = f"the gate asks for {least} {needs.quality:g}" if needs.quality is not None else "no gate asks for it"
        screen.print(
            f"{needs.metric}: {measured.model:.4g} by a small model, {measured.trivial:.4g} without looking at a"
            f" feature; {asked}"
        )
        for warning in found.warnings:
            screen.print(Text.assemble(("look: ", "bold yellow"), warning))
        screen.print("wrote " + ", ".join(written))
        at = "" if folder == Path.cwd() else f" --project {folder}"
        screen.print(f"next: boucle run{at}")


def _holds(column: ColumnFacts) -> str:
    """What stands in a column, in a few words."""
    if column.first is not None and column.last is not None:
        return f"{column.first:%Y-%m-%d} to {column.last:%Y-%m-%d}"
    if column.lowest is not None and not (column.kind == "integer" and column.distinct <= 2):
        return f"{column.lowest:g} to {column.highest:g}"
    values = ", ".join(column.values[:4])
    told = values if len(values) <= 40 else values[:39] + "…"
    return told + (f" +{column.distinct - 4}" if column.distinct > 4 and told == values else "")
