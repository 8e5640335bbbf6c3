"""Many models in one worker: loaded when they are asked, let go when memory is short."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from boucle.kernel.clock import SystemClock
from boucle.kernel.store import Store
from boucle.serving.board import Board
from boucle.serving.deploy import deploy
from boucle.serving.endpoint import Endpoint
from boucle.serving.endpoints import Endpoints
from boucle.serving.lineup import FollowingSwitch
from boucle.serving.models import Models
from boucle.serving.question import Question
from boucle.serving.supervisor import Supervisor
from boucle.serving.traffic import read_ack, serving_root

Deploy = Callable[..., Any]
NAMES = [f"model-{number}" for number in range(6)]


class Server:
    """A server's two halves in one process."""

    def __init__(self, store: Store, names: list[str], *, workers: int = 1, most_bytes: int | None = None) -> None:
        board = Board.make(names, workers)
        self.supervisor = Supervisor(store.home, names, board)
        self.models = [Models(serving_root(store.home), most_bytes=most_bytes) for _ in range(workers)]
        self.workers = [
            Endpoints(
                Endpoint(
                    store.home,
                    name,
                    clock=SystemClock(),
                    models=models,
                    following=FollowingSwitch(board.of(name), number, models, lazy=len(names) > 1),
                )
                for name in names
            )
            for number, models in enumerate(self.models)
        ]

    def look(self) -> None:
        self.supervisor.look()
        for worker in self.workers:
            for endpoint in worker.stale():
                endpoint.refresh()
        self.supervisor.look()

    def ask(self, name: str, worker: int = 0) -> tuple[int, float]:
        question = Question({"carrier": ["AA"], "temp": [80.0]})
        answer = asyncio.run(self.workers[worker].get(name).ask(question))
        return answer.number, float(answer.outputs["probability"][0])


@pytest.fixture
def many(store: Store, deployer: Deploy) -> Store:
    """An endpoint for each name, with a model of its own."""
    for number, name in enumerate(NAMES):
        digest = deployer.keep(float(number))  # type: ignore[attr-defined]
        deploy(store, project_id="flights", number=1, bundle_digest=digest, endpoint=name, model="flights")
    return store


def test_a_model_is_loaded_when_it_is_first_asked(many: Store, bundles: ModuleType) -> None:
    server = Server(many, NAMES)
    server.look()
    assert server.workers[0].is_ready
    assert server.models[0].loaded() == []
    assert server.workers[0].get("model-2").signature().key == "flight_id", "known without loading the model"
    for number in (3, 1):
        assert server.ask(f"model-{number}")[1] == pytest.approx(bundles.probability("AA", 80.0, float(number)))
    assert [one.deployment.path for one in server.models[0].loaded()] == [
        server.workers[0].get(f"model-{number}").current().champion.deployment.path for number in (3, 1)
    ]


def test_what_was_not_asked_for_longest_is_let_go(many: Store, bundles: ModuleType) -> None:
    probe = Server(many, NAMES)
    probe.look()
    probe.ask("model-0")
    size = probe.models[0].loaded()[0].size_bytes
    server = Server(many, NAMES, most_bytes=3 * size + size // 2)
    server.look()
    for number in (0, 1, 2, 0, 3, 0, 4, 5, 0):
        assert server.ask(f"model-{number}")[1] == pytest.approx(bundles.probability("AA", 80.0, float(number)))
        assert sum(one.size_bytes for one in server.models[0].loaded()) <= 3 * size + size // 2
    kept = {one.deployment.path for one in server.models[0].loaded()}
    assert server.workers[0].get("model-0").current().champion.deployment.path in kept
    assert server.models[0].evicted == 3


def test_a_model_that_is_larger_than_the_bound_is_loaded_alone(many: Store) -> None:
    server = Server(many, NAMES, most_bytes=1)
    server.look()
    for name in NAMES:
        server.ask(name)
        assert len(server.models[0].loaded()) == 1


def test_an_endpoint_that_is_closed_holds_no_model(many: Store) -> None:
    server = Server(many, NAMES)
    server.look()
    server.ask("model-1")
    predictor = weakref.ref(server.models[0].loaded()[0].predictor)
    endpoint = server.workers[0].remove("model-1")
    gc.disable()  # what waits for the collector waits long in a worker
    try:
        endpoint.close()
        assert predictor() is None
    finally:
        gc.enable()
    assert not endpoint.is_ready


def test_no_worker_switches_before_all_are_ready(store: Store, deployer: Deploy) -> None:
    deployer(1)
    server = Server(store, ["flights"], workers=2)
    server.look()
    assert [server.ask("flights", worker)[0] for worker in (0, 1)] == [1, 1]
    deployer(2, lift=1.0)
    server.supervisor.look()
    server.workers[0].get("flights").refresh()
    server.supervisor.look()
    assert [server.ask("flights", worker)[0] for worker in (0, 1)] == [1, 1]
    server.workers[1].get("flights").refresh()
    assert [server.ask("flights", worker)[0] for worker in (0, 1)] == [1, 1]
    server.supervisor.look()
    assert [server.ask("flights", worker)[0] for worker in (0, 1)] == [2, 2]


def test_what_one_worker_cannot_load_no_worker_answers_with(store: Store, deployer: Deploy) -> None:
    deployer(1)
    server = Server(store, ["flights"], workers=2)
    server.look()
    traffic = deployer(2, lift=1.0)
    server.supervisor.look()
    server.workers[0].get("flights").refresh()
    (serving_root(store.home) / traffic.champion.path / "model.treelite").unlink()
    server.workers[1].get("flights").refresh()
    server.supervisor.look()
    assert [server.ask("flights", worker)[0] for worker in (0, 1)] == [1, 1]
    ack = read_ack(store.home, "flights")
    assert ack is not None
    assert ack.generation == 2
    assert "version 2 should be the bundle" in (ack.error or "")
    deployer(3, lift=2.0)
    server.look()
    assert [server.ask("flights", worker)[0] for worker in (0, 1)] == [3, 3]


def test_a_server_that_starts_with_what_was_refused_answers_with_the_champion_before(
    store: Store, deployer: Deploy
) -> None:
    deployer(1)
    for number in (2, 3):
        traffic = deployer(number, lift=float(number))
        (serving_root(store.home) / traffic.champion.path / "model.treelite").unlink()
    server = Server(store, ["flights"], workers=2)
    for _ in range(3):
        server.look()
    assert [server.ask("flights", worker)[0] for worker in (0, 1)] == [1, 1]
    assert server.supervisor.answering == ["flights"]
    assert not server.supervisor.problems
    ack = read_ack(store.home, "flights")
    assert ack is not None
    assert (ack.generation, len(ack.workers)) == (3, 2)
    assert "version 3 should be the bundle" in (ack.error or "")
    deployer(4, lift=4.0)
    server.look()
    assert server.ask("flights")[0] == 4
    ack = read_ack(store.home, "flights")
    assert ack is not None
    assert ack.error is None


def test_a_worker_that_is_started_anew_joins_what_is_in_charge(store: Store, deployer: Deploy) -> None:
    deployer(1)
    server = Server(store, ["flights"], workers=2)
    server.look()
    traffic = deployer(2, lift=1.0)
    (serving_root(store.home) / traffic.champion.path / "model.treelite").unlink()
    server.look()
    board = server.supervisor.board
    board.restart(1)
    models = Models(serving_root(store.home))
    again = Endpoint(
        store.home,
        "flights",
        clock=SystemClock(),
        models=models,
        following=FollowingSwitch(board.of("flights"), 1, models, lazy=False),
    )
    again.refresh()
    assert again.current().champion.number == 1, "version 2 is wanted, and nobody can load it"
