"""The worker's second listener: the Open Inference Protocol over gRPC. Loaded only where it is asked for."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from boucle.identity.api import Door
from boucle.kernel.errors import Unavailable
from boucle.serving.endpoints import Endpoints

if TYPE_CHECKING:
    from boucle.app.observed import Observers

_FRAME_BYTES: Final = 1 << 20
"""What a message may hold beside the tensors."""


def check_installed() -> None:
    """Unavailable, with the command that installs it, if gRPC is not there."""
    if find_spec("grpc") is None or find_spec("google.protobuf") is None:
        raise Unavailable("gRPC is asked for, and grpcio is not installed", hint="pip install 'boucle[grpc]'")


async def listen(
    endpoints: Endpoints,
    door: Door,
    address: str,
    *,
    max_body_bytes: int,
    tls: tuple[str, str] | None = None,
    observers: "Observers | None" = None,
    asked_late: Callable[[], None] | None = None,
) -> "Any":
    """A server that answers at `HOST:PORT`; workers share the port. Stop it with `await server.stop(grace)`.

    `asked_late` is called for each call that comes once the server ends.
    """
    import grpc.aio

    from boucle.app.body import Held
    from boucle.app.observed_grpc import ObservedCalls
    from boucle.protocols.open_inference_grpc import Service

    limit = max_body_bytes + _FRAME_BYTES
    watched = observers is not None and (observers.log is not None or observers.traces is not None)
    server = grpc.aio.server(
        interceptors=[ObservedCalls(observers.log, observers.traces)] if observers is not None and watched else None,
        options=[
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),
        ],
    )
    server.add_generic_rpc_handlers((Service(endpoints, door, Held, asked_late).handlers(),))
    if tls is None:
        server.add_insecure_port(address)
    else:
        certificate, key = (Path(file).read_bytes() for file in tls)
        server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
    await server.start()
    return server
