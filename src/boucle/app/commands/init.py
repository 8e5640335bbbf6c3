"""`boucle init`"""

import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.session import AsJson, Session, session_of
from boucle.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from polars import DataFrame

    from boucle.app.new_project import Place
    from boucle.data.proposal import ColumnFacts, Proposal
    from boucle.kernel.progress import Task
    from boucle.project.assessment import Assessment
    from boucle.project.interview import Ask
    from boucle.project.problems import Problem
    from boucle.project.shape import Plain

_MOST_SHOWN = 80
"""Columns that are shown; more are counted."""


def init(
    context: typer.Context,
    table: Annotated[
        str | None, typer.Argument(metavar="[TABLE]", help="A .csv or .parquet file, or file.py:function.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Take every proposal, ask nothing.")] = False,
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column to predict.")] = None,
    answers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Answer from a file such as needs.yaml; ask nothing.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the project.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace boucle.yaml; the old one stays as .bak.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a boucle.yaml for a table.

    Looks at the table, asks what is needed of a model, proposes an answer to every question, and writes boucle.yaml
    and needs.yaml into the project's folder.

    \b
    Example:
      boucle init table.csv
      boucle init table.csv --yes --target price
      boucle init table.csv --answers needs.yaml --force
    """
    session = session_of(context)
    folder = Path(session.project or ".").absolute()
    interactive = not yes and answers is None
    if interactive and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidInput(
            "there is nobody to ask: this is not a terminal",
            hint="take the proposals with --yes, or answer from a file with --answers FILE",
        )
    from boucle.app.console import print_json
    from boucle.app.new_project import find_table, name_of, place_of, refuse_existing, write
    from boucle.project.assessment import assess

    refuse_existing(folder, force=force)
    ask, said = _ask(answers, target, yes=yes)
    if table is None and said.get("source"):
        table = str(folder / str(said["source"]))
    place = place_of(find_table(table, folder), folder)
    project = _allowed(name or str(said.get("project") or name_of(place)))
    shown = _Shown(session, quiet=as_json, asks=interactive)
    read = _read(place, shown)
    found = assess(
        read, project=project, source=place.source, csv=place.csv, ask=ask, show=shown.columns, progress=shown
    )
    found, files = _files(place, found)
    written = write(place, files)
    if as_json:
        facts = {"project": project, "folder": str(folder), "files": written, "needs": found.needs}
        facts |= {"columns": found.proposals, "quality": found.look.metrics, "warnings": found.warnings}
        print_json(facts)
    else:
        shown.ending(found, written, folder)


def _ask(answers: Path | None, target: str | None, *, yes: bool) -> "tuple[Ask, Mapping[str, Plain]]":
    """Who answers, and what was said before anything is asked."""
    from boucle.app.asking import Person
    from boucle.project.interview import Replayed, read_answers

    given: dict[str, Plain] = {} if target is None else {"target": target}
    replayed = read_answers(answers) if answers is not None else None
    said = replayed.answers if replayed else {}
    options = Replayed(given, _refuse_option)
    rest: Ask = replayed or (options if yes else Person())
    return (lambda asked: options(asked) if asked.question.key in given else rest(asked)), said


def _refuse_option(problems: "list[Problem]") -> InvalidInput:
    return InvalidInput(f"--target: {problems[0].message}", hint="boucle init --yes --target COLUMN")


def _allowed(name: str) -> str:
    from boucle.project.limits import NAME

    if NAME.pattern and not re.fullmatch(NAME.pattern, name):
        raise InvalidInput(
            f"the name {name!r} is not allowed: write {NAME.allowed}", hint="boucle init --name my-model"
        )
    return name


def _read(place: "Place", shown: "_Shown") -> "DataFrame":
    """The table where it lies, without a boucle.yaml."""
    from boucle.data.api import read_csv, read_source
    from boucle.data.records import CsvFormat

    with shown.task(f"reading {place.table.name}", None):
        if place.source.endswith(".csv"):
            return read_csv(place.table, place.csv or CsvFormat())
        if place.copied:
            return read_source(place.table.name, place.table.parent)
        return read_source(place.source, place.folder)


def _files(place: "Place", found: "Assessment") -> "tuple[Assessment, dict[str, str]]":
    """The texts to write; with a Python source that leaves out rows without a target, if there are any."""
    from msgspec.structs import replace

    from boucle.app.new_project import free_name, loader
    from boucle.project.needs import NAME as NEEDS
    from boucle.project.render import render_needs, render_project
    from boucle.project.yaml_file import NAME

    files = {NEEDS: render_needs(found.needs)}
    if found.dropped:
        target = found.needs.target
        if ".py:" in place.source:
            raise InvalidInput(
                f"{found.dropped:,} rows of {place.source} have no `{target}`",
                hint=f"drop them there, table.filter(pl.col({target!r}).is_not_null()), then: boucle init",
            )
        text = loader(place, target)
        file = free_name(place.folder, text)
        data = replace(found.project.data, source=f"{file}:load", csv=None)
        found = replace(found, project=replace(found.project, data=data))
        files[file] = text
    return found, files | {NAME: render_project(found)}


class _Shown:
    """What a person sees while the table is looked at, and at the end. Also a `Progress`."""

    def __init__(self, session: Session, *, quiet: bool, asks: bool) -> None:
        self.session = session
        self.quiet = quiet
        self.asks = asks
        """Somebody answers, who has to see the table first."""

    @contextmanager
    def task(self, description: str, total: int | None) -> "Iterator[Task]":
        """Each look has a bar of its own: questions and a bar that moves would write over each other."""
        from boucle.app.console import progress

        with progress(self.session.color) as shown, shown.task(description, total) as task:
            yield task

    def say(self, message: str) -> None:
        """Nothing is told in between."""

    def columns(self, proposals: "Sequence[Proposal]", rows: int, *, first: bool) -> None:
        """The roles of all columns, as a table; before the first question only what they hold."""
        from rich.text import Text

        from boucle.app.console import console, table

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
        screen = console(self.session.color)
        screen.print(table(f"{rows:,} rows, {len(cells)} columns", heads, listed, right=("missing",)))
        if len(cells) > _MOST_SHOWN:
            screen.print(f" and {len(cells) - _MOST_SHOWN} columns more")

    def ending(self, found: "Assessment", written: "Sequence[str]", folder: Path) -> None:
        """What to look at, what was written, what comes next."""
        from rich.text import Text

        from boucle.app.console import console

        screen = console(self.session.color)
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


def _holds(column: "ColumnFacts") -> str:
    """What stands in a column, in a few words."""
    if column.first is not None and column.last is not None:
        return f"{column.first:%Y-%m-%d} to {column.last:%Y-%m-%d}"
    if column.lowest is not None and not (column.kind == "integer" and column.distinct <= 2):
        return f"{column.lowest:g} to {column.highest:g}"
    values = ", ".join(column.values[:4])
    told = values if len(values) <= 40 else values[:39] + "…"
    return told + (f" +{column.distinct - 4}" if column.distinct > 4 and told == values else "")
