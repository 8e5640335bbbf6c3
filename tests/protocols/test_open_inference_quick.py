"""The short way gives the handler's answer, log and counts, byte for byte, or leaves the request to it."""

import asyncio
from collections.abc import Awaitable
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boucle.identity.http import Response
from boucle.kernel.clock import SystemClock
from boucle.kernel.store import Store
from boucle.protocols import open_inference
from boucle.protocols.open_inference_quick import QuickInfer
from boucle.serving import counters as at
from boucle.serving import one_row
from boucle.serving.endpoint import Endpoint
from boucle.serving.endpoints import Endpoints
from boucle.serving.meter import DOORS
from boucle.serving.prediction_log import read_frames
from boucle.serving.traffic import log_folder

INFER = "/v2/models/flights/infer"
CARRIER = {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["UA"]}
TEMP = {"name": "temp", "shape": [1], "datatype": "FP64", "data": [80]}


def body(*inputs: dict[str, Any], **members: Any) -> bytes:
    return msgspec.json.encode({"inputs": list(inputs or (CARRIER, TEMP)), **members})


def quickly(endpoint: Endpoint, *bodies: bytes, headers: dict[str, str] | None = None) -> list[Response | None]:
    """The short way's answers to what comes at once."""

    async def all_of_them() -> list[Response | None]:
        quick = QuickInfer(Endpoints([endpoint]), endpoint.name)
        answers = [quick.answer(one, headers or {}) for one in bodies]
        return [await one if isinstance(one, Awaitable) else one for one in answers]

    found = asyncio.run(all_of_them())
    endpoint.log.flush()
    return found


def counted(endpoint: Endpoint) -> tuple[float, ...]:
    view = endpoint.counters.view
    seen = view[at.ACCEPTED], view[at.BATCHES + len(at.BATCH_BOUNDS) + 1], view[at.BATCHES + len(at.BATCH_BOUNDS) + 2]
    places = [place for (door, _, status), place in endpoint.meter._places.items() if (door, status) == (DOORS[0], 200)]
    return (*seen, *(view[place + 3] for place in places), *(view[place + 4] for place in places))


@pytest.mark.parametrize("carrier", ["AA", "UA"])
@pytest.mark.parametrize("temp", [80, -3.25, 70.000000001, 1e300, 0])
def test_answer_log_and_counts_are_the_handlers(
    store: Store, endpoint: Endpoint, doors: ModuleType, carrier: str, temp: float
) -> None:
    sent = body({**CARRIER, "data": [carrier]}, {**TEMP, "data": [temp]}, id="50 % \u00e9")
    handled = doors.Doors(open_inference.surface(Endpoints([endpoint])))("POST", INFER, sent)
    before = counted(endpoint)
    (quick,) = quickly(endpoint, sent)
    assert quick == handled
    assert counted(endpoint) == tuple(2 * one for one in before)
    first, second = [frame for frame, _ in read_frames(log_folder(store.home, "flights"))]
    assert 0 <= second.latency_ms < 60_000
    assert abs(second.served_at - first.served_at) < 60
    same = {"latency_ms": 0.0, "served_at": 0.0}
    assert msgspec.structs.replace(second, **same) == msgspec.structs.replace(first, **same)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"[]",
        body(CARRIER),
        body(TEMP, CARRIER),
        body(CARRIER, TEMP, TEMP),
        body(CARRIER, TEMP, {"name": "flight_id", "shape": [1], "datatype": "BYTES", "data": ["a"]}),
        body(CARRIER, {**TEMP, "datatype": "INT64"}),
        body(CARRIER, {**TEMP, "data": [None]}),
        body({**CARRIER, "data": [None]}, TEMP),
        body({**CARRIER, "data": ["never seen"]}, TEMP),
        body(CARRIER, {**TEMP, "data": ["80"]}),
        body(CARRIER, {**TEMP, "data": [80, 80]}),
        body(CARRIER, {**TEMP, "shape": [1, 1]}),
        body(CARRIER, {**TEMP, "shape": [2]}),
        body(*({**one, "shape": [2], "data": one["data"] * 2} for one in (CARRIER, TEMP))),
        body(CARRIER, TEMP, outputs=[{"name": "label"}]),
        body(CARRIER, TEMP, parameters={"binary_data_output": True}),
        body(CARRIER, TEMP, id="x" * 257),
        body({**CARRIER, "data": ["x" * 70_000]}, TEMP),
    ],
)
def test_everything_else_is_left_to_the_handler(endpoint: Endpoint, sent: bytes) -> None:
    before = bytes(endpoint.counters.view)
    assert quickly(endpoint, sent) == [None]
    assert bytes(endpoint.counters.view) == before


ITEMS = st.one_of(st.none(), st.floats(), st.text(max_size=3), st.integers(), st.sampled_from(["AA", "UA"]))


@given(carrier=ITEMS, temp=ITEMS, shape=st.lists(st.integers(0, 2), max_size=2))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_what_it_answers_the_handler_answers_alike(
    endpoint: Endpoint, doors: ModuleType, carrier: Any, temp: Any, shape: list[int]
) -> None:
    sent = body({**CARRIER, "shape": shape, "data": [carrier]}, {**TEMP, "shape": [1], "data": [temp]}, id="r")
    (quick,) = quickly(endpoint, sent)
    if quick is not None:
        assert quick == doors.Doors(open_inference.surface(Endpoints([endpoint])))("POST", INFER, sent)


def test_the_id_is_the_bodys_or_the_heads_or_made(endpoint: Endpoint) -> None:
    (mine,) = quickly(endpoint, body(id="mine"), headers={"x-request-id": "other"})
    (heads,) = quickly(endpoint, body(), headers={"x-request-id": "other"})
    (made,) = quickly(endpoint, body())
    ids = [msgspec.json.decode(one.body)["id"] for one in (mine, heads, made) if one is not None]
    assert ids[:2] == ["mine", "other"]
    assert ids[2].startswith("req_")
    assert [dict(one.headers)["x-request-id"] for one in (mine, heads, made) if one is not None] == ids


def test_rows_for_a_dear_model_are_computed_together(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_row, "LIGHT_S", 0.0)
    alone = quickly(endpoint, body(id="0"), body({**CARRIER, "data": ["AA"]}, TEMP, id="1"))
    batches = endpoint.counters.view[at.BATCHES + 1]
    endpoint.coming += 1  # somebody is on the way, so both wait for this round's end
    together = quickly(endpoint, body(id="0"), body({**CARRIER, "data": ["AA"]}, TEMP, id="1"))
    assert together == alone
    assert (endpoint.counters.view[at.BATCHES + 1], endpoint.counters.view[at.ACCEPTED]) == (batches + 1, 4)


def test_a_dear_model_that_fails_is_counted(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_row, "LIGHT_S", 0.0)
    endpoint.coming += 1
    monkeypatch.setattr("boucle.packaging.bundle.Predictor.ask", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        quickly(endpoint, body())
    assert ("v2", 3, 500) in endpoint.meter._places


def test_an_endpoint_that_is_gone_or_another_is_left_to_the_handler(endpoint: Endpoint) -> None:
    endpoints = Endpoints([endpoint])
    quick = QuickInfer(endpoints, "flights")

    async def ask() -> Any:
        return quick.answer(body(id="r"), {})

    assert asyncio.run(ask()) is not None
    endpoint.log.flush()
    endpoints.remove("flights")
    assert asyncio.run(ask()) is None
    other = Endpoint(endpoint.home, "flights", clock=SystemClock())
    endpoints.add(other)
    assert asyncio.run(ask()) is None, "no model is loaded yet"
    other.refresh()
    assert asyncio.run(ask()) is not None
    assert other.counters.view[at.ACCEPTED] == 1
    other.close()


@pytest.mark.parametrize("light_s", [0.0, 1.0])
def test_a_default_deadline_that_is_over_is_left_to_the_handler(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, light_s: float
) -> None:
    monkeypatch.setattr(one_row, "LIGHT_S", light_s)
    monkeypatch.setattr(endpoint, "deadline_s", -1.0)
    endpoint.coming += 1
    assert quickly(endpoint, body()) == [None]
    monkeypatch.setattr(endpoint, "deadline_s", 60.0)
    assert quickly(endpoint, body()) != [None]
