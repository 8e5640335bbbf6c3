"""Runs and the registry against a model of them in Python: random calls in random order, then compared."""

import math
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
import pytest
from held_ports import free_port
from hypothesis.stateful import run_state_machine_as_test

from boucle.governance import api as governance
from boucle.kernel.errors import BoucleError
from boucle.kernel.store import Store
from boucle.models import api as models
from boucle.models.sources import make_version
from boucle.protocols.mlflow.errors import refuse
from boucle.runs import batch, history, lifecycle
from boucle.runs.experiments import DEFAULT
from boucle.runs.inbox import Inbox
from boucle.runs.search.runs import search_runs
from boucle.runs.views import load_views

from . import servers
from .asking import Asker
from .machine import FEW, MANY, Data, Machine, NotDoneError, World

pytestmark = pytest.mark.slow

T = TypeVar("T")
PROJECTS = count()


class Served:
    """By the MLflow protocol, at a server."""

    def __init__(self, url: str) -> None:
        self._ask = Asker(url, f"/p/machine-{next(PROJECTS)}")
        self.close = self._ask.close

    def begin_run(self) -> str:
        made = self._call("POST", "runs/create", {"experiment_id": "0", "start_time": 5})
        return str(made["run"]["info"]["run_id"])

    def log_metric(self, run: str, name: str, value: float, step: int, at: int) -> None:
        body = {"run_id": run, "key": name, "value": written(value), "step": step, "timestamp": at}
        self._call("POST", "runs/log-metric", body)

    def log_batch(self, run: str, points: list[tuple[str, int]], tags: dict[str, str]) -> None:
        metrics = [{"key": name, "value": n, "step": n, "timestamp": 1} for name, n in points]
        pairs = [{"key": name, "value": value} for name, value in tags.items()]
        self._call("POST", "runs/log-batch", {"run_id": run, "metrics": metrics, "tags": pairs})

    def log_param(self, run: str, name: str, value: str) -> None:
        self._call("POST", "runs/log-parameter", {"run_id": run, "key": name, "value": value})

    def delete_tag(self, run: str, name: str) -> None:
        self._call("POST", "runs/delete-tag", {"run_id": run, "key": name})

    def delete_run(self, run: str) -> None:
        self._call("POST", "runs/delete", {"run_id": run})

    def restore_run(self, run: str) -> None:
        self._call("POST", "runs/restore", {"run_id": run})

    def read_run(self, run: str) -> Data:
        data = self._call("GET", f"runs/get?run_id={run}")["run"]["data"]
        return Data(
            *({one["key"]: one["value"] for one in data.get(kind, [])} for kind in ("params", "tags", "metrics"))
        )

    def history(self, run: str, name: str) -> list[tuple[int, int, float]]:
        found = self._call("GET", f"metrics/get-history?run_id={run}&metric_key={quote(name, safe='')}")
        return [(one["step"], one["timestamp"], one["value"]) for one in found.get("metrics", [])]

    def search(self, filter_text: str = "", *, deleted: bool = False) -> list[str]:
        view = "DELETED_ONLY" if deleted else "ACTIVE_ONLY"
        body = {"experiment_ids": ["0"], "filter": filter_text, "run_view_type": view, "max_results": 1000}
        return [one["info"]["run_id"] for one in self._call("POST", "runs/search", body).get("runs", [])]

    def create_model(self, name: str) -> None:
        self._call("POST", "registered-models/create", {"name": name})

    def create_version(self, name: str, run: str) -> int:
        body = {"name": name, "source": f"mlflow-artifacts:/0/{run}/artifacts", "run_id": run}
        return int(self._call("POST", "model-versions/create", body)["model_version"]["version"])

    def delete_version(self, name: str, number: int) -> None:
        self._call("DELETE", "model-versions/delete", {"name": name, "version": str(number)})

    def set_alias(self, name: str, alias: str, number: int) -> None:
        self._call("POST", "registered-models/alias", {"name": name, "alias": alias, "version": str(number)})

    def set_stage(self, name: str, number: int, stage: str, *, archive: bool) -> None:
        body = {"name": name, "version": str(number), "stage": stage, "archive_existing_versions": archive}
        self._call("POST", "model-versions/transition-stage", body)

    def delete_model(self, name: str) -> None:
        self._call("DELETE", "registered-models/delete", {"name": name})

    def aliases(self, name: str) -> dict[str, int]:
        found = self._call("GET", f"registered-models/get?name={name}")["registered_model"]
        return {one["alias"]: int(one["version"]) for one in found.get("aliases", [])}

    def stages(self, name: str) -> dict[int, str]:
        found = self._call("GET", f"model-versions/search?filter=name%3D'{name}'&max_results=1000")
        return {int(one["version"]): one["current_stage"] for one in found.get("model_versions", [])}

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._ask.mlflow(method, path, body)
        if answer.error_code is not None:
            raise NotDoneError(answer.error_code)
        assert answer.status == 200, answer
        return answer.body


class Stored:
    """On an open store, by the functions that the doors call."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._project = f"machine-{next(PROJECTS)}"
        self._inbox = Inbox(store)

    def close(self) -> None:
        """The store stays open for the next."""

    def begin_run(self) -> str:
        return self._store.write(lifecycle.creation(self._store, self._project, started_ms=5)).id

    def log_metric(self, run: str, name: str, value: float, step: int, at: int) -> None:
        self._log(run, points=[batch.point(name, value, step, at)])

    def log_batch(self, run: str, points: list[tuple[str, int]], tags: dict[str, str]) -> None:
        made = [batch.point(name, float(n), n, 1) for name, n in points]
        self._log(run, points=made, tags=[batch.tag(name, value) for name, value in tags.items()])

    def log_param(self, run: str, name: str, value: str) -> None:
        self._log(run, params=[batch.param(name, value)])

    def delete_tag(self, run: str, name: str) -> None:
        self._do(lambda: lifecycle.delete_tag(self._store, self._project, run, name))

    def delete_run(self, run: str) -> None:
        self._do(lambda: lifecycle.delete_run(self._store, self._project, run))

    def restore_run(self, run: str) -> None:
        self._do(lambda: lifecycle.restore_run(self._store, self._project, run))

    def read_run(self, run: str) -> Data:
        found = self._do(lambda: lifecycle.get_run(self._store, self._project, run))
        return Data(dict(found.params), dict(found.tags), {one.name: one.value for one in found.metrics})

    def history(self, run: str, name: str) -> list[tuple[int, int, float]]:
        found = self._do(lambda: history.history(self._store, self._project, run, name))
        return [(step, at, math.nan if value is None else value) for step, at, value in found.points]

    def search(self, filter_text: str = "", *, deleted: bool = False) -> list[str]:
        def ask(conn: Any) -> list[str]:
            page = search_runs(
                conn, self._project, [DEFAULT], filter_text=filter_text, view="deleted" if deleted else "active"
            )
            return [one.id for one in load_views(conn, page.items)]

        return self._store.read(ask)

    def create_model(self, name: str) -> None:
        self._do(lambda: models.create_model(self._store, project_id=self._project, name=name, author="person:ada"))

    def create_version(self, name: str, run: str) -> int:
        source = f"mlflow-artifacts:/0/{run}/artifacts"
        made = self._do(
            lambda: make_version(
                self._store, project_id=self._project, model=name, source=source, author="person:ada", run_id=run
            )
        )
        return made.number

    def delete_version(self, name: str, number: int) -> None:
        self._do(lambda: governance.delete_version(self._store, **self._who(name), number=number))

    def set_alias(self, name: str, alias: str, number: int) -> None:
        self._do(lambda: governance.set_alias(self._store, **self._who(name), alias=alias, number=number))

    def set_stage(self, name: str, number: int, stage: str, *, archive: bool) -> None:
        self._do(
            lambda: governance.set_stage(
                self._store, **self._who(name), number=number, stage=stage, archive_existing=archive
            )
        )

    def delete_model(self, name: str) -> None:
        self._do(lambda: governance.delete_model(self._store, **self._who(name)))

    def aliases(self, name: str) -> dict[str, int]:
        model = self._do(lambda: models.get_model(self._store, self._project, name))
        (facts,) = self._store.read(lambda conn: models.model_facts(conn, [model]))
        return dict(facts.aliases)

    def stages(self, name: str) -> dict[int, str]:
        return {one.number: one.stage for one in models.list_versions(self._store, self._project, name)}

    def _who(self, model: str) -> Any:
        return {"project_id": self._project, "model": model, "actor": "person:ada"}

    def _log(self, run: str, **logged: Any) -> None:
        self._do(lambda: self._inbox.log_now([batch.Batch(project_id=self._project, run_id=run, **logged)]))

    def _do(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except BoucleError as error:
            raise NotDoneError(msgspec.json.decode(refuse(error).body)["error_code"]) from error


def written(value: float) -> float | str:
    """A number as MLflow's client sends it."""
    return value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def driven(make: Callable[[], World]) -> type[Machine]:
    """The machine over worlds of one kind."""
    return type("Driven", (Machine,), {"make": lambda _: make()})


@pytest.fixture(scope="module")
def over_http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[Machine]]:
    folder: Path = tmp_path_factory.mktemp("machine")
    port = free_port()
    with servers.running(servers.boucle_command(folder, port), port, folder) as server:
        yield driven(lambda: Served(server.url))


@pytest.fixture(scope="module")
def on_the_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[Machine]]:
    with Store.open(tmp_path_factory.mktemp("machine") / "home") as store:
        yield driven(lambda: Stored(store))


def test_runs_and_registry_do_what_a_model_of_them_does(over_http: type[Machine]) -> None:
    run_state_machine_as_test(over_http, settings=FEW)  # type: ignore[no-untyped-call]


def test_they_do_so_on_the_store_itself(on_the_store: type[Machine]) -> None:
    run_state_machine_as_test(on_the_store, settings=FEW)  # type: ignore[no-untyped-call]


@pytest.mark.long
def test_they_do_so_in_many_more_orders(over_http: type[Machine]) -> None:
    run_state_machine_as_test(over_http, settings=MANY)  # type: ignore[no-untyped-call]


@pytest.mark.long
def test_they_do_so_on_the_store_in_many_more_orders(on_the_store: type[Machine]) -> None:
    run_state_machine_as_test(on_the_store, settings=MANY)  # type: ignore[no-untyped-call]
