"""A model that is served as the code it is has the bounds of any other: a queue that ends, and deadlines."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import boucle
from boucle.kernel import trees
from boucle.kernel.errors import Busy, Late
from boucle.kernel.store import Store
from boucle.kernel.trees import listing
from boucle.packaging.signing import new_key, public_pem, sign
from boucle.packaging.trust import Trust, signature_file
from boucle.serving.batching import Limits
from boucle.serving.deploy import deploy
from boucle.serving.endpoint import Endpoint
from boucle.serving.models import Models
from boucle.serving.question import Question
from boucle.serving.traffic import serving_root

KEY = new_key()
TRUST = Trust(keys=[public_pem(KEY.public_key()).decode()], allow_code=True)
GATE = threading.Event()


class Slow:
    """No compiler knows it; it answers when it may, after ten milliseconds."""

    def predict(self, rows: Any) -> Any:
        assert GATE.wait(10)
        time.sleep(0.01)
        return rows[:, 0] * 2


@pytest.fixture
def endpoint(store: Store, tmp_path: Path) -> Iterator[Endpoint]:
    GATE.set()
    folder = tmp_path / "slow"
    with pytest.warns(UserWarning, match="kept as it is"):
        boucle.bundle(Slow(), sample=np.arange(6.0)[:, None], path=folder, keep_code=True)
    digest = trees.freeze(store.blobs, folder)
    deploy(store, project_id="slow", number=1, bundle_digest=digest)
    placed = next(path for path in serving_root(store.home).rglob("boucle.json")).parent
    signature_file(placed).write_bytes(sign(placed.name, listing(placed), KEY))
    made = Endpoint(
        store.home,
        "slow",
        clock=store.clock,
        models=Models(serving_root(store.home), trust=TRUST),
        limits=Limits(patience_s=0.05, max_waiting=8),
    )
    assert made.refresh()
    yield made
    GATE.set()
    made.close()


async def outcome(endpoint: Endpoint, value: float, deadline: float | None = None) -> Any:
    try:
        answer = await endpoint.ask(Question({"x0": [value]}, deadline=deadline))
    except (Busy, Late) as error:
        return error
    return float(answer.outputs["value"][0])


def test_who_would_wait_too_long_is_turned_away(endpoint: Endpoint) -> None:
    async def ask() -> list[Any]:
        assert await outcome(endpoint, 1.0) == 2.0  # now it is known how long a row takes
        return await asyncio.gather(*(outcome(endpoint, float(value)) for value in range(30)))

    found = asyncio.run(ask())
    answered = [one for one in found if isinstance(one, float)]
    assert answered == [2.0 * value for value in range(len(answered))]
    assert 2 <= len(answered) <= 10
    turned_away = found[len(answered) :]
    assert all(isinstance(one, Busy) and one.retry_after_s for one in turned_away)


def test_a_deadline_ends_the_wait_for_code_too(endpoint: Endpoint) -> None:
    async def ask() -> list[Any]:
        assert await outcome(endpoint, 1.0) == 2.0
        GATE.clear()
        first = asyncio.ensure_future(outcome(endpoint, 2.0))
        await asyncio.sleep(0)
        near = asyncio.ensure_future(outcome(endpoint, 3.0, deadline=endpoint.timer() + 0.02))
        await asyncio.sleep(0)
        await asyncio.sleep(0.03)  # its deadline passes
        GATE.set()
        over = await outcome(endpoint, 4.0, deadline=endpoint.timer() - 1.0)
        return [await first, await near, over]

    first, near, over = asyncio.run(ask())
    assert first == 4.0
    assert isinstance(near, Late)
    assert isinstance(over, Late)


def test_the_loop_goes_on_while_code_computes(endpoint: Endpoint) -> None:
    async def ask() -> float:
        GATE.clear()
        waiting = asyncio.ensure_future(outcome(endpoint, 5.0))
        for _ in range(5):
            await asyncio.sleep(0)  # the loop would stand still here if the model had it
        assert not waiting.done()
        GATE.set()
        return float(await waiting)

    assert asyncio.run(ask()) == 10.0
