"""The port that a server takes."""

import socket

import pytest

from boucle.kernel.errors import InvalidInput, PortInUse
from boucle.kernel.ports import check_port, free_port, hold_port

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


def test_a_held_port_can_be_listened_on() -> None:
    port = free_port(LOCAL)
    with hold_port(LOCAL, port), socket.create_server((LOCAL, port)):
        assert connects(port)


def test_a_port_that_is_listened_on_is_refused() -> None:
    port = free_port(LOCAL)
    with (
        socket.create_server((LOCAL, port)),
        pytest.raises(PortInUse, match=f"port {port}: Address already in use") as refused,
    ):
        check_port(LOCAL, port)
    assert f"--port {port + 1}" in str(refused.value.hint)


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_port_that_does_not_exist_is_refused(port: int) -> None:
    with pytest.raises(InvalidInput, match="allowed are 1 to 65535"):
        check_port(LOCAL, port)
