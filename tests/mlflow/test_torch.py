"""PyTorch's autologging does on Boucle what it does on `mlflow server`."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from held_ports import free_port

from . import compare, servers

pytestmark = pytest.mark.long

HERE = Path(__file__).parent


def test_autologging_of_pytorch_is_seen_as_on_mlflow(play: Any, tmp_path: Path) -> None:
    subprocess.run([HERE / "install-mlflow", "torch"], check=True)
    programs = HERE.parents[1] / "build" / "mlflow-torch" / "bin"
    seen = []
    for kind in ("mlflow", "boucle"):
        folder, port = tmp_path / kind, free_port()
        command = (
            servers.mlflow_command(programs, folder, port) if kind == "mlflow" else servers.boucle_command(folder, port)
        )
        with servers.running(command, port, folder) as server:
            seen.append(play(server.url, "torch_autolog", programs=programs))
    assert "!" not in seen[0]["torch_autolog"], seen[0]["torch_autolog"]["!"]
    assert len(seen[0]["torch_autolog"]) >= 7
    assert not list(map(compare.told, compare.differences(*seen)))
