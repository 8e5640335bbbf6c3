"""Mends a boucle.yaml: the mistakes of which it is certain what was meant, and features that cannot be features."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import polars as pl
from msgspec import Struct

from boucle.data.api import kind_of, normalise, read_source, sniff_csv, written
from boucle.data.names import nearest
from boucle.data.records import (
    CsvFormat,
    DataSection,
    Finding,
    NullRateCheck,
    RangeCheck,
    SetCheck,
    UniqueCheck,
)
from boucle.kernel.errors import InvalidInput
from boucle.kernel.paths import inside
from boucle.project.edits import apply, is_aliased
from boucle.project.folder import NAME
from boucle.project.pipelines import measured
from boucle.project.problems import Add, Edit, Give, Problem, ProblemsFound, Remove, Rename, Set, dotted, quoted
from boucle.project.problems import Path as Place
from boucle.project.records import Project
from boucle.project.steps.prepare import before, inspect
from boucle.project.yaml_file import parse_project

MOST_ROUNDS: Final = 20
"""Mending one thing can show the next; a file that is not right by then is left to its author."""


class Mended(Struct, frozen=True, kw_only=True):
    """What was changed and why."""

    text: str
    """The file's text with everything mended."""
    reasons: list[str]
    """One sentence for each edit, in the order they were made."""


def mend_text(text: str) -> Mended:
    """Mend what the file itself shows: misspelt words, values of the wrong kind, features that have another role.

    A file with aliases is left to its author, here and in `mend_features`.
    """
    reasons: list[str] = []
    for _ in range(MOST_ROUNDS):
        try:
            parse_project(text, NAME)
        except ProblemsFound as error:
            certain = [problem for problem in error.found if problem.fix is not None]
            if not certain or is_aliased(text):
                break
            text = apply(text, [problem.fix for problem in certain if problem.fix is not None])
            reasons += [_reason(problem) for problem in certain]
        else:
            break
    return Mended(text=text, reasons=reasons)


def mend_features(text: str, folder: Path) -> Mended:
    """Mend what the data show: a CSV file of another form, a column that is spelt otherwise, a feature that is
    constant, empty, of the other kind, or that knows the answer. `text` must be a valid project.
    """
    if is_aliased(text):
        return Mended(text=text, reasons=[])
    text, reasons = _read_as_written(text, folder)
    project = parse_project(text, NAME)
    table = read_source(project.data.source, folder, project.data.csv)
    for _ in range(MOST_ROUNDS):
        found = list(_words_among_numbers(table, project.data)) or list(
            fixes(_findings(table, project, folder), project.data, table.columns)
        )
        if not found:
            break
        text = apply(text, [edit for _, edits in found for edit in edits])
        reasons += [reason for reason, _ in found]
        project = parse_project(text, NAME)
    return Mended(text=text, reasons=reasons)


def fixes(
    findings: Sequence[Finding], section: DataSection, columns: Sequence[str]
) -> Iterator[tuple[str, list[Edit]]]:
    """For each finding that can be mended: why, and the edits. At least one feature is always left."""
    left = {*section.features.numeric, *section.features.categorical}
    misspelt = {one.columns[0]: one for one in findings if _is_of_no_column(one, columns)}
    for column, finding in misspelt.items():
        meant = nearest(column, columns)
        if meant:
            yield f"{finding.name}: {finding.message}", [Set(path, meant) for path in _check_places(section, column)]
    for finding in findings:
        if finding.passed or finding.on_fail != "block" or not finding.columns:
            continue
        kind, column = finding.name.partition("(")[0], finding.columns[0]
        edits: list[Edit] = []
        if kind == "column":
            meant = nearest(column, [name for name in columns if name not in _named(section)])
            edits = [Set(path, meant) for path in _places(section, column)] if meant else []
        elif kind in ("all_null", "constant", "known_later", "leakage", "target"):
            out = [column] if kind != "leakage" else finding.columns
            edits = [Remove(path) for name in out for path in _feature_places(section, name)]
            if kind == "leakage" or (kind == "known_later" and column not in section.known_later):
                edits += [Add(("data", "known_later"), name) for name in out]
            if not left - set(out):
                continue
            left -= set(out)
        if edits:
            yield f"{finding.name}: {finding.message}", edits


def _reason(problem: Problem) -> str:
    where = dotted(problem.path)
    match problem.fix:
        case Rename(to=to):
            return f"{where}: the key is `{to}`"
        case Set(value=value):
            return f"{where}: now {quoted(value)}; {problem.message}"
        case _:
            return f"{where}: {problem.message}"


def _read_as_written(text: str, folder: Path) -> tuple[str, list[str]]:
    """The text with `data.csv`, if the source is a CSV file of another form and cannot be used as it is read now."""
    section = parse_project(text, NAME).data
    if section.csv is not None or not section.source.lower().endswith(".csv"):
        return text, []
    found = sniff_csv(inside(folder, section.source))
    try:
        table = read_source(section.source, folder)
        usable = _named(section) <= set(table.columns) and not any(_words_among_numbers(table, section))
    except InvalidInput:
        usable = False
    if usable or found == CsvFormat():
        return text, []
    return apply(text, [Give(("data", "csv"), written(found))]), [f"data.csv: {section.source} is {written(found)}"]


def _named(section: DataSection) -> set[str]:
    roles = {section.target, section.key, section.time, *section.known_later}
    return {name for name in roles if name} | {*section.features.numeric, *section.features.categorical}


def _places(section: DataSection, column: str) -> list[Place]:
    roles = {"target": section.target, "key": section.key, "time": section.time}
    return [("data", role) for role, name in roles.items() if name == column] + _feature_places(section, column)


def _feature_places(section: DataSection, column: str) -> list[Place]:
    lists = {"numeric": section.features.numeric, "categorical": section.features.categorical}
    return [
        ("data", "features", kind, place)
        for kind, names in lists.items()
        for place, name in enumerate(names)
        if name == column
    ]


def _is_of_no_column(finding: Finding, columns: Sequence[str]) -> bool:
    """Whether a check of boucle.yaml failed because the table lacks its column; an expression is left to its author."""
    kind = finding.name.partition("(")[0]
    return (
        kind in ("range", "set", "null_rate", "unique")
        and not finding.passed
        and len(finding.columns) == 1
        and finding.columns[0] not in columns
    )


def _check_places(section: DataSection, column: str) -> Iterator[Place]:
    for number, check in enumerate(section.checks):
        match check:
            case RangeCheck() | SetCheck() | NullRateCheck():
                if check.column == column:
                    yield ("data", "checks", number, "column")
            case UniqueCheck():
                for place, name in enumerate(check.columns):
                    if name == column:
                        yield ("data", "checks", number, "columns", place)
            case _:
                pass


def _findings(table: pl.DataFrame, project: Project, folder: Path) -> list[Finding]:
    section, training = project.data, project.training
    rows = normalise(table, section)
    if section.time in rows.columns:
        rows = before(rows, section.time, training.until)
    return inspect(rows, section, training, metrics=measured(project), folder=folder)


def _words_among_numbers(table: pl.DataFrame, section: DataSection) -> Iterator[tuple[str, list[Edit]]]:
    """Numeric features that hold text which is no number; reading the table as the project says would stop there."""
    for place, name in enumerate(section.features.numeric):
        if name not in table.columns or kind_of(table[name]) != "text":
            continue
        present = table[name].cast(pl.String).drop_nulls()
        words = present.filter(present.cast(pl.Float64, strict=False).is_null())
        if len(words):
            reason = f"numeric({name}): `{name}` holds text, e.g. {words[0]!r}: it is a categorical feature"
            edits: list[Edit] = [
                Remove(("data", "features", "numeric", place)),
                Add(("data", "features", "categorical"), name),
            ]
            yield reason, edits
