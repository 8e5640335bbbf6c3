"""MLflow's routes of registered models, their tags and aliases. What moves a pointer goes through `governance`."""

from dataclasses import dataclass

from msgspec import Struct
from sqlalchemy import Connection

from boucle.governance import api as governance
from boucle.identity.http import Request, Response, Route
from boucle.kernel.errors import InvalidInput
from boucle.kernel.store import Store
from boucle.models import api as models
from boucle.models import names
from boucle.models.records import ModelFacts, RegisteredModel
from boucle.models.search import search_models
from boucle.models.sources import find_named
from boucle.protocols.mlflow.errors import EMPTY, reply
from boucle.protocols.mlflow.messages import KeyValue, asked
from boucle.protocols.mlflow.registered import Search, model_message, needed, number_of, tags_of, version_message


class Create(Struct, frozen=True):
    """Fields of `registered-models/create`."""

    name: str = ""
    description: str | None = None
    tags: list[KeyValue] = []


class Named(Struct, frozen=True):
    """Fields of `registered-models/get` and `delete`."""

    name: str = ""


class Rename(Struct, frozen=True):
    """Fields of `registered-models/rename`."""

    name: str = ""
    new_name: str = ""


class Update(Struct, frozen=True):
    """Fields of `registered-models/update`."""

    name: str = ""
    description: str | None = None


class Latest(Struct, frozen=True):
    """Fields of `registered-models/get-latest-versions`."""

    name: str = ""
    stages: list[str] = []


class Tag(Struct, frozen=True):
    """Fields of `registered-models/set-tag` and `delete-tag`."""

    name: str = ""
    key: str = ""
    value: str = ""


class AliasOf(Struct, frozen=True):
    """Fields of `registered-models/alias`."""

    name: str = ""
    alias: str = ""
    version: str = ""


def routes(store: Store) -> list[Route]:
    """The routes behind MLflow's prefixes."""
    doors = _Doors(store)
    base = "/mlflow/registered-models"
    return [
        Route("POST", f"{base}/create", "write", doors.create),
        Route("GET", f"{base}/get", "read", doors.get),
        Route("PATCH", f"{base}/update", "write", doors.update),
        Route("POST", f"{base}/rename", "write", doors.give_name),
        Route("DELETE", f"{base}/delete", "write", doors.delete),
        Route("GET", f"{base}/search", "read", doors.search),
        Route("GET", f"{base}/get-latest-versions", "read", doors.latest),
        Route("POST", f"{base}/get-latest-versions", "read", doors.latest),
        Route("POST", f"{base}/set-tag", "write", doors.set_tag),
        Route("DELETE", f"{base}/delete-tag", "write", doors.delete_tag),
        Route("POST", f"{base}/alias", "write", doors.set_alias),
        Route("DELETE", f"{base}/alias", "write", doors.delete_alias),
        Route("GET", f"{base}/alias", "read", doors.by_alias),
    ]


@dataclass(frozen=True, slots=True)
class _Doors:
    store: Store

    def create(self, request: Request) -> Response:
        """`POST registered-models/create`"""
        message = asked(request, Create)
        needed(name=message.name)
        made = models.create_model(
            self.store,
            project_id=request.project,
            name=message.name,
            author=request.principal.name,
            description=message.description,
            tags=tags_of(message.tags),
        )
        return self._answer(made)

    def get(self, request: Request) -> Response:
        """`GET registered-models/get`"""
        return self._told(request, asked(request, Named).name)

    def update(self, request: Request) -> Response:
        """`PATCH registered-models/update`"""
        message = asked(request, Update)
        needed(name=message.name)
        models.describe_model(
            self.store, request.project, message.name, message.description, actor=request.principal.name
        )
        return self._told(request, message.name)

    def give_name(self, request: Request) -> Response:
        """`POST registered-models/rename`"""
        message = asked(request, Rename)
        needed(name=message.name, new_name=message.new_name.strip())
        from boucle.loop import rollout  # loads NumPy: a sixth of the server's start

        by = rollout.By(project_id=request.project, actor=request.principal.name)
        rollout.rename_model(self.store, by, message.name, message.new_name)
        return self._told(request, message.new_name)

    def delete(self, request: Request) -> Response:
        """`DELETE registered-models/delete`"""
        message = asked(request, Named)
        needed(name=message.name)
        from boucle.loop import rollout  # loads NumPy: a sixth of the server's start

        by = rollout.By(project_id=request.project, actor=request.principal.name)
        rollout.delete_model(self.store, by, message.name)
        return EMPTY

    def latest(self, request: Request) -> Response:
        """`GET` and `POST registered-models/get-latest-versions`"""
        message = asked(request, Latest)
        needed(name=message.name)
        stages = {names.stage_of(stage) for stage in message.stages}
        facts = self._facts(models.get_model(self.store, request.project, message.name))
        found = [version_message(one) for one in facts.latest if not stages or one.version.stage in stages]
        return reply({"model_versions": found} if found else {})

    def search(self, request: Request) -> Response:
        """`GET registered-models/search`"""
        message = asked(request, Search)

        def ask(conn: Connection) -> dict[str, object]:
            page = search_models(
                conn,
                request.project,
                filter_text=message.filter,
                order_by=message.order_by,
                max_results=message.max_results or 100,
                page_token=message.page_token or None,
            )
            found = [model_message(one) for one in models.model_facts(conn, page.items)]
            more = {} if page.token is None else {"next_page_token": page.token}
            return {**({"registered_models": found} if found else {}), **more}

        return reply(self.store.read(ask))

    def set_tag(self, request: Request) -> Response:
        """`POST registered-models/set-tag`"""
        return self._tag(request, asked(request, Tag).value)

    def delete_tag(self, request: Request) -> Response:
        """`DELETE registered-models/delete-tag`"""
        return self._tag(request, None)

    def set_alias(self, request: Request) -> Response:
        """`POST registered-models/alias`"""
        message = asked(request, AliasOf)
        needed(name=message.name, alias=message.alias, version=message.version)
        governance.set_alias(
            self.store,
            project_id=request.project,
            model=message.name,
            alias=message.alias,
            number=number_of(message.version),
            actor=request.principal.name,
            reason=_why(request.principal.name),
        )
        return EMPTY

    def delete_alias(self, request: Request) -> Response:
        """`DELETE registered-models/alias`"""
        message = asked(request, AliasOf)
        needed(name=message.name, alias=message.alias)
        governance.delete_alias(
            self.store,
            project_id=request.project,
            model=message.name,
            alias=message.alias,
            actor=request.principal.name,
            reason=_why(request.principal.name, what="taken away"),
        )
        return EMPTY

    def by_alias(self, request: Request) -> Response:
        """`GET registered-models/alias`"""
        message = asked(request, AliasOf)
        needed(name=message.name, alias=message.alias)
        names.check_alias(message.alias)
        last = message.alias.lower() == "latest"
        path = f"{message.name}/latest" if last else f"{message.name}@{message.alias}"
        version = find_named(self.store, request.project, path)
        if version is None:
            raise InvalidInput(f"Registered model alias {message.alias} not found.")
        facts = self.store.read(lambda conn: models.version_facts(conn, [version]))
        return reply({"model_version": version_message(facts[0])})

    def _tag(self, request: Request, value: str | None) -> Response:
        message = asked(request, Tag)
        needed(name=message.name, key=message.key)
        models.tag_model(self.store, request.project, message.name, message.key, value, actor=request.principal.name)
        return EMPTY

    def _told(self, request: Request, name: str) -> Response:
        needed(name=name)
        return self._answer(models.get_model(self.store, request.project, name))

    def _answer(self, model: RegisteredModel) -> Response:
        return reply({"registered_model": model_message(self._facts(model))})

    def _facts(self, model: RegisteredModel) -> ModelFacts:
        return self.store.read(lambda conn: models.model_facts(conn, [model]))[0]


def _why(actor: str, what: str = "set") -> str:
    """What the history of an alias says of a move by a client, whose protocol has no field for a reason."""
    return f"{what} by {actor} through MLflow"
