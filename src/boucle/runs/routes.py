"""The native doors to runs, below `/api/v1`: frames of spools and the bytes of artifacts."""

import msgspec

from boucle.identity.http import Request, Response, Route
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.runs.ingest import take
from boucle.runs.receiving import receive


def routes(store: Store) -> list[Route]:
    """Every door, for requests of any project."""

    def frames(request: Request) -> Response:
        """Take a batch of frames; the answer says how far the spool is in the store."""
        taken = take(
            store,
            request.project,
            request.values["spool"],
            _position(request, "from") or 0,
            request.body,
            held=_position(request, "held"),
            principal=request.principal.name,
        )
        return Response(body=msgspec.json.encode(taken))

    async def blob(request: Request) -> Response:
        """Take the bytes of an artifact, whose name is their SHA-256."""
        found = await receive(store, request, lambda _store, digest, _size: digest)
        if found != request.values["digest"]:
            raise InvalidInput(f"the bytes have the digest {found}, not {request.values['digest'][:80]!r}")
        return Response(body=msgspec.json.encode({"digest": found}))

    return [
        Route("POST", "/spools/{spool}/frames", "write", frames),
        Route("PUT", "/blobs/{digest}", "write", blob),
    ]


def _position(request: Request, name: str) -> int | None:
    """A position of a spool in the address; None if it is not there."""
    given = request.query.get(name, [None])[0]
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) < 19):
        raise InvalidInput(f"{name} is {given[:60]!r}; allowed are whole numbers from 0")
    return int(given)
