"""Whether parsed YAML has the shape of a record: keys, types and the limits of single values.

msgspec stops at the first mistake and a person wants all of them, so this walks the type description that msgspec
converts by.
"""

import math
import re
from collections.abc import Iterator
from datetime import date

from msgspec import NODEFAULT, inspect

from boucle.project.limits import LIMITS, Limit
from boucle.project.problems import Path, Problem, Rename, Set, Value, did_you_mean, listed, nearest, quoted

Plain = str | int | float | bool | None | list["Plain"] | dict[str, "Plain"]
"""What YAML parses to."""


def problems_of(value: Plain, kind: inspect.Type, path: Path = (), limit: Limit | None = None) -> Iterator[Problem]:
    """Everything that keeps `value` from being a `kind`, in the order of the file."""
    if isinstance(kind, inspect.UnionType):
        yield from _union(value, kind, path, limit)
    elif not _fits(value, kind):
        yield _unfit(value, kind, path)
    elif isinstance(kind, inspect.StructType) and isinstance(value, dict):
        yield from _struct(value, kind, path)
    elif isinstance(kind, inspect.ListType) and isinstance(value, list):
        yield from _within(value, limit, path)
        for position, item in enumerate(value):
            yield from problems_of(item, kind.item_type, (*path, position))
    elif isinstance(kind, inspect.DictType) and isinstance(value, dict):
        yield from _within(value, limit, path)
        for key, item in value.items():
            yield from problems_of(item, kind.value_type, (*path, key))
    else:
        yield from _within(value, limit, path)


def words_for(kind: inspect.Type) -> str:
    """What is allowed, in words.

    >>> words_for(inspect.type_info(int | None))
    'a whole number'
    """
    match kind:
        case inspect.UnionType(types=types):
            return " or ".join(words_for(one) for one in types if not isinstance(one, inspect.NoneType))
        case inspect.LiteralType(values=values):
            return "one of " + listed(str(value) for value in values)
        case inspect.StructType(fields=fields):
            return "a mapping with the keys " + listed(field.encode_name for field in fields)
        case inspect.ListType(item_type=item):
            return f"a list, each item {words_for(item)}"
        case inspect.DictType(value_type=item):
            return f"a mapping of names to {words_for(item)}"
    names: dict[type[inspect.Type], str] = {
        inspect.StrType: "text",
        inspect.IntType: "a whole number",
        inspect.FloatType: "a number",
        inspect.BoolType: "`true` or `false`",
        inspect.DateType: "a date such as `2013-03-01`",
        inspect.NoneType: "nothing",
    }
    return names[type(kind)]


def _fits(value: Plain, kind: inspect.Type) -> bool:
    """Whether the value itself, not what is in it, is of the kind."""
    match kind:
        case inspect.StructType() | inspect.DictType():
            return isinstance(value, dict)
        case inspect.ListType():
            return isinstance(value, list)
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
        case inspect.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)
        case inspect.LiteralType(values=values):
            return value in values
        case inspect.DateType():
            return isinstance(value, str) and _is_date(value)
        case inspect.NoneType():
            return value is None
    raise TypeError(f"boucle.yaml has a field of kind {kind!r}, which shape.py does not know")


def _struct(value: dict[str, Plain], kind: inspect.StructType, path: Path) -> Iterator[Problem]:
    fields = {field.encode_name: field for field in kind.fields}
    allowed = [kind.tag_field, *fields] if kind.tag_field else list(fields)
    meant = {nearest(key, allowed) for key in value if key not in allowed}
    for key, item in value.items():
        if key == kind.tag_field:
            continue
        if key not in fields:
            near = did_you_mean(key, allowed) or ";"
            word = nearest(key, allowed)
            fix = Rename((*path, key), word) if word and word not in value else None
            yield Problem((*path, key), f"unknown key{near} allowed here: {listed(allowed)}", at_key=True, fix=fix)
        elif item is None and not _may_be_empty(fields[key].type):
            otherwise = "" if _required(fields[key]) else ", or remove the key"
            message = f"the key has no value: write {words_for(fields[key].type)}{otherwise}"
            yield Problem((*path, key), message, at_key=True)
        else:
            limit = LIMITS.get((kind.cls, fields[key].name))
            yield from problems_of(item, fields[key].type, (*path, key), limit)
    for key, field in fields.items():
        # A misspelt key is one mistake, not two.
        if _required(field) and key not in value and key not in meant:
            yield Problem(path, f"the key `{key}` is missing: write {words_for(field.type)}")


def _union(value: Plain, kind: inspect.UnionType, path: Path, limit: Limit | None) -> Iterator[Problem]:
    structs = [one for one in kind.types if isinstance(one, inspect.StructType)]
    tagged = {str(one.tag): one for one in structs if one.tag_field}
    if tagged and isinstance(value, dict):
        tag_field = str(structs[0].tag_field)
        tag = value.get(tag_field)
        if tag_field not in value:
            yield Problem(path, f"the key `{tag_field}` is missing: write one of {listed(tagged)}")
        elif not isinstance(tag, str) or tag not in tagged:
            near, word = did_you_mean(str(tag), tagged), nearest(str(tag), tagged)
            message = f"{quoted(tag)} is not allowed: write one of {listed(tagged)}{near}"
            yield Problem((*path, tag_field), message, fix=Set((*path, tag_field), word) if word else None)
        else:
            yield from _struct(value, tagged[tag], path)
        return
    if structs and isinstance(value, dict):
        yield from _struct(value, structs[0], path)
        return
    fitting = [one for one in kind.types if _fits(value, one)]
    if not fitting:
        if tagged:
            allowed = f"a mapping with the key `{structs[0].tag_field}`, one of {listed(tagged)}"
            yield Problem(path, f"{quoted(value)} is not allowed: write {allowed}")
        else:
            yield _unfit(value, kind, path)
    elif value is not None:
        yield from problems_of(value, fitting[0], path, limit)


def _within(value: Plain, limit: Limit | None, path: Path) -> Iterator[Problem]:
    if limit is None:
        return
    if (
        limit.filled
        and isinstance(value, str | list | dict)
        and (not value or (isinstance(value, str) and not value.strip()))
    ):
        yield Problem(path, "is empty: write at least one item" if isinstance(value, list | dict) else "is empty")
    outside = isinstance(value, int | float) and (
        (limit.at_least is not None and value < limit.at_least)
        or (limit.above is not None and value <= limit.above)
        or (limit.at_most is not None and value > limit.at_most)
        or (limit.below is not None and value >= limit.below)
    )
    unlike = isinstance(value, str) and limit.pattern is not None and not re.fullmatch(limit.pattern, value)
    if outside or unlike:
        yield Problem(path, f"{quoted(value)} is not allowed: {'write' if unlike else 'must be'} {limit.allowed}")


def _unfit(value: Plain, kind: inspect.Type, path: Path) -> Problem:
    advice, meant = _advice(value, kind)
    message = f"{quoted(value)} is not allowed: write {words_for(kind)}{advice}"
    return Problem(path, message, fix=None if meant is None else Set(path, meant))


def _advice(value: Plain, kind: inspect.Type) -> tuple[str, Value | None]:
    """The usual reason for such a mistake, if there is one, and the value that was certainly meant."""
    if isinstance(value, float) and not math.isfinite(value):
        return " that is finite", None
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    if any(isinstance(one, inspect.StrType) for one in kinds) and isinstance(value, int | float):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return f' (in quotes it is text: "{text}")', text
    words = [str(word) for one in kinds if isinstance(one, inspect.LiteralType) for word in one.values]
    if words and isinstance(value, str):
        return did_you_mean(value, words), nearest(value, words)
    whole = any(isinstance(one, inspect.IntType) for one in kinds)
    numeric = whole or any(isinstance(one, inspect.FloatType) for one in kinds)
    if numeric and isinstance(value, str) and _is_number(value):
        number = float(value)
        meant = int(number) if number.is_integer() else None if whole else number
        return f" (without the quotes: {value})", meant
    return "", None


def _required(field: inspect.Field) -> bool:
    return field.default is NODEFAULT and field.default_factory is NODEFAULT


def _may_be_empty(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.NoneType) or (isinstance(kind, inspect.UnionType) and kind.includes_none)


def _finite(value: float) -> bool:
    return (isinstance(value, int) and abs(value) < 2**63) or (isinstance(value, float) and math.isfinite(value))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
