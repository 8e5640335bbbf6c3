"""What is found out by itself: code, changes, command, environment; nothing secret, nothing of unknown files."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boucle.kernel.store import Store
from boucle.runs.api import list_runs
from boucle.runs.artifacts import all_of

pytestmark = pytest.mark.slow


def test_a_run_knows_its_code_command_and_environment(
    home: Path, tmp_path: Path, program: Callable[..., Any], opened: Store
) -> None:
    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=ann", "-c", "user.email=ann@example.org", "-C", str(tmp_path), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "model.py").write_text("depth = 3\n")
    (tmp_path / ".gitignore").write_text("home\nspool\n")
    git("init", "-q", "-b", "main")
    git("add", "model.py", ".gitignore")
    git("commit", "-q", "-m", "first")
    git("remote", "add", "origin", "https://me:ghp_x@example.org/team/trees.git")
    (tmp_path / "model.py").write_text("depth = 4\npassword = 'hunter2'\nsigned = {'token': 'my hunter3'}\n")
    (tmp_path / "private.txt").write_text("never told")
    text = "import boucle, sys\nwith boucle.start_run(home=sys.argv[1]) as run:\n    run.log('x', 1.0)\n"
    process = program(text, home, "--api-key", "k123", "--db=postgres://me:pw@db/x")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    (run,) = list_runs(opened, "default")
    revision = git("rev-parse", "HEAD")
    assert run.tags["git.revision"] == run.tags["mlflow.source.git.commit"] == revision
    assert (run.tags["git.branch"], run.tags["git.dirty"]) == ("main", "true")
    assert run.tags["git.remote"] == "https://example.org/team/trees.git"
    assert run.tags["mlflow.source.name"].endswith("train.py")
    assert run.tags["mlflow.user"] == run.user
    assert "--api-key [masked] --db=postgres://[masked]@db/x" in run.tags["boucle.command"]
    files = {one.path: opened.blobs.get(one.digest) for one in opened.read(lambda c: all_of(c, "default", run.id, ""))}
    assert b"+depth = 4" in files["boucle/code.diff"]
    everything = b"".join(files.values()) + repr(run.tags).encode()
    for secret in (b"hunter2", b"hunter3", b"k123", b"me:pw", b"ghp_x", b"never told"):
        assert secret not in everything
    assert b'"msgspec":' in files["boucle/environment.json"]
    assert run.tags["boucle.environment"] in {
        one.digest for one in opened.read(lambda c: all_of(c, "default", run.id, "boucle"))
    }
