"""A server with routes for tests: `python front_under_test.py PORT FOLDER`. It tells of each call of a handler."""

import asyncio
import hashlib
import resource
import sys
from pathlib import Path

from boucle.app import body, stopping
from boucle.app.control import run
from boucle.app.front import Front
from boucle.identity.api import LocalDoor, Policy
from boucle.identity.http import Answer, FileResponse, Request, Response, Route, Surface
from boucle.kernel.errors import BoucleError, NotFound
from boucle.protocols.mlflow.errors import refuse as refuse_flow
from boucle.protocols.native.errors import refuse

FOLDER = Path(sys.argv[2]) if len(sys.argv) > 2 else Path()
CALLS: list[str] = []


def told(request: Request, text: str) -> Response:
    CALLS.append(request.method)
    return Response(200, text.encode(), "text/plain; charset=utf-8")


def plain(request: Request) -> Answer:
    """Runs in a thread, with the body."""
    return told(request, f"{request.project} {request.values} {request.query} {len(request.body)}")


async def hot(request: Request) -> Answer:
    """Runs on the loop."""
    return told(request, str(len(await request.read())))


async def read_and_refused(request: Request) -> Answer:
    """Refuses after it has read the body."""
    await request.read()
    raise NotFound("nothing here")


async def stream(request: Request) -> Answer:
    """Reads a body of any size; keeps what came only if it was whole."""
    digest, size = hashlib.sha256(), 0
    async for piece in request.chunks():
        digest.update(piece)
        size += len(piece)
    (FOLDER / "kept").write_text(str(size))
    return told(request, f"{size} {digest.hexdigest()}")


async def unread(request: Request) -> Answer:
    """Refuses before it looks at the body."""
    raise NotFound(f"there is no {request.values['path']}")


async def file(request: Request) -> Answer:
    return FileResponse(FOLDER / request.values["path"], "text/html")


async def slow(request: Request) -> Answer:
    (FOLDER / "slow").touch()
    await asyncio.sleep(0.5)
    return told(request, "at last")


def wrong(_: Request) -> Answer:
    raise ValueError("a mistake of ours, with a secret")


async def facts(_: Request) -> Answer:
    """How many handlers were called, and the largest memory of the process in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Response(200, f"{len(CALLS)} {peak}".encode(), "text/plain")


def _routes(policy: Policy) -> list[Route]:
    return [
        *(Route(method, "/plain/{name}", policy, plain) for method in ("GET", "POST", "PUT", "PATCH", "DELETE")),
        *(Route(method, "/hot", policy, hot) for method in ("GET", "POST", "PUT", "PATCH", "DELETE")),
        Route("PUT", "/stream", policy, stream),
        Route("PUT", "/read-and-refused", policy, read_and_refused),
        Route("PUT", "/unread/{path...}", policy, unread),
        Route("GET", "/file/{path...}", policy, file),
        Route("GET", "/slow", policy, slow),
        Route("GET", "/wrong", policy, wrong),
    ]


def surfaces() -> list[Surface]:
    return [
        Surface(
            routes=[Route("GET", "/facts", "public", facts), *_routes("public")], refuse=refuse, max_body_bytes=1000
        ),
        Surface(routes=_routes("write"), refuse=refuse_flow, prefixes=("/api/2.0", "/ajax-api/2.0")),
    ]


if __name__ == "__main__":
    port = int(sys.argv[1])
    body.IDLE_S = 1.0  # type: ignore[misc]
    body.ALL_BYTES = 8 << 20  # type: ignore[misc]
    try:
        front = Front(surfaces(), door=LocalDoor(), names=["boucle.example"])
        run(front, "127.0.0.1", port, lambda: print("ready", flush=True))  # noqa: T201
        front.close()
        stopping.leave(0)  # as `boucle up` does: granian's threads do not survive the interpreter's own end
    except BoucleError as error:
        sys.exit(error.message)
