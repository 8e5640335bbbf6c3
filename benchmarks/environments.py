"""An environment of its own for each peer, from PyPI, made once under build/bench."""

import hashlib
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "bench"


def environment(name: str, requirements: Sequence[str]) -> Path:
    """The folder of programs of an environment with these requirements; `.` is all of Boucle of this checkout."""
    folder = BUILD / "environments" / name
    stamp = folder / "installed"
    wanted = hashlib.sha256("\n".join([sys.version, *requirements]).encode()).hexdigest()
    if "." in requirements or not stamp.exists() or stamp.read_text() != wanted:
        sys.stderr.write(f"installing {', '.join(requirements)} for {name}\n")
        whole = [".[all]" if one == "." else one for one in requirements]
        venv.create(folder, with_pip=True, clear=True)
        # pip compiles what it installs, so that no tool is charged for compiling at its first start.
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", *whole], cwd=ROOT, check=True)
        stamp.write_text(wanted)
    return folder / "bin"


def surroundings(programs: Path) -> dict[str, str]:
    """What every measured program is given: its environment first in the path, no telemetry, no traces of ours."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("BOUCLE_", "PYTHON"))}
    quiet = {"DO_NOT_TRACK": "1", "DVC_NO_ANALYTICS": "1", "HAMILTON_TELEMETRY_ENABLED": "false", "NO_COLOR": "1"}
    return {**kept, **quiet, "PATH": f"{programs}:{os.environ['PATH']}"}


def version(programs: Path, requirement: str) -> str:
    """The installed version of a requirement's package."""
    name = "boucle" if requirement == "." else requirement.partition("==")[0]
    ask = f"import importlib.metadata as m; print(m.version({name!r}))"
    return subprocess.run([programs / "python", "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
