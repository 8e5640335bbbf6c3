"""The JSON Schema of boucle.yaml, for editors and for programs that write one.

Built from the records, so it can't fall behind them: types from their fields, bounds from `limits.py`, and descriptions
from the docstrings that stand under the fields in their source.
"""

import ast
import inspect
import textwrap
from typing import Any

import msgspec

from boucle.project.limits import LIMITS, Limit
from boucle.project.records import Project

_WORDS = {"at_least": "minimum", "above": "exclusiveMinimum", "at_most": "maximum", "below": "exclusiveMaximum"}
_FILLED = {"string": "minLength", "array": "minItems", "object": "minProperties"}


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a boucle.yaml. What keys must be to each other is not in it: see `validate.py`."""
    (top,), definitions = msgspec.json.schema_components([Project], ref_template="#/$defs/{name}")
    for struct in _structs(msgspec.inspect.type_info(Project)):
        definition = definitions[struct.cls.__name__]
        documented = field_docs(struct.cls)
        for field in struct.fields:
            schema = definition["properties"][field.encode_name]
            if field.name in documented:
                schema["description"] = documented[field.name]
            limit = LIMITS.get((struct.cls, field.name))
            if limit is not None:
                _apply(limit, schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "boucle.yaml",
        **top,
        "$defs": definitions,
    }


def field_docs(cls: type) -> dict[str, str]:
    """What the docstrings under the fields of a class and its bases say; runs of white space are one space.

    >>> field_docs(Limit)["words"]
    'What the pattern means.'
    """
    docs: dict[str, str] = {}
    for base in cls.__bases__:
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            docs |= field_docs(base)
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            docs[statement.target.id] = " ".join(following.value.value.split())
    return docs


def _structs(kind: msgspec.inspect.Type) -> list[msgspec.inspect.StructType]:
    """Every record that a type leads to, itself included."""
    match kind:
        case msgspec.inspect.StructType(fields=fields):
            return [kind, *(struct for field in fields for struct in _structs(field.type))]
        case msgspec.inspect.UnionType(types=types):
            return [struct for one in types for struct in _structs(one)]
        case msgspec.inspect.ListType(item_type=item) | msgspec.inspect.DictType(value_type=item):
            return _structs(item)
    return []


def _apply(limit: Limit, schema: dict[str, Any]) -> None:
    """Write a limit into a property's schema; of an optional one, into each branch that it concerns."""
    for branch in schema.get("anyOf", [schema]):
        kind = branch.get("type")
        if kind in ("integer", "number"):
            branch.update(
                {word: getattr(limit, name) for name, word in _WORDS.items() if getattr(limit, name) is not None}
            )
        if limit.pattern is not None and kind == "string":
            branch["pattern"] = limit.pattern
        if limit.filled and kind in _FILLED:
            branch[_FILLED[kind]] = 1
