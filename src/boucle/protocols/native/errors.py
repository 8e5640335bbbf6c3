"""Errors of Boucle's own protocol: what a command prints with `--json`."""

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from boucle.identity.http import Response
from boucle.kernel.errors import BoucleError, Unauthenticated


def refuse(error: BoucleError) -> Response:
    """The answer that tells of an error.

    >>> refuse(BoucleError("it broke")).body
    b'{"error":{"code":"internal","message":"it broke","hint":null,"details":{}}}'
    """
    told = {"code": error.code, "message": error.message, "hint": error.hint, "details": error.details}
    return Response(error.status, msgspec.json.encode({"error": told}))


class _Told(Struct):
    code: str
    message: str
    hint: str | None = None
    details: dict[str, object] = {}


class _Refusal(Struct):
    error: _Told


def raised(body: bytes) -> BoucleError:
    """The error that an answer tells of, as it was raised at the server; msgspec's own if it tells of none.

    >>> raised(refuse(Unauthenticated("who?", hint="boucle users add")).body)
    Unauthenticated('who?')
    """
    told = msgspec.json.decode(body, type=_Refusal).error
    kind = {one.code: one for one in _kinds(BoucleError)}.get(told.code, BoucleError)
    if kind is Unauthenticated:
        return Unauthenticated(told.message, hint=told.hint)
    return kind(told.message, hint=told.hint, details=told.details)


def _kinds(base: type[BoucleError]) -> Iterator[type[BoucleError]]:
    """Every error with a code of its own."""
    if "code" in vars(base):
        yield base
    for one in base.__subclasses__():
        yield from _kinds(one)
