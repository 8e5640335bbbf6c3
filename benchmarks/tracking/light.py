"""What the client costs: its import, and the native calls."""

import json
import subprocess
from typing import Any

from environments import surroundings
from tracking.peers import Peer

IMPORT = """
import json, sys, time
from pathlib import Path
def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
bare = resident()
began = time.perf_counter()
import {0}
{1}
took = time.perf_counter() - began
sys.stdout.write(json.dumps([took, (resident() - bare) / 1024]))
"""
# What a program that logs touches first: the public name is loaded lazily.
TOUCH = {"boucle": "boucle.start_run", "mlflow": "mlflow.start_run"}
NATIVE = """
import json, sys, time
import boucle
with boucle.start_run(name="bench") as run:
    for step in range(2000):
        run.log({"warm": 0.5}, step=step)
    began = time.perf_counter()
    for step in range(200_000):
        run.log({"loss": 0.5}, step=step)
    took = time.perf_counter() - began
sys.stdout.write(json.dumps(200_000 / took))
"""


def imports(peers: list[Peer], rounds: int, values: dict[str, dict[str, list[float]]]) -> None:
    """Seconds and memory of the import, with compiled bytecode."""
    for _ in range(rounds + 1):
        for peer in peers:
            code = IMPORT.format(peer.key, TOUCH[peer.key])
            took, memory = _played(peer, code, surroundings(peer.programs))
            values[peer.key]["import"].append(took)
            values[peer.key]["import memory"].append(memory)
    for peer in peers:  # the first round fills the disk's cache
        del values[peer.key]["import"][0], values[peer.key]["import memory"][0]


def native(peer: Peer, rounds: int, values: dict[str, list[float]]) -> None:
    """Calls a second of `run.log`, whose values are in the spool when it returns, sent to a server meanwhile."""
    with peer.running() as server:
        for _ in range(rounds):
            around = {**surroundings(peer.programs), "BOUCLE_URL": server.url}
            values["sdk"].append(_played(peer, NATIVE, around))


def _played(peer: Peer, code: str, around: dict[str, str]) -> Any:
    command = [peer.programs / "python", "-c", code]
    done = subprocess.run(command, cwd=peer.folder, env=around, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
