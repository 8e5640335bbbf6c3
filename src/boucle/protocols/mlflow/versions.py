"""MLflow's routes of model versions. What moves a pointer goes through `governance`."""

from dataclasses import dataclass

from msgspec import Struct
from sqlalchemy import Connection

from boucle.governance import api as governance
from boucle.identity.http import Request, Response, Route
from boucle.kernel.store import Store
from boucle.models import api as models
from boucle.models.search import search_versions
from boucle.models.sources import is_elsewhere, make_version
from boucle.protocols.mlflow.errors import EMPTY, reply
from boucle.protocols.mlflow.messages import KeyValue, asked
from boucle.protocols.mlflow.registered import Search, needed, number_of, place_of, tags_of, version_message


class Create(Struct, frozen=True):
    """Fields of `model-versions/create`."""

    name: str = ""
    source: str = ""
    run_id: str = ""
    model_id: str = ""
    run_link: str = ""
    description: str | None = None
    tags: list[KeyValue] = []


class Named(Struct, frozen=True):
    """Fields of `model-versions/get`, `delete` and `get-download-uri`."""

    name: str = ""
    version: str = ""


class Update(Struct, frozen=True):
    """Fields of `model-versions/update`."""

    name: str = ""
    version: str = ""
    description: str | None = None


class Transition(Struct, frozen=True):
    """Fields of `model-versions/transition-stage`."""

    name: str = ""
    version: str = ""
    stage: str = ""
    archive_existing_versions: bool = False


class Tag(Struct, frozen=True):
    """Fields of `model-versions/set-tag` and `delete-tag`."""

    name: str = ""
    version: str = ""
    key: str = ""
    value: str = ""


def routes(store: Store) -> list[Route]:
    """The routes behind MLflow's prefixes."""
    doors = _Doors(store)
    base = "/mlflow/model-versions"
    return [
        Route("POST", f"{base}/create", "write", doors.create),
        Route("GET", f"{base}/get", "read", doors.get),
        Route("PATCH", f"{base}/update", "write", doors.update),
        Route("POST", f"{base}/transition-stage", "write", doors.transition),
        Route("DELETE", f"{base}/delete", "write", doors.delete),
        Route("GET", f"{base}/search", "read", doors.search),
        Route("GET", f"{base}/get-download-uri", "read", doors.download_uri),
        Route("POST", f"{base}/set-tag", "write", doors.set_tag),
        Route("DELETE", f"{base}/delete-tag", "write", doors.delete_tag),
    ]


@dataclass(frozen=True, slots=True)
class _Doors:
    store: Store

    def create(self, request: Request) -> Response:
        """`POST model-versions/create`"""
        message = asked(request, Create)
        needed(name=message.name, source=message.source)
        made = make_version(
            self.store,
            project_id=request.project,
            model=message.name,
            source=message.source,
            author=request.principal.name,
            run_id=message.run_id,
            model_id=message.model_id,
            run_link=message.run_link or None,
            description=message.description,
            tags=tags_of(message.tags),
        )
        return self._told(request.project, made.model, made.number)

    def get(self, request: Request) -> Response:
        """`GET model-versions/get`"""
        message = asked(request, Named)
        needed(name=message.name)
        return self._told(request.project, message.name, number_of(message.version))

    def update(self, request: Request) -> Response:
        """`PATCH model-versions/update`"""
        message = asked(request, Update)
        needed(name=message.name)
        number = number_of(message.version)
        models.describe_version(
            self.store, request.project, message.name, number, message.description, actor=request.principal.name
        )
        return self._told(request.project, message.name, number)

    def transition(self, request: Request) -> Response:
        """`POST model-versions/transition-stage`"""
        message = asked(request, Transition)
        needed(name=message.name, stage=message.stage)
        number = number_of(message.version)
        governance.set_stage(
            self.store,
            project_id=request.project,
            model=message.name,
            number=number,
            stage=message.stage,
            archive_existing=message.archive_existing_versions,
            actor=request.principal.name,
        )
        return self._told(request.project, message.name, number)

    def delete(self, request: Request) -> Response:
        """`DELETE model-versions/delete`"""
        message = asked(request, Named)
        needed(name=message.name)
        from boucle.loop import rollout  # loads NumPy: a sixth of the server's start

        by = rollout.By(project_id=request.project, actor=request.principal.name)
        rollout.delete_version(self.store, by, message.name, number_of(message.version))
        return EMPTY

    def download_uri(self, request: Request) -> Response:
        """`GET model-versions/get-download-uri`: the frozen files, or the source of what is kept elsewhere."""
        message = asked(request, Named)
        needed(name=message.name)
        version = models.get_version(self.store, request.project, message.name, number_of(message.version))
        elsewhere = version.source is not None and is_elsewhere(version.source)
        return reply({"artifact_uri": version.source if elsewhere else place_of(version.model, version.number)})

    def search(self, request: Request) -> Response:
        """`GET model-versions/search`"""
        message = asked(request, Search)

        def ask(conn: Connection) -> dict[str, object]:
            page = search_versions(
                conn,
                request.project,
                filter_text=message.filter,
                order_by=message.order_by,
                max_results=message.max_results or 10_000,
                page_token=message.page_token or None,
            )
            found = [version_message(one) for one in models.version_facts(conn, page.items)]
            more = {} if page.token is None else {"next_page_token": page.token}
            return {**({"model_versions": found} if found else {}), **more}

        return reply(self.store.read(ask))

    def set_tag(self, request: Request) -> Response:
        """`POST model-versions/set-tag`"""
        return self._tag(request, asked(request, Tag).value)

    def delete_tag(self, request: Request) -> Response:
        """`DELETE model-versions/delete-tag`"""
        return self._tag(request, None)

    def _tag(self, request: Request, value: str | None) -> Response:
        message = asked(request, Tag)
        needed(name=message.name, key=message.key)
        number = number_of(message.version)
        models.tag_version(
            self.store, request.project, message.name, number, message.key, value, actor=request.principal.name
        )
        return EMPTY

    def _told(self, project_id: str, name: str, number: int) -> Response:
        version = models.get_version(self.store, project_id, name, number)
        facts = self.store.read(lambda conn: models.version_facts(conn, [version]))
        return reply({"model_version": version_message(facts[0])})
