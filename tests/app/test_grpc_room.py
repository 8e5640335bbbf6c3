"""Calls over gRPC take part in the bound of what bodies may keep in memory together."""

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from tritonclient.grpc import service_pb2

from boucle.app.body import ALL_BYTES, Held
from boucle.app.grpc import listen
from boucle.identity.api import LocalDoor
from boucle.kernel.clock import SystemClock
from boucle.kernel.errors import Unavailable
from boucle.kernel.ports import free_port
from boucle.protocols.open_inference_messages import SERVICE
from boucle.serving.endpoint import Endpoint
from boucle.serving.endpoints import Endpoints

METHOD = f"/{SERVICE}/ModelInfer"


@pytest.fixture
def endpoint(serving_home: Any) -> Iterator[Endpoint]:
    serving_home.deploy(1)
    endpoint = Endpoint(serving_home.path, "flights", clock=SystemClock())
    endpoint.refresh()
    yield endpoint
    endpoint.close()


def question(rows: int) -> bytes:
    made = service_pb2.ModelInferRequest(model_name="flights")
    made.inputs.add(name="carrier", datatype="BYTES", shape=[rows]).contents.bytes_contents.extend([b"UA"] * rows)
    made.inputs.add(name="temp", datatype="FP64", shape=[rows]).contents.fp64_contents.extend([80.0] * rows)
    return bytes(made.SerializeToString())


def test_calls_past_the_room_of_all_bodies_are_refused_until_there_is_room(endpoint: Endpoint) -> None:
    async def scene() -> list[tuple[grpc.StatusCode, str]]:
        address = f"127.0.0.1:{free_port('127.0.0.1')}"
        server = await listen(Endpoints([endpoint]), LocalDoor(), address, max_body_bytes=8 << 20)
        said = []
        async with grpc.aio.insecure_channel(address) as channel:

            async def ask(data: bytes) -> None:
                try:
                    await channel.unary_unary(METHOD)(data, timeout=30)
                    said.append((grpc.StatusCode.OK, ""))
                except grpc.aio.AioRpcError as error:
                    said.append((error.code(), error.details() or ""))

            small, large = question(1), question(90_000)
            with Held(ALL_BYTES - 2 * len(small)):
                await ask(large)
                await ask(small)
            await ask(large)
            await ask(question(100_001))
            await asyncio.gather(*(ask(small) for _ in range(500)))
        await server.stop(0)
        return said

    refused, *others = asyncio.run(scene())
    told = others.pop(2)
    assert told == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "input 'carrier': 100,001 rows in one request; at most 100,000 are allowed",
    )
    assert refused[0] == grpc.StatusCode.UNAVAILABLE
    assert "allowed are 268,435,456" in refused[1]
    assert others == [(grpc.StatusCode.OK, "")] * 502
    with Held(ALL_BYTES), pytest.raises(Unavailable):  # all of it was given back
        Held(1)
    assert endpoint.heavy.waiting_bytes == 0
