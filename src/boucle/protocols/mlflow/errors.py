"""Errors and answers as MLflow's clients read them: `{"error_code": ..., "message": ...}`.

MLflow's client sends a request again after 408, 429, 500, 502, 503 and 504, and takes a 404 without `error_code` for a
mistake of the server, so every refusal here has its code, and what a client did wrong is never a 5xx.
"""

from typing import Any, Final

import msgspec

from boucle.identity.http import NoRoute, NotUnderstood, Response, TooLarge, WrongMethod
from boucle.kernel.errors import (
    BoucleError,
    Busy,
    Conflict,
    InvalidInput,
    Late,
    NotFound,
    Refused,
    Unauthenticated,
    Unavailable,
)

_CODES: Final[tuple[tuple[type[BoucleError], int, str], ...]] = (
    (NoRoute, 404, "ENDPOINT_NOT_FOUND"),
    (WrongMethod, 405, "ENDPOINT_NOT_FOUND"),
    (TooLarge, 413, "INVALID_PARAMETER_VALUE"),
    (NotUnderstood, 415, "INVALID_PARAMETER_VALUE"),
    (NotFound, 404, "RESOURCE_DOES_NOT_EXIST"),
    (InvalidInput, 400, "INVALID_PARAMETER_VALUE"),
    (Conflict, 400, "RESOURCE_ALREADY_EXISTS"),
    (Refused, 403, "PERMISSION_DENIED"),
    (Unauthenticated, 401, "UNAUTHENTICATED"),
    (Busy, 429, "REQUEST_LIMIT_EXCEEDED"),
    (Late, 504, "TEMPORARILY_UNAVAILABLE"),
    (Unavailable, 503, "TEMPORARILY_UNAVAILABLE"),
    (BoucleError, 500, "INTERNAL_ERROR"),
)
"""The first that fits counts."""

EMPTY: Final = Response()
"""The answer of what has nothing to tell: `{}`."""


def refuse(error: BoucleError) -> Response:
    """The answer that tells of an error.

    >>> refuse(NotFound("there is no run 'x'")).body
    b'{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"there is no run \\'x\\'"}'
    """
    status, code = next((status, code) for kind, status, code in _CODES if isinstance(error, kind))
    message = error.message if error.hint is None else _with_next(error.message, error.hint)
    body = msgspec.json.encode({"error_code": code, "message": message.encode(errors="replace").decode()})
    return Response(status, body)


def _with_next(message: str, hint: str) -> str:
    r"""
    >>> _with_next("It is deleted.", "restore it first"), _with_next("two gates say no:\n- one\n- two", "look")
    ('It is deleted. Next: restore it first', 'two gates say no:\n- one\n- two\nNext: look')
    """
    if "\n" in message:
        return f"{message}\nNext: {hint}"
    return f"{message}{'' if message.endswith(('.', '!', '?')) else '.'} Next: {hint}"


def reply(answer: Any) -> Response:
    """The answer with a message; fields that are absent are left out by the message itself."""
    return Response(200, msgspec.json.encode(answer))
