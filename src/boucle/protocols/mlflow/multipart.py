"""Artifacts in parts, for clients with MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD.

Each part is a blob, and its ETag is a signed note of which: the client brings the notes back to have the parts joined.
So nothing of an upload is kept beside the blobs, which garbage collection takes like any that nothing needs. Notes are
signed with a key of this process, or a digest that somebody knows would let them read a blob of another project.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from boucle.identity.http import Request, Response, Route
from boucle.kernel.clock import to_ms
from boucle.kernel.digests import Digest
from boucle.kernel.errors import InvalidInput, NotFound
from boucle.kernel.store import Store
from boucle.protocols.mlflow.errors import EMPTY, reply
from boucle.protocols.mlflow.messages import asked, missing
from boucle.runs import artifacts
from boucle.runs.artifact_paths import Place, place_of
from boucle.runs.receiving import PIECE_BYTES, receive

MOST_PARTS: Final = 10_000


class Begin(Struct, frozen=True):
    """What a client asks for: `path` is the file's path on its own machine, of which the last name counts."""

    path: str = ""
    num_parts: int = 1


class Part(Struct, frozen=True):
    """A part that the client has sent."""

    part_number: int = 0
    etag: str = ""


class End(Struct, frozen=True):
    """The parts of an upload that shall be joined, or none to give it up."""

    path: str = ""
    upload_id: str = ""
    parts: list[Part] = []


def routes(store: Store) -> list[Route]:
    """The routes behind MLflow's prefixes."""
    doors = _Doors(store)
    root = "/mlflow-artifacts/mpu"
    return [
        Route("POST", f"{root}/create/{{path...}}", "write", doors.create),
        Route("PUT", f"{root}/part/{{upload_id}}/{{number}}", "write", doors.receive),
        Route("POST", f"{root}/complete/{{path...}}", "write", doors.complete),
        Route("POST", f"{root}/abort/{{path...}}", "write", doors.abort),
    ]


@dataclass(frozen=True, slots=True)
class _Doors:
    store: Store
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def create(self, request: Request) -> Response:
        """`POST mpu/create/{path}`: the URL for each part, here."""
        message = asked(request, Begin)
        place = _target(request, message.path)
        if not 1 <= message.num_parts <= MOST_PARTS:
            raise InvalidInput(f"num_parts is {message.num_parts}; allowed are 1 to {MOST_PARTS:,}")
        self.store.read(lambda conn: artifacts.check_free(conn, request.project, place))
        upload_id = f"{secrets.token_hex(16)}-{message.num_parts}"
        upload_id = f"{upload_id}-{self._note(request.project, repr(place), upload_id)}"
        root = f"{_base(request)}/mlflow-artifacts/mpu/part/{upload_id}"
        # The client sends parts without its own headers, so it gets back the one that lets it in.
        known = request.headers.get("authorization")
        headers = {} if known is None else {"Authorization": known}
        urls = [
            {"url": f"{root}/{number}", "part_number": number, "headers": headers}
            for number in range(1, message.num_parts + 1)
        ]
        return reply({"upload_id": upload_id, "credentials": urls})

    async def receive(self, request: Request) -> Response:
        """`PUT mpu/part/{upload_id}/{number}`"""
        upload_id, number = request.values["upload_id"], request.values["number"]
        digest = await receive(self.store, request, lambda _store, found, _size: found)
        note = self._note(request.project, upload_id, number, digest)
        return Response(headers=(("etag", f'"{digest}-{note}"'),))

    def complete(self, request: Request) -> Response:
        """`POST mpu/complete/{path}`: the parts in the order of their numbers become the artifact."""
        message = asked(request, End)
        place = _target(request, message.path)
        digests = self._parts(request.project, place, message)
        self.store.read(lambda conn: artifacts.check_free(conn, request.project, place))
        with self.store.visit() as visitor, visitor.blobs.receive() as incoming:
            for number, digest in enumerate(digests, 1):
                try:
                    with visitor.blobs.path(digest).open("rb") as part:
                        while piece := part.read(PIECE_BYTES):
                            incoming.write(piece)
                except (NotFound, FileNotFoundError):
                    raise InvalidInput(f"part {number} is gone", hint="send the file again") from None
            whole, now_ms = incoming.finish(), to_ms(visitor.clock.now())
            visitor.write(lambda conn: artifacts.put(conn, request.project, place, whole, incoming.size, now_ms))
        return EMPTY

    def abort(self, request: Request) -> Response:
        """`POST mpu/abort/{path}`: nothing needs its parts any more."""
        _target(request, asked(request, End).path)
        return EMPTY

    def _parts(self, project_id: str, place: Place, message: End) -> list[Digest]:
        plain, _, note = message.upload_id.rpartition("-")
        if not _same(note, self._note(project_id, repr(place), plain)):
            raise InvalidInput(
                f"there is no upload {message.upload_id[:120]!r} of {place.path!r}; it ends with the server's process",
                hint="send the file again",
            )
        parts = sorted(message.parts, key=lambda part: part.part_number)
        count = int(plain.rpartition("-")[2])
        if [part.part_number for part in parts] != list(range(1, count + 1)):
            raise InvalidInput(f"the upload has the parts 1 to {count}, each once; {len(parts)} were named")
        digests = []
        for part in parts:
            digest, _, note = part.etag.strip('"').partition("-")
            if not _same(note, self._note(project_id, message.upload_id, str(part.part_number), digest)):
                raise InvalidInput(f"{part.etag[:140]!r} is not the ETag of part {part.part_number} of this upload")
            digests.append(Digest(digest))
        return digests

    def _note(self, *told: str) -> str:
        return hmac.digest(self.key, msgspec.json.encode(told), "sha256").hex()[:32]


def _target(request: Request, local_file: str) -> Place:
    """Where the file will stand: in the folder of the URL, by the last name of its path on the client's machine."""
    name = local_file.replace("\\", "/").rpartition("/")[2]
    if not name:
        raise missing("path")
    place = place_of(f"{request.values['path']}/{name}")
    if place is None or place.kind == "version":
        raise NotFound(f"nothing can be kept at {request.values['path'][:200]!r}")
    return place


def _base(request: Request) -> str:
    """This server as the client reached it, up to the prefix of MLflow's routes."""
    scheme = "https" if request.headers.get("x-forwarded-proto") == "https" else "http"
    prefix = request.path.partition("/mlflow-artifacts/")[0]
    return f"{scheme}://{request.headers.get('host')}/p/{quote(request.project)}{prefix}"


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())
