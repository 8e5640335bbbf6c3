"""MLflow's artifact routes: files up and down, of any size and with flat memory, lists, deletions.

A name is looked up in rows, and what is sent is a blob: no path or URI of a client is opened. A file is always sent as
an attachment, so that no browser runs it as a page of this server.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from mimetypes import guess_type
from typing import Final
from urllib.parse import quote

import msgspec
from sqlalchemy import Connection

from boucle.identity.http import FileResponse, Request, Response, Route
from boucle.kernel.clock import to_ms
from boucle.kernel.digests import Digest
from boucle.kernel.errors import InvalidInput, NotFound
from boucle.kernel.store import Store
from boucle.kernel.trees import TreeEntry
from boucle.models.api import get_version
from boucle.protocols.mlflow.errors import EMPTY, reply
from boucle.protocols.mlflow.messages import missing
from boucle.runs import artifacts
from boucle.runs.artifact_paths import Place, checked, place_of
from boucle.runs.receiving import PIECE_BYTES, receive

_PLACES: Final = "allowed are <experiment>/<run>/artifacts/<name> and <experiment>/models/<model id>/artifacts/<name>"
_TYPES: Final = {".yaml": "text/plain", ".yml": "text/plain", ".jsonl": "text/plain", ".md": "text/plain"}
"""Types that machines disagree on, or have none for. Files of MLflow without an ending are text."""


def routes(store: Store) -> list[Route]:
    """The routes behind MLflow's prefixes, such as `/api/2.0`."""
    doors = _Doors(store)
    root = "/mlflow-artifacts/artifacts"
    return [
        Route("GET", root, "read", doors.list_below),
        Route("GET", f"{root}/{{path...}}", "read", doors.download),
        Route("PUT", f"{root}/{{path...}}", "write", doors.upload),
        Route("DELETE", f"{root}/{{path...}}", "write", doors.delete),
        # The client's way to say "all of them": a slash at the end.
        Route("DELETE", f"{root}/{{experiment}}/{{run_id}}/artifacts/", "write", doors.delete_all),
        Route("DELETE", f"{root}/{{experiment}}/models/{{model_id}}/artifacts/", "write", doors.delete_all),
        Route("GET", "/mlflow-artifacts/presigned/{path...}", "read", _not_presigned("download")),
        Route("GET", "/mlflow/artifacts/list", "read", doors.list_of_run),
        Route("POST", "/mlflow/artifacts/presigned-upload-url", "write", _not_presigned("upload")),
        Route("POST", "/mlflow/artifacts/presigned-download-url", "read", _not_presigned("download")),
        Route("POST", "/mlflow/upload-artifact", "write", doors.upload_to_run),
        Route("GET", "/mlflow/logged-models/{model_id}/artifacts/directories", "read", doors.list_of_model),
        Route("GET", "/mlflow/logged-models/{model_id}/artifacts/files", "read", doors.file_of_model),
    ]


def outer_routes(store: Store) -> list[Route]:
    """The routes that stand behind no prefix."""
    doors = _Doors(store)
    return [
        Route("GET", "/get-artifact", "read", doors.file_of_run),
        Route("GET", "/model-versions/get-artifact", "read", doors.file_of_version),
    ]


@dataclass(frozen=True, slots=True)
class _Doors:
    store: Store

    def download(self, request: Request) -> FileResponse:
        """`GET mlflow-artifacts/artifacts/{path}`"""
        place = self._place(request.values["path"])
        if place.kind == "version":
            return self._send_of_version(request.project, place)
        return self._send(self.store.read(lambda conn: artifacts.get(conn, request.project, place)))

    async def upload(self, request: Request) -> Response:
        """`PUT mlflow-artifacts/artifacts/{path}`"""
        await self._receive(request, _writable(self._place(request.values["path"])))
        return EMPTY

    def delete(self, request: Request) -> Response:
        """`DELETE mlflow-artifacts/artifacts/{path}`"""
        place = _writable(self._place(request.values["path"]))
        self.store.write(lambda conn: artifacts.remove(conn, request.project, place))
        return EMPTY

    def delete_all(self, request: Request) -> Response:
        """`DELETE mlflow-artifacts/artifacts/{experiment}/{run_id}/artifacts/`, and that of a logged model"""
        experiment, model_id = request.values["experiment"], request.values.get("model_id")
        owner = f"models/{model_id}" if model_id else request.values["run_id"]
        place = self._place(f"{experiment}/{owner}/artifacts")
        self.store.write(lambda conn: artifacts.remove(conn, request.project, place))
        return EMPTY

    def list_below(self, request: Request) -> Response:
        """`GET mlflow-artifacts/artifacts?path=`: names relative to the folder."""
        path = _folder(request, "path")
        place = place_of(path) if path else None
        if place is None:
            return _listed([])
        if place.kind == "version":
            found = _once(artifacts.group(self._files(request.project, place), place.path))
        else:
            found = self.store.read(lambda conn: self._list(conn, request.project, place))
        return _listed([(one.path.rpartition("/")[2], one) for one in found])

    def list_of_run(self, request: Request) -> Response:
        """`GET mlflow/artifacts/list`: names relative to the run."""
        run_id, path = _run_id(request), _folder(request, "path")

        def query(conn: Connection) -> Response:
            place = artifacts.place_of_run(conn, request.project, run_id, path)
            found = self._list(conn, request.project, place)
            return _listed([(one.path, one) for one in found], artifacts.artifact_uri(place.number, run_id))

        return self.store.read(query)

    def list_of_model(self, request: Request) -> Response:
        """`GET mlflow/logged-models/{model_id}/artifacts/directories`: names relative to the model."""
        model_id, path = request.values["model_id"], _folder(request, "artifact_directory_path")

        def query(conn: Connection) -> Response:
            place = artifacts.place_of_model(conn, request.project, model_id, path)
            found = self._list(conn, request.project, place)
            return _listed([(one.path, one) for one in found], artifacts.model_uri(place.number, model_id))

        return self.store.read(query)

    def file_of_model(self, request: Request) -> FileResponse:
        """`GET mlflow/logged-models/{model_id}/artifacts/files`"""
        model_id, path = request.values["model_id"], _needed(request, "artifact_file_path")
        return self._send(
            self.store.read(
                lambda conn: artifacts.get(
                    conn, request.project, artifacts.place_of_model(conn, request.project, model_id, path)
                )
            )
        )

    def file_of_run(self, request: Request) -> FileResponse:
        """`GET get-artifact`"""
        run_id, path = _run_id(request), _needed(request, "path")
        return self._send(
            self.store.read(
                lambda conn: artifacts.get(
                    conn, request.project, artifacts.place_of_run(conn, request.project, run_id, path)
                )
            )
        )

    def file_of_version(self, request: Request) -> FileResponse:
        """`GET model-versions/get-artifact`"""
        number = _needed(request, "version")
        if not (number.isascii() and number.isdecimal() and len(number) < 10):
            raise InvalidInput(f"version {number[:100]!r} is no number")
        place = Place("version", _needed(request, "name"), int(number), checked(_needed(request, "path")))
        return self._send_of_version(request.project, place)

    async def upload_to_run(self, request: Request) -> Response:
        """`POST mlflow/upload-artifact`"""
        run_id, path = _run_id(request), checked(_needed(request, "path"))
        place = await asyncio.to_thread(
            self.store.read, lambda conn: artifacts.place_of_run(conn, request.project, run_id, path)
        )
        await self._receive(request, place)
        return EMPTY

    async def _receive(self, request: Request, place: Place) -> None:
        """Keep the body as what a name stands for: on the disk when this returns, nothing of it if it is cut off."""
        declared = request.headers.get("content-length")
        if declared is not None and int(declared) <= PIECE_BYTES:
            await asyncio.to_thread(self._keep, request.project, place, await request.read(PIECE_BYTES))
            return
        await asyncio.to_thread(self.store.read, lambda conn: artifacts.check_free(conn, request.project, place))

        def name(visitor: Store, digest: Digest, size: int) -> None:
            now_ms = to_ms(visitor.clock.now())
            visitor.write(lambda conn: artifacts.put(conn, request.project, place, digest, size, now_ms))

        await receive(self.store, request, name)

    def _keep(self, project_id: str, place: Place, content: bytes) -> None:
        with self.store.visit() as visitor:
            digest, now_ms = visitor.blobs.put(content), to_ms(visitor.clock.now())
            visitor.write(lambda conn: artifacts.put(conn, project_id, place, digest, len(content), now_ms))

    def _place(self, path: str) -> Place:
        place = place_of(path)
        if place is None:
            raise NotFound(f"there are no artifacts at {path[:200]!r}; {_PLACES}")
        return place

    def _list(self, conn: Connection, project_id: str, place: Place) -> list[artifacts.Listed]:
        artifacts.check_owner(conn, project_id, place)
        return artifacts.listing(conn, project_id, place.owner, place.path)

    def _files(self, project_id: str, place: Place) -> tuple[TreeEntry, ...]:
        version = get_version(self.store, project_id, place.owner, place.number)
        return artifacts.frozen(self.store.blobs, version.bundle_digest)

    def _send_of_version(self, project_id: str, place: Place) -> FileResponse:
        for entry in self._files(project_id, place):
            if entry.path == place.path:
                return self._send(entry)
        raise NotFound(f"version {place.number} of {place.owner!r} has no file {place.path!r}")

    def _send(self, entry: TreeEntry) -> FileResponse:
        name = entry.path.rpartition("/")[2]
        return FileResponse(
            self.store.blobs.path(entry.digest),
            type_of(name),
            headers=(
                ("content-disposition", f"attachment; filename*=UTF-8''{quote(name, safe='')}"),
                ("etag", f'"{entry.digest}"'),
            ),
        )


def type_of(name: str) -> str:
    """The media type that a name stands for.

    >>> type_of("a.png"), type_of("MLmodel"), type_of("model.unknown")
    ('image/png', 'text/plain', 'application/octet-stream')
    """
    stem, dot, ending = name.rpartition(".")
    if not dot:
        return "text/plain" if stem + ending in ("MLmodel", "MLproject") else "application/octet-stream"
    return _TYPES.get(f".{ending.lower()}") or guess_type(f"x.{ending}")[0] or "application/octet-stream"


def _listed(found: Iterable[tuple[str, artifacts.Listed]], root_uri: str | None = None) -> Response:
    answer: dict[str, object] = {} if root_uri is None else {"root_uri": root_uri}
    files = [
        {"path": path, "is_dir": one.is_dir} | ({} if one.is_dir else {"file_size": one.size}) for path, one in found
    ]
    return reply(answer | ({"files": files} if files else {}))


def _once(found: Iterable[artifacts.Listed]) -> list[artifacts.Listed]:
    return sorted({one.path: one for one in found}.values(), key=lambda one: one.path)


def _not_presigned(what: str) -> Callable[[Request], Response]:
    """What a server answers that hands out no URLs of a cloud: clients then come by the other routes."""
    message = f"Presigned {what} is not supported here; use mlflow-artifacts/artifacts/{{path}}"
    body = msgspec.json.encode({"error_code": "NOT_IMPLEMENTED", "message": message})
    return lambda _: Response(501, body)


def _writable(place: Place) -> Place:
    if place.kind == "version":
        raise InvalidInput(
            f"the files of version {place.number} of {place.owner!r} are frozen",
            hint="register a new version of other files",
        )
    return place


def _asked(request: Request, name: str) -> str:
    return request.query.get(name, [""])[-1]


def _folder(request: Request, name: str) -> str:
    """A folder, which may end with a slash. What stands alone as `/` leads outside like any absolute name."""
    path = _asked(request, name)
    return checked(path if path.startswith("/") else path.rstrip("/"), empty=True)


def _needed(request: Request, name: str) -> str:
    found = _asked(request, name)
    if not found:
        raise missing(name)
    return found


def _run_id(request: Request) -> str:
    return _asked(request, "run_id") or _needed(request, "run_uuid")
