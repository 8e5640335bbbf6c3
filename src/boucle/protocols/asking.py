"""From a request's body to an answer's: the way that every REST door but the Open Inference Protocol's takes."""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final

from boucle.identity.http import JSON, Headers, Request, Response
from boucle.kernel.errors import InvalidInput, NotFound
from boucle.packaging.records import Signature
from boucle.protocols import head
from boucle.serving.endpoint import Answer, Endpoint
from boucle.serving.endpoints import Endpoints
from boucle.serving.question import Column, Question

INLINE_BYTES: Final = 1 << 18
INLINE_ROWS: Final = 2_000
"""Larger requests are read, and larger answers written, in a thread, so that the loop goes on."""
TARGET_MODEL: Final = "x-amzn-sagemaker-target-model"

Reader = Callable[[Signature, bytes], dict[str, Column]]
Writer = Callable[[Answer], bytes]


async def ask(
    request: Request,
    endpoint: Endpoint,
    number: str | None = None,
    *,
    door: str,
    limit: int,
    read: Reader,
    write: Writer,
    check: Callable[[Headers], object] = head.check_json,
    in_thread: bool = False,
    answer_type: str = JSON,
) -> Response:
    """Answer a request. What is raised on the way is counted, and goes on to the surface.

    `check` looks at the content type, `read` and `write` are pure; `in_thread` if reading is slow whatever the size.
    """
    started = endpoint.timer()
    with endpoint.reading(door, started):
        check(request.headers)
        body = await request.read(limit)
        started = endpoint.timer()
        deadline = head.deadline(request.headers, started)
        signature = endpoint.signature(number)
        size = len(body)
        taken = endpoint.heavy.taken(size) if size > INLINE_BYTES else nullcontext()
    with taken:
        with endpoint.reading(door, started):
            if in_thread or size > INLINE_BYTES:
                columns = await endpoint.heavy.read(size, read, signature, body)
            else:
                columns = read(signature, body)
        question = Question(columns, head.request_id(request.headers), door, deadline)
        answer = await endpoint.ask(question, number, started=started)
        is_large = in_thread or answer.rows > INLINE_ROWS
        text = await asyncio.to_thread(write, answer) if is_large else write(answer)
        return Response(200, text, answer_type, head.named(answer.request_id))


def named(
    endpoints: Endpoints, name: str, headers: Headers, check: Callable[[Headers], object] = head.check_json
) -> Endpoint:
    """The endpoint that a question names. What `check` says of the content type comes before NotFound."""
    try:
        return endpoints.get(name)
    except NotFound:
        check(headers)
        raise


def only(endpoints: Endpoints, headers: Headers, check: Callable[[Headers], object] = head.check_json) -> Endpoint:
    """The endpoint for a path that names none: the one that the header names, else the only one."""
    name = headers.get(TARGET_MODEL)
    if name is not None:
        return named(endpoints, name, headers, check)
    names = endpoints.names()
    if len(names) != 1:
        many = ", ".join(map(repr, names))
        raise InvalidInput(f"this server answers for {many}; name one in the header {TARGET_MODEL}")
    return endpoints.get(names[0])
