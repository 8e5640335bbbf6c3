"""`boucle init`"""

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boucle.app.session import AsJson, session_of
from boucle.kernel.errors import BoucleError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polars import DataFrame

    from boucle.app.assessment_view import Shown
    from boucle.app.new_project import Place
    from boucle.data.written_times import WrittenTime
    from boucle.project.problems import Problem
    from boucle.project.proposal.assessment import Assessment
    from boucle.project.proposal.interview import Ask
    from boucle.project.shape import Plain


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
    from boucle.app.assessment_view import Shown
    from boucle.app.console import print_json
    from boucle.app.new_project import find_table, name_of, place_of, refuse_existing, write
    from boucle.data.written_times import read_times
    from boucle.project.proposal.assessment import assess

    refuse_existing(folder, force=force)
    command = _command(session.project, table, name, force=force)
    ask, said = _ask(answers, target, command, yes=yes)
    if table is None and said.get("source"):
        table = str(folder / str(said["source"]))
    place = place_of(find_table(table, folder), folder)
    project = _allowed(name or str(said.get("project") or name_of(place)))
    shown = Shown(session.color, quiet=as_json, asks=interactive)
    try:
        read = _read(place, shown)
    except BoucleError as error:  # there is no boucle.yaml yet that `boucle check` could look at
        error.hint = error.hint and error.hint.replace("boucle check", command)
        raise
    written_times = {} if ".py:" in place.source else _times(read)
    read = read_times(read, written_times)
    found = assess(
        read, project=project, source=place.source, csv=place.csv, ask=ask, show=shown.columns, progress=shown
    )
    found, files = _files(place, found, written_times)
    written = write(place, files)
    if as_json:
        facts = {"project": project, "folder": str(folder), "files": written, "needs": found.needs}
        facts |= {"columns": found.proposals, "quality": found.look.metrics, "warnings": found.warnings}
        print_json(facts)
    else:
        shown.ending(found, written, folder)


def _command(project: str | None, table: str | None, name: str | None, *, force: bool) -> str:
    """The command that was given, for a shell: without who answers."""
    words = ["boucle", *(["--project", project] if project else []), "init", *([table] if table else [])]
    return shlex.join([*words, *(["--name", name] if name else []), *(["--force"] if force else [])])


def _ask(answers: Path | None, target: str | None, command: str, *, yes: bool) -> "tuple[Ask, Mapping[str, Plain]]":
    """Who answers, and what was said before anything is asked."""
    from boucle.app.asking import Person
    from boucle.project.proposal.interview import Replayed, read_answers

    again = command + (" --yes" if answers is None else f" --answers {shlex.quote(str(answers))}")
    given: dict[str, Plain] = {} if target is None else {"target": target}
    replayed = read_answers(answers, again) if answers is not None else None
    said = replayed.answers if replayed else {}
    options = Replayed(given, _refuse_option, again)
    rest: Ask = replayed or (options if yes else Person())
    return (lambda asked: options(asked) if asked.key in given else rest(asked)), said


def _refuse_option(problems: "list[Problem]") -> InvalidInput:
    return InvalidInput(f"--target: {problems[0].message}", hint="boucle init --yes --target COLUMN")


def _allowed(name: str) -> str:
    from boucle.project.limits import NAME

    if NAME.pattern and not re.fullmatch(NAME.pattern, name):
        raise InvalidInput(
            f"the name {name!r} is not allowed: write {NAME.allowed}", hint="boucle init --name my-model"
        )
    return name


def _read(place: "Place", shown: "Shown") -> "DataFrame":
    """The table where it lies, without a boucle.yaml."""
    from boucle.data.api import read_csv, read_source
    from boucle.data.records import CsvFormat

    with shown.task(f"reading {place.table.name}", None):
        if place.source.endswith(".csv"):
            return read_csv(place.table, place.csv or CsvFormat())
        if place.copied:
            return read_source(place.table.name, place.table.parent)
        return read_source(place.source, place.folder)


def _times(table: "DataFrame") -> "dict[str, WrittenTime]":
    """The columns with times that a Python source has to read, because they are not written in ISO 8601."""
    from boucle.data.written_times import written_time

    found = {column.name: written_time(column) for column in table.get_columns()}
    return {name: time for name, time in found.items() if time is not None and time.certain}


def _files(
    place: "Place", found: "Assessment", times: "Mapping[str, WrittenTime]"
) -> "tuple[Assessment, dict[str, str]]":
    """The texts to write; with a Python source if rows without a target are left out or the time needs to be read."""
    from msgspec.structs import replace

    from boucle.app.new_project import free_name, loader
    from boucle.project.folder import NAME
    from boucle.project.needs import NAME as NEEDS
    from boucle.project.proposal.render import render_needs, render_project

    files = {NEEDS: render_needs(found.needs)}
    time = times.get(found.needs.time or "")
    told = [
        f"`{name}` is a time written as {one.form}, and Boucle reads ISO 8601: "
        + ("the Python source that is written here converts it" if one is time else one.expression + " would read it")
        for name, one in times.items()
    ]
    found = replace(found, warnings=[*found.warnings, *told])
    if found.dropped or time:
        target = found.needs.target
        if ".py:" in place.source:
            raise InvalidInput(
                f"{found.dropped:,} rows of {place.source} have no `{target}`",
                hint=f"drop them there, table.filter(pl.col({target!r}).is_not_null()), then: boucle init",
            )
        text = loader(place, target=target if found.dropped else None, time=time)
        file = free_name(place.folder, text)
        data = replace(found.project.data, source=f"{file}:load", csv=None)
        found = replace(found, project=replace(found.project, data=data))
        files[file] = text
    return found, files | {NAME: render_project(found)}
