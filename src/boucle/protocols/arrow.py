"""Arrow IPC streams in and out: the door for large batches.

A column a column, as the model's signature names them, without a detour over text; besides, optionally, the entity key
and the event time. The answer has a column for each output and a row for each that came.
"""

import io
from typing import Final

import msgspec

from boucle.identity.http import MAX_BODY_BYTES, Headers, NotUnderstood, Request, Response, Route, Surface
from boucle.kernel.errors import BoucleError, InvalidInput
from boucle.packaging.records import Signature
from boucle.protocols import frame_columns, head
from boucle.protocols.arrow_stream import STREAM, check_stream
from boucle.protocols.asking import ask, named
from boucle.serving.endpoint import Answer
from boucle.serving.endpoints import Endpoints
from boucle.serving.question import Column, check_names

PREFIX: Final = "/arrow"


def surface(endpoints: Endpoints, *, max_body_bytes: int = MAX_BODY_BYTES) -> Surface:
    """The door, for these endpoints."""

    async def predict(request: Request) -> Response:
        endpoint = named(endpoints, request.values["model"], request.headers, check_type)

        def read(signature: Signature, body: bytes) -> dict[str, Column]:
            return of_arrow(signature, body, max_rows=endpoint.max_rows, all_known=True)

        return await ask(
            request,
            endpoint,
            request.values.get("number"),
            door="arrow",
            limit=max_body_bytes,
            check=check_type,
            read=read,
            write=to_arrow,
            in_thread=True,
            answer_type=STREAM,
        )

    routes = [
        Route("POST", "/models/{model}/predict", "predict", predict),
        Route("POST", "/models/{model}/versions/{number}/predict", "predict", predict),
    ]
    return Surface(routes=routes, prefixes=(PREFIX,), refuse=refusal)


def check_type(headers: Headers) -> None:
    """NotUnderstood if the body is said to be something else than an Arrow stream."""
    said = headers.get("content-type")
    if said is None or head.content_type(said)[0] != STREAM:
        raise NotUnderstood(f"content-type {str(said)[:100]!r} is not understood here; allowed is {STREAM}")
    frame_columns.check_installed()


def of_arrow(signature: Signature, body: bytes, *, max_rows: int, all_known: bool = False) -> dict[str, Column]:
    """The columns of an Arrow IPC stream that the signature names. InvalidInput says what is wrong with it.

    Others are passed over; with `all_known` they are refused.
    """
    check_stream(body, max_rows=max_rows)
    polars = frame_columns.loaded()
    try:
        frame = polars.read_ipc_stream(io.BytesIO(body))
        if all_known:
            check_names(frame.columns, signature)
        return frame_columns.of_frame(frame, signature)
    except InvalidInput:
        raise
    except (Exception, polars.exceptions.PanicException) as error:
        raise InvalidInput(f"the Arrow stream cannot be read: {str(error)[:200]}") from error


def to_arrow(answer: Answer) -> bytes:
    """An answer as an Arrow IPC stream, in the types that every reader knows."""
    polars = frame_columns.loaded()
    stream = io.BytesIO()
    frame_columns.to_frame(answer).write_ipc_stream(stream, compat_level=polars.CompatLevel.oldest())
    return stream.getvalue()


def refusal(error: BoucleError) -> Response:
    """The one shape of an error at this door."""
    return Response(error.status, msgspec.json.encode({"error": error.message}))
