"""Boucle answers what MLflow's client was once recorded to send as `mlflow server` did, without MLflow installed."""

import json
from pathlib import Path

import pytest
from held_ports import free_port

from . import replay, servers

pytestmark = pytest.mark.slow

WIRE = Path(__file__).parent / "wire"


def test_the_recorded_requests_are_answered_as_recorded(tmp_path: Path) -> None:
    port = free_port()
    exchanges = json.loads((WIRE / "tour.json").read_text())
    with servers.running(servers.boucle_command(tmp_path, port), port, tmp_path) as server:
        odd = replay.replayed(server.url, exchanges)
    assert not odd, "\n".join(odd)
