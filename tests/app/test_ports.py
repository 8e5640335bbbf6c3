"""The port that a server takes."""

import socket

import pytest

from boucle.app.ports import check_port, free_port, hold_port
from boucle.kernel.errors import InvalidInput, PortInUse

LOCAL = "127.0.0.1"
TRIES = 40_000
"""More than there are ports of one parity; Linux gives outgoing connections even ones first, in turn."""


def even_port() -> int:
    while (port := free_port(LOCAL) + 1) % 2 or not is_free(port):
        pass
    return port


def is_free(port: int) -> bool:
    try:
        check_port(LOCAL, port)
    except (PortInUse, InvalidInput):
        return False
    return True


def connects(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((LOCAL, port)) == 0


def test_nothing_seems_to_answer_at_a_port_that_is_held() -> None:
    port = even_port()
    with hold_port(LOCAL, port):
        assert not any(connects(port) for _ in range(TRIES))


def test_a_held_port_can_be_listened_on(free_port: int) -> None:
    with hold_port(LOCAL, free_port), socket.create_server((LOCAL, free_port)):
        assert connects(free_port)


def test_a_port_that_is_listened_on_is_refused(free_port: int) -> None:
    with (
        socket.create_server((LOCAL, free_port)),
        pytest.raises(PortInUse, match=f"port {free_port}: Address already in use") as refused,
    ):
        check_port(LOCAL, free_port)
    assert f"--port {free_port + 1}" in str(refused.value.hint)


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_port_that_does_not_exist_is_refused(port: int) -> None:
    with pytest.raises(InvalidInput, match="allowed are 1 to 65535"):
        check_port(LOCAL, port)
