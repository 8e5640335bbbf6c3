"""An endpoint answers with the version that the traffic file names, and logs it."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from boucle.kernel.errors import InvalidInput, Late, NotFound, Unavailable
from boucle.kernel.store import Store
from boucle.serving.endpoint import Answer, Endpoint
from boucle.serving.prediction_log import read_frames
from boucle.serving.question import Question
from boucle.serving.records import Traffic
from boucle.serving.traffic import log_folder, read_ack, serving_root, write_traffic

Deploy = Callable[..., Traffic]
ROWS = {"carrier": ["AA", "UA", "never seen", None], "temp": [80.0, None, 60.0, 71.0]}


@pytest.fixture
def endpoint(store: Store) -> Iterator[Endpoint]:
    endpoint = Endpoint(store.home, "flights", clock=store.clock)
    yield endpoint
    endpoint.close()


def ask(endpoint: Endpoint, columns: Mapping[str, Any], request_id: str) -> Answer:
    return asyncio.run(endpoint.ask(Question(dict(columns), request_id)))


def expected(bundles: ModuleType, lift: float = 0.0) -> list[float]:
    return [bundles.probability(*row, lift) for row in zip(ROWS["carrier"], ROWS["temp"], strict=True)]


def test_answers_are_the_bundles(endpoint: Endpoint, deployer: Deploy, bundles: ModuleType) -> None:
    deployer(7)
    assert endpoint.refresh()
    answer = ask(endpoint, ROWS, "req_1")
    assert (answer.number, answer.request_id, answer.rows) == (7, "req_1", 4)
    assert answer.outputs["probability"] == pytest.approx(expected(bundles), abs=1e-15)
    assert answer.outputs["label"] == ["late", "late", "on time", "late"]


def test_what_was_answered_is_logged(store: Store, endpoint: Endpoint, deployer: Deploy) -> None:
    traffic = deployer(7)
    endpoint.refresh()
    columns = ROWS | {"flight_id": ["a", "b", "c", "d"], "scheduled_at": ["2013-03-01T00:00:00Z"] * 4}
    answer = ask(endpoint, columns, "req_1")
    assert endpoint.log.flush()
    ((frame, _),) = read_frames(log_folder(store.home, "flights"))
    assert (frame.request_id, frame.number, frame.bundle_digest) == ("req_1", 7, traffic.champion.bundle_digest)
    assert frame.inputs == ROWS
    assert frame.outputs == {"probability": answer.outputs["probability"].tolist(), "label": answer.outputs["label"]}
    assert (frame.entity_key, frame.event_time) == (["a", "b", "c", "d"], ["2013-03-01T00:00:00+00:00"] * 4)
    assert frame.served_at == pytest.approx(store.clock.now().timestamp(), abs=5)
    assert 0 < frame.latency_ms < 10_000


def test_what_was_turned_down_is_not_logged(store: Store, endpoint: Endpoint, deployer: Deploy) -> None:
    deployer(1)
    endpoint.refresh()
    with pytest.raises(InvalidInput, match="missing input 'temp'"):
        ask(endpoint, {"carrier": ["AA"]}, "req_1")
    assert list(read_frames(log_folder(store.home, "flights"))) == []


def test_no_rows_answer_no_rows(endpoint: Endpoint, deployer: Deploy) -> None:
    deployer(1)
    endpoint.refresh()
    answer = ask(endpoint, {"carrier": [], "temp": []}, "req_1")
    assert {name: list(values) for name, values in answer.outputs.items()} == {"probability": [], "label": []}


def test_a_deadline_that_is_over_costs_no_computing(store: Store, endpoint: Endpoint, deployer: Deploy) -> None:
    deployer(1)
    endpoint.refresh()
    with pytest.raises(Late, match="the deadline would be over"):
        asyncio.run(endpoint.ask(Question(dict(ROWS), "req_1", deadline=endpoint.timer() - 0.001)))
    assert asyncio.run(endpoint.ask(Question(dict(ROWS), "req_2", deadline=endpoint.timer() + 60))).rows == 4
    endpoint.close()
    assert [frame.request_id for frame, _ in read_frames(log_folder(store.home, "flights"))] == ["req_2"]


def test_a_version_is_asked_by_its_number(endpoint: Endpoint, deployer: Deploy) -> None:
    deployer(7)
    endpoint.refresh()
    assert endpoint.versions() == [7]
    assert asyncio.run(endpoint.ask(Question(dict(ROWS)), "7")).request_id.startswith("req_")
    for number in ("8", "", "07"):
        with pytest.raises(NotFound, match="is not served; version 7 is"):
            asyncio.run(endpoint.ask(Question(dict(ROWS)), number))


def test_numbers_may_come_as_arrays(endpoint: Endpoint, deployer: Deploy, bundles: ModuleType) -> None:
    deployer(7)
    endpoint.refresh()
    temp = np.array([80.0, np.nan, 60.0, 71.0])
    answer = ask(endpoint, ROWS | {"temp": temp}, "req_1")
    assert answer.outputs["probability"] == pytest.approx(expected(bundles), abs=1e-15)


def test_before_anything_is_deployed_it_is_unavailable(endpoint: Endpoint) -> None:
    assert not endpoint.is_stale()
    assert not endpoint.refresh()
    with pytest.raises(Unavailable, match="endpoint 'flights' has no model loaded yet"):
        ask(endpoint, ROWS, "req_1")


def test_a_new_generation_is_taken_up_and_acknowledged(
    store: Store, endpoint: Endpoint, deployer: Deploy, bundles: ModuleType
) -> None:
    for number, lift in ((1, 0.0), (2, 1.0), (1, 0.0)):
        traffic = deployer(number, lift)
        assert endpoint.is_stale()
        assert endpoint.refresh()
        assert not endpoint.is_stale()
        ack = read_ack(store.home, "flights")
        assert ack is not None
        assert (ack.generation, ack.error) == (traffic.generation, None)
        answer = ask(endpoint, ROWS, "req_1")
        assert answer.number == number
        assert answer.outputs["probability"] == pytest.approx(expected(bundles, lift))


def test_a_tampered_bundle_is_not_loaded_and_the_one_before_stays(
    store: Store, endpoint: Endpoint, deployer: Deploy
) -> None:
    deployer(1)
    endpoint.refresh()
    traffic = deployer(2, lift=1.0)
    file = serving_root(store.home) / traffic.champion.path / "model.treelite"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    assert endpoint.refresh()
    ack = read_ack(store.home, "flights")
    assert ack is not None
    assert ack.generation == 2
    assert "version 2 should be the bundle" in (ack.error or "")
    assert ask(endpoint, ROWS, "req_1").number == 1


@pytest.mark.parametrize("path", ["../../outside", "/etc", "bundles/missing"])
def test_a_traffic_file_cannot_point_elsewhere(store: Store, endpoint: Endpoint, deployer: Deploy, path: str) -> None:
    traffic = deployer(1)
    write_traffic(store.home, replace(traffic, champion=replace(traffic.champion, path=path)))
    endpoint.refresh()
    ack = read_ack(store.home, "flights")
    assert ack is not None
    assert ack.error is not None
    assert endpoint.lineup is None


def test_each_request_is_answered_by_one_version_while_the_traffic_switches(
    store: Store, deployer: Deploy, bundles: ModuleType
) -> None:
    lifts = {1: 0.0, 2: 1.0}
    deployer(1, lifts[1])
    endpoint = Endpoint(store.home, "flights", clock=store.clock)
    endpoint.refresh()
    stop = threading.Event()

    async def asking(worker: int) -> set[int]:
        seen: set[int] = set()
        count = 0
        while not stop.is_set() or count < 50:
            answer = await endpoint.ask(Question(dict(ROWS), f"{worker}/{count}"))
            assert answer.outputs["probability"] == pytest.approx(expected(bundles, lifts[answer.number]))
            seen.add(answer.number)
            count += 1
            await asyncio.sleep(0)
        return seen

    def switch() -> None:
        for number in (2, 1, 2, 1, 2):
            deployer(number, lifts[number])
            endpoint.refresh()
        stop.set()

    async def all_of_it() -> list[set[int]]:
        switching = asyncio.to_thread(switch)
        return (await asyncio.gather(switching, *(asking(worker) for worker in range(3))))[1:]

    assert set().union(*asyncio.run(all_of_it())) == {1, 2}
    endpoint.close()
    frames = [frame for frame, _ in read_frames(log_folder(store.home, "flights"))]
    assert len(frames) == endpoint.log.written
    assert len({frame.request_id for frame in frames}) == len(frames)
    assert endpoint.log.lost == 0


def test_what_could_not_be_acknowledged_is_acknowledged_later(
    store: Store, endpoint: Endpoint, deployer: Deploy
) -> None:
    deployer(1)
    folder = store.home / "serving" / "flights" / "ack.json"
    folder.mkdir()  # nothing can be renamed over a folder
    with pytest.raises(Unavailable, match=r"ack\.json"):
        endpoint.refresh()
    assert endpoint.current().traffic.generation == 1
    assert endpoint.is_stale()
    folder.rmdir()
    endpoint.refresh()
    assert not endpoint.is_stale()
    acknowledged = read_ack(store.home, "flights")
    assert acknowledged is not None
    assert acknowledged.generation == 1
