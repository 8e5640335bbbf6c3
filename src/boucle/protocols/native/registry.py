"""The native doors to the registry, below `/api/v1/models`, and to what projects there are. What moves a pointer goes
through `governance`.

Each answers with the records that the command of the same purpose prints with `--json`.
"""

from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, Struct, UnsetType

from boucle.governance import api as governance
from boucle.identity.http import Request, Response, Route
from boucle.kernel.store import Store
from boucle.models import api as models
from boucle.models.projects import list_projects
from boucle.protocols.native.messages import Words, asked, number_of, of_query, reply

BASE: Final = "/models"
ONE: Final = f"{BASE}/{{name}}"
VERSION: Final = f"{ONE}/versions/{{version}}"
ALIAS: Final = f"{ONE}/aliases/{{alias}}"


class Move(Struct, frozen=True, forbid_unknown_fields=True):
    """What moves an alias."""

    version: int
    reason: Words = ""
    instead_of: int | UnsetType | None = UNSET
    """Only if it points at this version now; null: only if it points nowhere."""


class Signing(Struct, frozen=True, forbid_unknown_fields=True):
    """A signature of a version's files, made elsewhere."""

    signature: str
    """What `boucle sign FOLDER` writes."""
    key: str
    """The public key in PEM."""


class Transition(Struct, frozen=True, forbid_unknown_fields=True):
    """What moves a version into a stage."""

    stage: str
    archive_existing: bool = False
    """Whether those that are in it go to `Archived`."""
    reason: Words = ""


def routes(store: Store) -> list[Route]:
    """Every door, for requests of any project."""
    doors = _Doors(store)
    return [
        Route("GET", "/projects", "read", doors.list_projects),
        Route("GET", BASE, "read", doors.list_models),
        Route("GET", ONE, "read", doors.model),
        Route("GET", f"{ONE}/versions", "read", doors.versions),
        Route("GET", VERSION, "read", doors.standing),
        Route("PUT", f"{VERSION}/stage", "write", doors.set_stage),
        Route("POST", f"{VERSION}/signatures", "write", doors.add_signature),
        Route("GET", ALIAS, "read", doors.history),
        Route("PUT", ALIAS, "write", doors.promote),
    ]


@dataclass(frozen=True, slots=True)
class _Doors:
    store: Store

    def list_projects(self, _: Request) -> Response:
        """`GET /projects`: those of the store, whichever the request is for."""
        return reply(list_projects(self.store))

    def list_models(self, request: Request) -> Response:
        """`GET /models`"""
        found = models.list_models(self.store, request.project)
        return reply(self.store.read(lambda conn: models.model_facts(conn, found)))

    def model(self, request: Request) -> Response:
        """`GET /models/{name}`"""
        found = models.get_model(self.store, request.project, request.values["name"])
        return reply(self.store.read(lambda conn: models.model_facts(conn, [found]))[0])

    def versions(self, request: Request) -> Response:
        """`GET /models/{name}/versions`"""
        found = models.get_model(self.store, request.project, request.values["name"])
        return reply(models.list_versions(self.store, request.project, found.name))

    def standing(self, request: Request) -> Response:
        """`GET /models/{name}/versions/{version}`"""
        return self._standing(request)

    def set_stage(self, request: Request) -> Response:
        """`PUT /models/{name}/versions/{version}/stage`"""
        message = asked(request, Transition)
        governance.set_stage(
            self.store,
            project_id=request.project,
            model=request.values["name"],
            number=number_of(request),
            stage=message.stage,
            archive_existing=message.archive_existing,
            actor=request.principal.name,
            reason=message.reason,
        )
        return self._standing(request)

    def add_signature(self, request: Request) -> Response:
        """`POST /models/{name}/versions/{version}/signatures`"""
        message = asked(request, Signing)
        kept = governance.add_signature(
            self.store,
            project_id=request.project,
            model=request.values["name"],
            number=number_of(request),
            signature=message.signature.encode(),
            key=message.key,
            actor=request.principal.name,
        )
        return reply(kept)

    def history(self, request: Request) -> Response:
        """`GET /models/{name}/aliases/{alias}`: every move, or with `at` the version that it stood for then."""
        name, alias, at = request.values["name"], request.values["alias"], of_query(request, "at")
        if at is None:
            return reply(models.history(self.store, request.project, name, alias))
        moment = models.moment_of(at)
        number = models.version_then(self.store, request.project, name, alias, moment)
        return reply({"alias": alias, "at": moment, "version": number})

    def promote(self, request: Request) -> Response:
        """`PUT /models/{name}/aliases/{alias}`"""
        message = asked(request, Move)
        move = governance.set_alias(
            self.store,
            project_id=request.project,
            model=request.values["name"],
            alias=request.values["alias"],
            number=message.version,
            actor=request.principal.name,
            reason=message.reason,
            expected=message.instead_of,
        )
        return reply(move)

    def _standing(self, request: Request) -> Response:
        return reply(governance.standing(self.store, request.project, request.values["name"], number_of(request)))
