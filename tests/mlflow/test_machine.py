"""Runs and the registry over HTTP against a model of them in Python: random calls in random order, then compared."""

import math
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from . import servers
from .asking import Answer, Asker

pytestmark = pytest.mark.slow

FEW = settings(max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=300, stateful_step_count=50)
NAMES = st.sampled_from(["a", "b", "c/d", "e f"])
TEXTS = st.sampled_from(["", "x", "y", "é"])
NUMBERS = st.integers(-3, 3).map(float) | st.sampled_from([0.5, math.nan, math.inf, -math.inf])
MODELS = st.sampled_from(["one", "two"])
ALIASES = st.sampled_from(["first", "second"])
PROJECTS = count()
LARGEST = 1.7976931348623157e308


class Machine(RuleBasedStateMachine):
    """Each example has a project of its own on one server."""

    url = ""
    runs = Bundle("runs")
    deleted = Bundle("deleted")

    def __init__(self) -> None:
        super().__init__()
        self.ask = Asker(self.url, f"/p/machine-{next(PROJECTS)}")
        self.points: dict[str, dict[str, set[tuple[int, int, str]]]] = {}
        self.params: dict[str, dict[str, str]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.gone: set[str] = set()
        self.models: dict[str, dict[int, str]] = {}
        self.numbers: dict[str, int] = {}
        self.aliases: dict[str, dict[str, int]] = {}

    def teardown(self) -> None:
        self.ask.close()

    def call(self, method: str, path: str, body: Any = None, error: str | None = None) -> Any:
        """Ask and expect success, or an error of this code."""
        answer = self.ask.mlflow(method, path, body)
        expect(answer, error)
        return answer.body

    @rule(target=runs)
    def a_run_begins(self) -> Any:
        made = self.call("POST", "runs/create", {"experiment_id": "0", "start_time": 5})
        run = made["run"]["info"]["run_id"]
        self.points[run], self.params[run], self.tags[run] = {}, {}, {}
        return multiple(run)

    @rule(run=runs, name=NAMES, value=NUMBERS, step=st.integers(-2, 4), at=st.integers(0, 2))
    def a_metric_is_logged(self, run: str, name: str, value: float, step: int, at: int) -> None:
        body = {"run_id": run, "key": name, "value": written(value), "step": step, "timestamp": at}
        self.call("POST", "runs/log-metric", body)
        self.points[run].setdefault(name, set()).add((step, at, kept(value)))

    @rule(run=runs, names=st.lists(NAMES, max_size=3), value=TEXTS)
    def a_batch_is_logged(self, run: str, names: list[str], value: str) -> None:
        points = [{"key": name, "value": n, "step": n, "timestamp": 1} for n, name in enumerate(names)]
        tags = [{"key": name, "value": value} for name in dict.fromkeys(names)]
        self.call("POST", "runs/log-batch", {"run_id": run, "metrics": points, "tags": tags})
        for n, name in enumerate(names):
            self.points[run].setdefault(name, set()).add((n, 1, kept(float(n))))
            self.tags[run][name] = value

    @rule(run=runs, name=NAMES, value=TEXTS)
    def a_param_is_logged_once(self, run: str, name: str, value: str) -> None:
        changes = self.params[run].get(name, value) != value
        body = {"run_id": run, "key": name, "value": value}
        self.call("POST", "runs/log-parameter", body, "INVALID_PARAMETER_VALUE" if changes else None)
        self.params[run].setdefault(name, value)

    @rule(run=runs, name=NAMES)
    def a_tag_is_removed(self, run: str, name: str) -> None:
        missing = None if name in self.tags[run] else "RESOURCE_DOES_NOT_EXIST"
        self.call("POST", "runs/delete-tag", {"run_id": run, "key": name}, missing)
        self.tags[run].pop(name, None)

    @rule(target=deleted, run=consumes(runs))
    def a_run_is_deleted(self, run: str) -> str:
        self.call("POST", "runs/delete", {"run_id": run})
        self.call("POST", "runs/log-parameter", {"run_id": run, "key": "k", "value": "v"}, "INVALID_PARAMETER_VALUE")
        self.gone.add(run)
        return run

    @rule(target=runs, run=consumes(deleted))
    def a_run_is_restored(self, run: str) -> str:
        self.call("POST", "runs/restore", {"run_id": run})
        self.gone.discard(run)
        return run

    @rule(run=runs)
    def a_run_is_read(self, run: str) -> None:
        data = self.call("GET", f"runs/get?run_id={run}")["run"]["data"]
        assert pairs(data.get("params")) == self.params[run]
        tags = pairs(data.get("tags"))
        assert {name: value for name, value in tags.items() if not name.startswith("mlflow.")} == self.tags[run]
        assert {name: kept(value) for name, value in pairs(data.get("metrics")).items()} == {
            name: max(points, key=order)[2] for name, points in self.points[run].items()
        }

    @rule(run=runs, name=NAMES)
    def a_history_is_read(self, run: str, name: str) -> None:
        path = f"metrics/get-history?run_id={run}&metric_key={name.replace(' ', '%20').replace('/', '%2F')}"
        found = self.call("GET", path).get("metrics", [])
        seen = [(one["step"], one["timestamp"], kept(one["value"])) for one in found]
        assert len(seen) == len(set(seen))
        assert set(seen) == self.points[run].get(name, set())

    @rule(name=NAMES, limit=st.integers(-3, 3))
    def runs_are_searched_by_a_metric(self, name: str, limit: int) -> None:
        body = {"experiment_ids": ["0"], "filter": f"metrics.`{name}` > {limit}", "max_results": 1000}
        found = {one["info"]["run_id"] for one in self.call("POST", "runs/search", body).get("runs", [])}
        newest = {run: max(kinds[name], key=order)[2] for run, kinds in self.points.items() if kinds.get(name)}
        wanted = {run for run, value in newest.items() if value != "NaN" and float(value) > limit}
        assert found == wanted - self.gone

    @invariant()
    def all_runs_are_found(self) -> None:
        for view, wanted in (("ACTIVE_ONLY", set(self.points) - self.gone), ("DELETED_ONLY", self.gone)):
            body = {"experiment_ids": ["0"], "run_view_type": view, "max_results": 1000}
            found = [one["info"]["run_id"] for one in self.call("POST", "runs/search", body).get("runs", [])]
            assert len(found) == len(set(found))
            assert set(found) == wanted

    @rule(name=MODELS)
    def a_model_is_made(self, name: str) -> None:
        taken = "RESOURCE_ALREADY_EXISTS" if name in self.models else None
        self.call("POST", "registered-models/create", {"name": name}, taken)
        self.models.setdefault(name, {})
        self.aliases.setdefault(name, {})

    @rule(name=MODELS, run=runs)
    def a_version_is_made(self, name: str, run: str) -> None:
        body = {"name": name, "source": f"mlflow-artifacts:/0/{run}/artifacts", "run_id": run}
        missing = None if name in self.models else "RESOURCE_DOES_NOT_EXIST"
        made = self.call("POST", "model-versions/create", body, missing)
        if not missing:
            number = int(made["model_version"]["version"])
            assert number > self.numbers.get(name, 0), "a number was used twice"
            self.numbers[name] = number
            self.models[name][number] = "None"

    @rule(name=MODELS, data=st.data())
    def a_version_is_deleted(self, name: str, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from([*self.models.get(name, {}), 99]))
        missing = None if number in self.models.get(name, {}) else "RESOURCE_DOES_NOT_EXIST"
        self.call("DELETE", "model-versions/delete", {"name": name, "version": str(number)}, missing)
        self.models.get(name, {}).pop(number, None)
        kept_aliases = {alias: one for alias, one in self.aliases.get(name, {}).items() if one != number}
        self.aliases[name] = kept_aliases

    @rule(name=MODELS, alias=ALIASES, data=st.data())
    def an_alias_moves(self, name: str, alias: str, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from([*self.models.get(name, {}), 99]))
        missing = None if number in self.models.get(name, {}) else "RESOURCE_DOES_NOT_EXIST"
        body = {"name": name, "alias": alias, "version": str(number)}
        self.call("POST", "registered-models/alias", body, missing)
        if not missing:
            self.aliases[name][alias] = number

    @rule(name=MODELS, stage=st.sampled_from(["None", "Staging", "Archived"]), archive=st.booleans(), data=st.data())
    def a_stage_changes(self, name: str, stage: str, archive: bool, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from([*self.models.get(name, {}), 99]))
        missing = None if number in self.models.get(name, {}) else "RESOURCE_DOES_NOT_EXIST"
        archive = archive and stage == "Staging"
        body = {"name": name, "version": str(number), "stage": stage, "archive_existing_versions": archive}
        self.call("POST", "model-versions/transition-stage", body, missing)
        if not missing:
            for other, at in self.models[name].items():
                if archive and at == stage and other != number:
                    self.models[name][other] = "Archived"
            self.models[name][number] = stage

    @rule(name=MODELS)
    def a_model_is_deleted(self, name: str) -> None:
        missing = None if name in self.models else "RESOURCE_DOES_NOT_EXIST"
        self.call("DELETE", "registered-models/delete", {"name": name}, missing)
        for kept_of in (self.models, self.aliases):
            kept_of.pop(name, None)
        # Numbers of a model that was deleted and made again are not compared: they need only be new.

    @rule(name=MODELS)
    def a_model_is_read(self, name: str) -> None:
        missing = None if name in self.models else "RESOURCE_DOES_NOT_EXIST"
        found = self.call("GET", f"registered-models/get?name={name}", error=missing)
        if missing:
            return
        aliases = {one["alias"]: int(one["version"]) for one in found["registered_model"].get("aliases", [])}
        assert aliases == self.aliases[name]
        query = f"model-versions/search?filter=name%3D'{name}'&max_results=1000"
        versions = self.call("GET", query).get("model_versions", [])
        assert {int(one["version"]): one["current_stage"] for one in versions} == self.models[name]


def expect(answer: Answer, error: str | None) -> None:
    """Success, or an error of this code."""
    assert answer.error_code == error, answer
    assert (answer.status == 200) == (error is None), answer


def written(value: float) -> float | str:
    """A number as MLflow's client sends it."""
    return value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def kept(value: float | str) -> str:
    """A number as it is kept, for comparison: infinity is the largest number."""
    number = float(value)
    return "NaN" if math.isnan(number) else repr(max(-LARGEST, min(LARGEST, number)))


def order(point: tuple[int, int, str]) -> tuple[int, int, float]:
    """The newest point is the largest of these; NaN is kept as 0."""
    step, at, value = point
    return step, at, 0.0 if value == "NaN" else float(value)


def pairs(rows: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Key and value."""
    return {one["key"]: one["value"] for one in rows or []}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[Machine]]:
    folder: Path = tmp_path_factory.mktemp("machine")
    port = servers.free_port()
    with servers.running(servers.boucle_command(folder, port), port, folder) as server:
        yield type("Served", (Machine,), {"url": server.url})


def test_runs_and_registry_do_what_a_model_of_them_does(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=FEW)  # type: ignore[no-untyped-call]


@pytest.mark.long
def test_they_do_so_in_many_more_orders(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=MANY)  # type: ignore[no-untyped-call]
