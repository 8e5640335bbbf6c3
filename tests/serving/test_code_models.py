"""A model that is served as the code it is has the bounds of any other, and a process of its own that may die."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import boucle
from boucle.kernel import trees
from boucle.kernel.errors import BoucleError, Busy, InvalidInput, Late, Refused, Unavailable
from boucle.kernel.store import Store
from boucle.kernel.trees import listing
from boucle.packaging.signing import new_key, public_pem, sign
from boucle.packaging.trust import Trust, signature_file
from boucle.serving import code_process
from boucle.serving.batching import Limits
from boucle.serving.code_process import CodePredictor
from boucle.serving.deploy import deploy
from boucle.serving.endpoint import Endpoint
from boucle.serving.models import Models
from boucle.serving.question import Question
from boucle.serving.traffic import read_traffic, serving_root

pytestmark = pytest.mark.slow
KEY = new_key()
TRUST = Trust(keys=[public_pem(KEY.public_key()).decode()], allow_code=True)
Deploy = Callable[..., Any]


@pytest.fixture
def unruly(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import unruly  # type: ignore[import-not-found]

    return unruly


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


@pytest.fixture
def placed(store: Store, tmp_path: Path, unruly: ModuleType, gate: Path) -> Path:
    """The bundle below the serving root, signed."""
    folder = tmp_path / "unruly"
    with pytest.warns(UserWarning, match="kept as it is"):
        boucle.bundle(unruly.Unruly(gate), sample=np.arange(6.0)[:, None], path=folder, keep_code=True)
    digest = trees.freeze(store.blobs, folder)
    deploy(store, project_id="unruly", number=1, bundle_digest=digest)
    placed = next(path for path in serving_root(store.home).rglob("boucle.json")).parent
    signature_file(placed).write_bytes(sign(placed.name, listing(placed), KEY))
    return placed


@pytest.fixture
def models(store: Store) -> Iterator[Models]:
    made = Models(serving_root(store.home), trust=TRUST)
    yield made
    made.close()


@pytest.fixture
def endpoint(store: Store, placed: Path, models: Models) -> Iterator[Endpoint]:
    del placed
    limits = Limits(patience_s=0.05, max_waiting=8)
    made = Endpoint(store.home, "unruly", clock=store.clock, models=models, limits=limits)
    assert made.refresh()
    yield made
    models.close()
    made.close()


def predictor(endpoint: Endpoint) -> CodePredictor:
    found = endpoint.current().champion.predictor
    assert isinstance(found, CodePredictor)
    return found


async def outcome(endpoint: Endpoint, value: float, deadline: float | None = None) -> Any:
    try:
        answer = await endpoint.ask(Question({"x0": [value]}, deadline=deadline))
    except BoucleError as error:
        return error
    return float(answer.outputs["value"][0])


async def until(true: Callable[[], object]) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def test_who_would_wait_too_long_is_turned_away(endpoint: Endpoint) -> None:
    async def ask() -> list[Any]:
        assert await outcome(endpoint, 1.0) == 2.0  # now it is known how long a row takes
        return await asyncio.gather(*(outcome(endpoint, float(value)) for value in range(30)))

    found = asyncio.run(ask())
    answered = [one for one in found if isinstance(one, float)]
    assert answered == [2.0 * value for value in range(len(answered))]
    assert 1 <= len(answered) <= 10
    turned_away = found[len(answered) :]
    assert all(isinstance(one, Busy) and one.retry_after_s for one in turned_away)


def test_a_deadline_ends_the_wait_for_code_that_computes_and_for_its_turn(
    endpoint: Endpoint, unruly: ModuleType, gate: Path
) -> None:
    async def ask() -> None:
        assert await outcome(endpoint, 1.0) == 2.0
        pid, began = predictor(endpoint).pid, endpoint.timer()
        late = await asyncio.gather(
            outcome(endpoint, unruly.WAITS, deadline=began + 0.2), outcome(endpoint, 3.0, deadline=began + 0.2)
        )
        assert all(isinstance(one, Late) for one in late)
        assert 0.2 <= endpoint.timer() - began < 2.0
        gate.touch()
        assert await outcome(endpoint, 4.0) == 8.0
        assert predictor(endpoint).pid == pid, "it may be slow once without being ended"

    asyncio.run(ask())


def test_what_computes_long_after_its_deadline_is_ended(
    endpoint: Endpoint, unruly: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_process, "GRACE_S", 0.1)

    async def ask() -> None:
        pid = predictor(endpoint).pid
        assert isinstance(await outcome(endpoint, unruly.WAITS, deadline=endpoint.timer() + 0.05), Late)
        await until(lambda: predictor(endpoint).pid not in (None, pid))
        assert await outcome(endpoint, 4.0) == 8.0

    asyncio.run(ask())


def test_the_loop_goes_on_while_code_computes(endpoint: Endpoint, unruly: ModuleType, gate: Path) -> None:
    async def ask() -> float:
        waiting = asyncio.ensure_future(outcome(endpoint, unruly.WAITS))
        for _ in range(5):
            await asyncio.sleep(0)  # the loop would stand still here if the model had it
        assert not waiting.done()
        gate.touch()
        return float(await waiting)

    assert asyncio.run(ask()) == -10.0


@pytest.mark.parametrize(("deed", "told"), [("EXITS", "exit 3"), ("SEGFAULTS", "signal SIGSEGV")])
def test_code_that_ends_its_process_is_told_and_started_again(
    endpoint: Endpoint, unruly: ModuleType, deed: str, told: str
) -> None:
    async def ask() -> None:
        endpoint.check()
        first = await outcome(endpoint, getattr(unruly, deed))
        assert (type(first), first.status) == (BoucleError, 500)
        assert first.message == f"the model of version 1 did not live to answer: its process ended: {told}"
        meanwhile = await outcome(endpoint, 1.0)
        assert isinstance(meanwhile, Unavailable)
        assert meanwhile.retry_after_s
        assert told in endpoint.problem("1")
        with pytest.raises(Unavailable, match="cannot be asked"):
            endpoint.check()
        await until(lambda: not endpoint.problem("1"))
        assert await outcome(endpoint, 1.0) == 2.0

    asyncio.run(ask())


def test_code_that_dies_while_it_is_loaded_is_told_and_tried_again_later(
    store: Store, endpoint: Endpoint, unruly: ModuleType, gate: Path
) -> None:
    doom = unruly.Unruly(gate).doom
    doom.touch()
    apart = Models(serving_root(store.home), trust=TRUST)
    with pytest.raises(Unavailable, match="its process ended while the model was loaded: exit 4"):
        apart.load(apart.of(read_traffic(store.home, "unruly").champion))

    async def ask() -> None:
        await outcome(endpoint, unruly.EXITS)
        await until(lambda: "while the model was loaded" in endpoint.problem("1"))
        doom.unlink()
        await until(lambda: not endpoint.problem("1"))
        assert await outcome(endpoint, 1.0) == 2.0

    asyncio.run(ask())


def test_loading_that_takes_too_long_ends_and_keeps_nobody(
    store: Store, placed: Path, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del placed
    monkeypatch.setattr(code_process, "START_S", 0.5)
    gate.with_name("slow").touch()
    models = Models(serving_root(store.home), trust=TRUST)
    model = models.of(read_traffic(store.home, "unruly").champion)
    with pytest.raises(Unavailable, match=r"was not loaded in 0.5 s"):
        models.load(model)
    assert model.predictor is None


def test_what_code_refuses_and_what_is_no_answer(endpoint: Endpoint, unruly: ModuleType) -> None:
    async def ask() -> None:
        refused = await outcome(endpoint, unruly.RAISES)
        assert isinstance(refused, InvalidInput)
        assert "no such thing" in refused.message
        short = await outcome(endpoint, unruly.SHORT)
        assert isinstance(short, BoucleError)
        assert await outcome(endpoint, float("1e300")) == 2e300

    asyncio.run(ask())


def test_its_process_ends_with_its_model(endpoint: Endpoint, models: Models) -> None:
    pid = predictor(endpoint).pid
    assert pid is not None
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500", "where memory is short it ends first"
    models.close()
    asyncio.run(until(lambda: not Path(f"/proc/{pid}").exists()))


@pytest.mark.parametrize("trust", [Trust(), Trust(allow_code=True), Trust(keys=TRUST.keys)])
def test_without_flag_and_key_no_process_is_started(
    store: Store, placed: Path, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    del placed
    monkeypatch.setattr(code_process, "CodeProcess", None)
    opened = Models(serving_root(store.home), trust=trust)
    with pytest.raises(Refused, match="is code"):
        opened.load(opened.of(read_traffic(store.home, "unruly").champion))


WORKER = """
import os, sys
from pathlib import Path
import msgspec
from boucle.packaging.trust import Trust
from boucle.serving.models import Models
from boucle.serving.traffic import read_traffic, serving_root

if __name__ == "__main__":
    home = Path(sys.argv[1])
    models = Models(serving_root(home), trust=Trust(keys=[sys.argv[2]], allow_code=True))
    predictor = models.load(models.of(read_traffic(home, "unruly").champion))
    assert predictor.predict({"x0": [4.0]})["value"].tolist() == [8.0]
    print(predictor.pid, *sorted({name.partition(".")[0] for name in sys.modules}), flush=True)
    sys.stdin.read()
"""


def test_a_worker_loads_nothing_of_the_code_and_its_death_ends_the_process(store: Store, placed: Path) -> None:
    del placed
    command = [sys.executable, "-c", WORKER, str(store.home), TRUST.keys[0]]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True) as worker:
        assert worker.stdout is not None
        pid, *loaded = worker.stdout.readline().split()
        assert not {"unruly", "wave", "sklearn", "scipy", "pandas", "polars"} & set(loaded)
        assert Path(f"/proc/{pid}").exists()
        worker.kill()
    asyncio.run(until(lambda: not Path(f"/proc/{pid}").exists()))
