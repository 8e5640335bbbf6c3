"""Ports for servers that tests start.

A port that was free a moment ago may be anybody's when a server comes to listen on it: another test's, or that of a
connection that leaves this machine. One that is bound, without being listened on, is given to nobody; a server that
says SO_REUSEADDR, as all do here, can listen on it.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

_HELD: list[socket.socket] = []


@contextmanager
def held_port() -> Iterator[int]:
    """A port that nobody else is given for the block."""
    with _bound() as held:
        yield _port_of(held)


def free_port() -> int:
    """A port that nobody else is given while this process lives."""
    _HELD.append(held := _bound())
    return _port_of(held)


def _bound() -> socket.socket:
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def _port_of(held: socket.socket) -> int:
    return int(held.getsockname()[1])
