"""What the head of a request says to the endpoint, the same for every REST door: pure.

`x-request-id` names the request; the answer carries it back. `x-request-deadline-ms` is how long the client waits.
"""

from typing import Final

from boucle.identity.http import JSON, Headers, NotUnderstood
from boucle.kernel.errors import InvalidInput

REQUEST_ID: Final = "x-request-id"
DEADLINE: Final = "x-request-deadline-ms"
_LONGEST_MS: Final = 86_400_000
_SAID_OF_JSON: Final = frozenset({JSON, "application/x-www-form-urlencoded", "text/plain"})
"""What clients say of a JSON body: curl the second by itself, browsers and Node the third."""


def request_id(headers: Headers) -> str:
    """The id that the client gives the request; empty if it gives none."""
    return headers.get(REQUEST_ID) or ""


def named(request_id: str) -> tuple[tuple[str, str], ...]:
    """The header of an answer that carries the request's id; none where the id is nothing that a header can hold.

    >>> named("req_1"), named("Grüße")
    ((('x-request-id', 'req_1'),), ())
    """
    fits = request_id.isascii() and request_id.isprintable()
    return ((REQUEST_ID, request_id),) if fits else ()


def deadline(headers: Headers, started: float) -> float | None:
    """When nobody waits any more for the answer to a request that came in at `started`; None if the client waits.

    >>> deadline({"x-request-deadline-ms": "250"}, 10.0)
    10.25
    """
    text = headers.get(DEADLINE)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 8 and 1 <= int(text) <= _LONGEST_MS):
        raise InvalidInput(f"header {DEADLINE} is {text[:40]!r}; allowed are 1 to {_LONGEST_MS} milliseconds")
    return started + int(text) / 1000


def check_json(headers: Headers, *others: str) -> None:
    """NotUnderstood if the body is said to be anything but JSON in UTF-8, or one of `others`.

    >>> check_json({}), check_json({"content-type": "application/json; charset=utf-8"})
    (None, None)
    """
    said = headers.get("content-type")
    if said is None or said == JSON:
        return
    kind, parameters = content_type(said)
    if (kind not in _SAID_OF_JSON and kind not in others) or parameters.get("charset", "utf-8") != "utf-8":
        allowed = ", ".join((JSON, *others))
        raise NotUnderstood(f"content-type {said[:100]!r} is not understood here; allowed are {allowed}, in UTF-8")


def content_type(said: str) -> tuple[str, dict[str, str]]:
    """A content type and its parameters, in lower case.

    >>> content_type('Text/CSV; Charset="UTF-8"')
    ('text/csv', {'charset': 'utf-8'})
    """
    kind, *parameters = said.lower().split(";")
    pairs = (one.partition("=") for one in parameters if one.strip())
    return kind.strip(), {name.strip(): value.strip().strip('"') for name, _, value in pairs}
