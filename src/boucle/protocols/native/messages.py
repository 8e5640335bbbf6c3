"""Reading requests of Boucle's own protocol, and answering them."""

from typing import Annotated, TypeAlias, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import fields

from boucle.identity.http import Request, Response
from boucle.kernel.errors import InvalidInput

T = TypeVar("T", bound=Struct)
Words: TypeAlias = Annotated[str, Meta(max_length=10_000)]
"""What somebody says; it goes into the audit log."""


def asked(request: Request, kind: type[T]) -> T:
    """What the body asks for. Unlike MLflow's protocol, a field that is not known is refused."""
    try:
        return msgspec.json.decode(request.body or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"the body is not as it must be: {error}; {_fields(kind)}") from error


def _fields(kind: type[Struct]) -> str:
    """The fields of a body, and of what its lists hold."""
    told = [f"its fields are {', '.join(kind.__struct_fields__)}"]
    for one in fields(kind):
        for held in get_args(one.type) if get_origin(one.type) is list else ():
            if isinstance(held, type) and issubclass(held, Struct):
                told.append(f"each of {one.name} has {', '.join(held.__struct_fields__)}")
    return "; ".join(told)


def of_query(request: Request, name: str) -> str | None:
    """A parameter of the query, the last one of that name."""
    given = request.query.get(name)
    return given[-1] if given else None


def number_of(request: Request) -> int:
    """The number of the version that the path names."""
    text = request.values["version"]
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 19 and int(text) > 0):
        raise InvalidInput(f"the version is {text[:60]!r}; allowed are whole numbers from 1")
    return int(text)


def reply(content: object) -> Response:
    """A record, or several, as `--json` prints them."""
    return Response(body=msgspec.json.encode(content))
