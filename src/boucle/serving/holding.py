"""Holding an endpoint: one server at a time writes its prediction log and acknowledges for it.

The standard library and the kernel's only.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from boucle.kernel.errors import Unavailable
from boucle.kernel.paths import make_folder, translate
from boucle.serving.traffic import POLL_S, endpoint_folder, endpoints

OUR_TURN_S: Final = 5.0


class Held:
    """An endpoint that this process holds, as an open file that a server which it starts may take over."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def tell(self, address: str) -> None:
        """Say where it is served, for whoever is turned down; the lock counts all the same where there is no room."""
        with suppress(OSError):
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, address.encode(), 0)


@contextmanager
def hold(home: Path, endpoint: str, wait_s: float = OUR_TURN_S) -> Iterator[Held]:
    """Hold an endpoint for the block. Unavailable if another process does, also after a moment in which it may end.

    Take it before deploying, so that whoever is turned down has changed nothing. It ends with its holder, also when
    that is killed, and with the server that took it over.
    """
    path = endpoint_folder(home, endpoint) / "server.lock"
    with translate(path):
        make_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        waiting = threading.Event()
        for _ in range(1 + int(wait_s / POLL_S)):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting.wait(POLL_S)
        else:
            address = os.pread(descriptor, 200, 0).decode(errors="replace")
            raise Unavailable(
                f"endpoint {endpoint!r} is served already, at {address or 'an unknown address'}",
                hint="stop that server, or ask it",
            )
        held = Held(descriptor)
        held.tell("")
        yield held
    finally:
        os.close(descriptor)


def is_held(home: Path, endpoint: str) -> bool:
    """Whether a server, or a replay, has the endpoint."""
    try:
        descriptor = os.open(endpoint_folder(home, endpoint) / "server.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def served_beside(home: Path, endpoint: str) -> bool:
    """Whether a server has another endpoint, and so may be about to take up this one."""
    return any(is_held(home, one) for one in endpoints(home) if one != endpoint)
