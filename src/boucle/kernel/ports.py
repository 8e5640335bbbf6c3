"""The port that a server shall listen on."""

import socket

from boucle.kernel.errors import InvalidInput, PortInUse


def check_port(host: str, port: int) -> None:
    """Raise PortInUse if somebody listens there: granian would share the port without a word."""
    if not 1 <= port <= 65_535:
        raise InvalidInput(f"port {port} does not exist; allowed are 1 to 65535")
    hold_port(host, port).close()


def hold_port(host: str, port: int) -> socket.socket:
    """A socket that is bound there, for 0 at a free port, and does not listen; PortInUse if somebody does.

    While it is open, granian can listen there, and the kernel gives the port to no connection that leaves this machine:
    to one that is made to this very port it would be connected with itself, and seem answered.
    """
    held = None
    try:
        held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, port))
    except OSError as error:
        if held is not None:
            held.close()
        another = port + 1 if port < 65_535 else port - 1
        raise PortInUse(
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            hint=f"choose another: --port {another}",
        ) from error
    return held


def free_port(host: str) -> int:
    """A port that nobody listens on at the moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise PortInUse(
            f"cannot listen on {host}: {error.strerror or error}", hint="listen on this machine: --host 127.0.0.1"
        ) from error


def address(host: str, port: int) -> str:
    """Where a server is found.

    >>> address("::1", 5000)
    'http://[::1]:5000'
    """
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
