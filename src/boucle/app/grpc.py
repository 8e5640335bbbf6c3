"""The worker's second listener: the Open Inference Protocol over gRPC. Loaded only where it is asked for."""

from importlib.util import find_spec
from typing import Any, Final

from boucle.identity.api import Door
from boucle.kernel.errors import Unavailable
from boucle.serving.endpoints import Endpoints

_FRAME_BYTES: Final = 1 << 20
"""What a message may hold beside the tensors."""


def check_installed() -> None:
    """Unavailable, with the command that installs it, if gRPC is not there."""
    if find_spec("grpc") is None or find_spec("google.protobuf") is None:
        raise Unavailable("gRPC is asked for, and grpcio is not installed", hint="pip install 'boucle[grpc]'")


async def listen(endpoints: Endpoints, door: Door, address: str, *, max_body_bytes: int) -> "Any":
    """A server that answers at `HOST:PORT`; workers share the port. Stop it with `await server.stop(grace)`."""
    import grpc.aio

    from boucle.protocols.open_inference_grpc import Service

    limit = max_body_bytes + _FRAME_BYTES
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),
        ]
    )
    server.add_generic_rpc_handlers((Service(endpoints, door).handlers(),))
    server.add_insecure_port(address)
    await server.start()
    return server
