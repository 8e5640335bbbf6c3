"""A wheel of this tree, installed by pip (or uv, where there is no pip) into an environment of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def fresh_environment(folder: Path, words: Sequence[str]) -> Path:
    """The Python of a new environment, into which pip (or uv) installed what these words of its command line say."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    python = folder / "bin" / "python"
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        uv = shutil.which("uv")
        assert uv, "neither pip nor uv is here to install with"
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
        command = [uv, "pip", "install", "--quiet", "--python", str(python)]
    else:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*command, *words], check=True, env=surroundings)
    return python


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
