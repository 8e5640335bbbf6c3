"""Whether a table can be trained on at all: the checks that always run, whatever boucle.yaml says."""

from collections.abc import Iterator

import polars as pl

from boucle.data.leakage import copies
from boucle.data.names import nearest
from boucle.data.records import DataSection, Finding, Task
from boucle.data.samples import sample
from boucle.data.schema import counted, kind_of


def check_usable(table: pl.DataFrame, section: DataSection, *, folds: int, task: Task | None = None) -> list[Finding]:
    """All that keeps the table from being trained on, each a failing finding that blocks; one that passed if there is
    nothing.

    Missing columns (with the nearest name), the target or what is only known later among the features, also as a copy
    under another name, features of another type, all null or constant, a target without a value or with a single class,
    keys that are missing or double, fewer rows than `folds` need. `task`: what is asked for, if anything is.
    """
    problems = [*_columns(table, section)]
    if table.height == 0:
        problems.append(_problem("rows", [], 0, 0, "the table has no rows; at least one is needed"))
    else:
        problems += [*_features(table, section), *_target(table, section, folds, task), *_key(table, section)]
    if problems:
        return problems
    used = len(section.features.numeric) + len(section.features.categorical)
    return [
        Finding(
            check="schema",
            name="schema",
            columns=[],
            passed=True,
            failing=0,
            rows=table.height,
            message=f"{table.height:,} rows with the target `{section.target}` and {used} features",
            on_fail="block",
        )
    ]


def _problem(
    name: str, columns: list[str], failing: int, rows: int, message: str, shown: pl.DataFrame | None = None
) -> Finding:
    return Finding(
        check="schema",
        name=name,
        columns=columns,
        passed=False,
        failing=failing,
        rows=rows,
        message=message,
        on_fail="block",
        samples=[] if shown is None else sample(shown),
    )


def _columns(table: pl.DataFrame, section: DataSection) -> Iterator[Finding]:
    features = [*section.features.numeric, *section.features.categorical]
    roles = {
        **dict.fromkeys(features, "feature"),
        **{name: "time" for name in [section.time] if name},
        **{name: "key" for name in [section.key] if name},
        section.target: "target",
    }
    unused = [name for name in table.columns if name not in roles]
    for name, role in roles.items():
        if name not in table.columns:
            meant = nearest(name, unused)
            advice = (
                f"there is `{meant}`: rename one of the two" if meant else f"the table has {_listed(table.columns)}"
            )
            yield _problem(
                f"column({name})", [name], table.height, table.height, f"{role} `{name}` is missing; {advice}"
            )
    if section.target in features:
        message = f"`{section.target}` is the target and also a feature; take it out of `data.features`"
        yield _problem(f"target({section.target})", [section.target], table.height, table.height, message)
    for name in features:
        if name in section.known_later:
            message = f"feature `{name}` is in `data.known_later`; take it out of `data.features`"
            yield _problem(f"known_later({name})", [name], table.height, table.height, message)
    others = [name for name in features if name not in (*section.known_later, section.target)]
    for name, original in copies(table, others, [*section.known_later, section.target], section.target):
        message = (
            f"feature `{name}` is `{original}` in other words, which is not known yet; take it out of `data.features`"
        )
        yield _problem(f"known_later({name})", [name, original], table.height, table.height, message)


def _features(table: pl.DataFrame, section: DataSection) -> Iterator[Finding]:
    for name in dict.fromkeys([*section.features.numeric, *section.features.categorical]):
        if name not in table.columns or name == section.target:
            continue
        column = table[name]
        kind = kind_of(column)
        allowed = (
            ("integer", "float", "boolean") if name in section.features.numeric else ("integer", "boolean", "text")
        )
        present = column.drop_nulls()
        if not len(present):
            message = f"`{name}` has no value in any of {len(column):,} rows; fill it or take it out of `data.features`"
            yield _problem(f"all_null({name})", [name], len(column), len(column), message)
        elif kind not in allowed and not (kind == "float" and name in section.features.categorical):
            section_name = "numeric" if name in section.features.numeric else "categorical"
            message = f"`{name}` holds {kind}; a {section_name} feature may hold {', '.join(allowed)}"
            yield _problem(f"type({name})", [name], len(present), len(column), message)
        elif len(present) == len(column) and present.n_unique() == 1 and len(column) > 1:
            message = f"`{name}` is {present[0]!r} in all {len(column):,} rows; take it out of `data.features`"
            yield _problem(f"constant({name})", [name], len(column), len(column), message)


def _target(table: pl.DataFrame, section: DataSection, folds: int, task: Task | None) -> Iterator[Finding]:
    rows = table.height
    if rows <= folds:
        message = f"the table has {rows} rows; {folds} folds need at least {folds + 1}"
        yield _problem("rows", [], rows, rows, message)
    if section.target not in table.columns:
        return
    column = table[section.target]
    if kind_of(column) == "timestamp":
        message = f"target `{column.name}` holds timestamps; numbers, booleans and text are allowed"
        yield _problem(f"type({column.name})", [column.name], rows, rows, message)
        return
    if column.dtype.is_float():
        column = column.fill_nan(None)
    missing = column.null_count()
    if missing:
        message = f"target `{column.name}` has no value in {missing:,} of {rows:,} rows; drop these rows in the source"
        yield _problem(f"missing({column.name})", [column.name], missing, rows, message)
    counts = counted(column).sort("n", maintain_order=True)
    if counts.height == 1:
        message = f"target `{column.name}` is {counts['value'][0]!r} in every row; at least two classes are needed"
        yield _problem(f"single_class({column.name})", [column.name], rows, rows, message)
    elif counts.height == 2 and task != "regression" and counts["n"][0] < folds:
        rare = counts["value"][0]
        message = (
            f"target `{column.name}` is {rare!r} in {counts['n'][0]} rows only; {folds} folds need at least {folds}"
        )
        yield _problem(f"rare_class({column.name})", [column.name], int(counts["n"][0]), rows, message)


def _key(table: pl.DataFrame, section: DataSection) -> Iterator[Finding]:
    if section.key is None or section.key not in table.columns:
        return
    column = table[section.key]
    if column.null_count():
        message = f"key `{column.name}` has no value in {column.null_count():,} rows; every row needs one"
        yield _problem(f"missing({column.name})", [column.name], column.null_count(), table.height, message)
    double = (column.is_duplicated() & column.is_not_null()).fill_null(False)
    if double.any():
        first = column.filter(double)[0]
        count = int(double.sum())
        message = f"key `{column.name}` is not unique: {count:,} of {table.height:,} rows share one, e.g. {first!r}"
        shown = column.to_frame().filter(double)
        yield _problem(f"duplicates({column.name})", [column.name], count, table.height, message, shown)


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
