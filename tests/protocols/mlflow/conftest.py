"""A store, and MLflow's doors to it called as the front calls them."""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from boucle.identity.http import Request, Response
from boucle.kernel.errors import BoucleError
from boucle.kernel.store import Store
from boucle.protocols.mlflow import experiments, inputs, log, metrics, runs, search
from boucle.protocols.mlflow.errors import refuse
from boucle.runs.inbox import Inbox


class Doors:
    """Calls handlers with requests, without a server; what they raise becomes what a client sees."""

    def __init__(self, store: Store, project: str = "p") -> None:
        self.store = store
        self.project = project
        inbox = Inbox(store)
        found = [*experiments.routes(store), *runs.routes(store, inbox), *metrics.routes(store), *inputs.routes(store)]
        found += [*search.routes(store), *log.routes(inbox)]
        self._routes = {(route.method, route.path): route for route in found}

    def post(self, path: str, message: object = None, *, raw: bytes | None = None) -> tuple[int, dict[str, Any]]:
        """The status and the answer of a POST."""
        body = json.dumps(message).encode() if raw is None else raw
        return self._call("POST", path, body=body)

    def get(self, path: str, **query: object) -> tuple[int, dict[str, Any]]:
        """The status and the answer of a GET."""
        return self._call("GET", path, query=urlencode(query, doseq=True))

    def made(self, path: str, message: object) -> dict[str, Any]:
        """The answer of a POST that must succeed."""
        status, answer = self.post(path, message)
        assert status == 200, answer
        return answer

    def asked(self, path: str, **query: object) -> dict[str, Any]:
        """The answer of a GET that must succeed."""
        status, answer = self.get(path, **query)
        assert status == 200, answer
        return answer

    def run(self, **fields: object) -> dict[str, Any]:
        """A new run."""
        return dict(self.made("runs/create", fields)["run"])

    def seen(self, run_id: str) -> dict[str, Any]:
        """A run as it is now."""
        return dict(self.asked("runs/get", run_id=run_id)["run"])

    def _call(self, method: str, path: str, *, body: bytes = b"", query: str = "") -> tuple[int, dict[str, Any]]:
        route = self._routes[method, f"/mlflow/{path}"]

        request = Request(method, path, query=query, body=body, project=self.project)
        try:
            answer = route.handler(request)
            if inspect.isawaitable(answer):
                answer = asyncio.run(_awaited(answer))
        except BoucleError as error:
            answer = refuse(error)
        return answer.status, json.loads(answer.body)


async def _awaited(answer: Awaitable[Response]) -> Response:
    return await answer


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def doors(store: Store) -> Doors:
    return Doors(store)
