"""Five steps that do nothing, beside DVC, Kedro and Hamilton."""

import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from environments import BUILD, environment, surroundings, version
from timing import seconds

HERE = Path(__file__).parent
CASES = {"first": "first run", "again": "nothing changed"}


@dataclass(frozen=True)
class Peer:
    """A tool with its environment and a project of its own to work in."""

    key: str
    name: str
    version: str
    keeps: str
    command: list[str]
    results: list[str]
    folder: Path
    surroundings: dict[str, str]

    def forget(self) -> None:
        """Remove every result of earlier runs."""
        for name in self.results:
            path = self.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def run(self) -> float:
        """Seconds of one run."""
        return seconds(self.command, self.folder, self.surroundings)


def measure(rounds: int | None = None) -> dict[str, object]:
    """Times of every peer and case, by rounds in which the peers take turns; as many as `peers.toml` says."""
    plan = tomllib.loads((HERE / "peers.toml").read_text())
    peers = [_peer(key, value) for key, value in plan.items() if isinstance(value, dict)]
    times: dict[str, dict[str, list[float]]] = {peer.key: {case: [] for case in CASES} for peer in peers}
    for round_number in range((rounds or plan["rounds"]) + 1):
        for peer in peers:
            peer.forget()
            taken = {"first": peer.run(), "again": peer.run()}
            if round_number:  # the round before the first fills the disk's cache
                for case, took in taken.items():
                    times[peer.key][case].append(round(took, 4))
    return {
        "title": plan["title"],
        "about": plan["about"],
        "cases": CASES,
        "peers": {
            peer.key: {
                "name": peer.name,
                "version": peer.version,
                "command": " ".join([Path(peer.command[0]).name, *peer.command[1:]]),
                "keeps": peer.keeps,
                "seconds": times[peer.key],
            }
            for peer in peers
        },
    }


def _peer(key: str, plan: dict) -> Peer:
    programs = environment(key.removesuffix("-keeping-nothing"), plan["requirements"])
    folder = BUILD / "pipelines" / key
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / key, folder)
    around = surroundings(programs)
    for command in plan.get("prepare", []):
        subprocess.run([programs / command[0], *command[1:]], cwd=folder, env=around, check=True, capture_output=True)
    first, *rest = plan["command"]
    found = version(programs, plan["requirements"][0])
    return Peer(
        key, plan["name"], found, plan["keeps"], [str(programs / first), *rest], plan["results"], folder, around
    )
