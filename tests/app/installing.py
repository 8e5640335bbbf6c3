"""A wheel of this tree, installed by pip (or uv, where there is no pip) into an environment of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def install(folder: Path, requirement: str) -> Path:
    """The folder of programs of a new environment; the requirement is `boucle` with the extras that it shall have."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    installer = [sys.executable, "-m", "pip"]
    if subprocess.run([*installer, "--version"], capture_output=True, check=False).returncode:
        uv = shutil.which("uv")
        assert uv, "neither pip nor uv is here to install with"
        subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT], check=True)
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True)
        installer = [uv, "pip"]
        into = ["--python", str(folder / "venv" / "bin" / "python")]
    else:
        subprocess.run([*installer, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        installer, into = [str(folder / "venv" / "bin" / "python"), "-m", "pip"], []
    (wheel,) = folder.glob("boucle-*.whl")
    wanted = requirement.replace("boucle", str(wheel), 1)
    subprocess.run([*installer, "install", "--quiet", *into, wanted], check=True, env=surroundings)
    return folder / "venv" / "bin"
