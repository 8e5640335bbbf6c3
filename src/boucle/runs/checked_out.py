"""Which commit of git is checked out, read from its files: at once, and without git's programs.

What differs from that commit takes git itself to tell: `boucle.runs.code_version`.
https://git-scm.com/docs/gitrepository-layout
"""

import os
import re
from pathlib import Path
from typing import Final

_COMMIT: Final = re.compile("[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BRANCH: Final = "ref: refs/heads/"
_MLFLOW: Final = {
    "git.revision": "mlflow.source.git.commit",
    "git.branch": "mlflow.source.git.branch",
    "git.remote": "mlflow.source.git.repoURL",
}
"""What MLflow's clients call the same."""


def as_mlflow_calls_it(tags: dict[str, str]) -> dict[str, str]:
    """Tags of a version of code, also in MLflow's words."""
    return tags | {_MLFLOW[name]: value for name, value in tags.items() if name in _MLFLOW}


def checked_out(folder: Path) -> dict[str, str]:
    """Tags `git.revision` and `git.branch` of the repository that a folder is in; empty where files do not tell them.

    That is also so where GIT_DIR says that it is another one, and where a repository keeps its names in a reftable.
    """
    if "GIT_DIR" in os.environ:
        return {}
    try:
        return _read(folder)
    except (OSError, UnicodeDecodeError, ValueError):
        return {}


def _read(folder: Path) -> dict[str, str]:
    place = next((one for up in (folder, *folder.parents) if (one := up / ".git").exists()), None)
    if place is None:
        return {}
    if place.is_file():  # a worktree or a submodule
        place = place.parent / _line(place).removeprefix("gitdir: ")
    head = _line(place / "HEAD")
    if _COMMIT.fullmatch(head):
        return {"git.revision": head}
    name = head.removeprefix("ref: ")
    common = place / "commondir"
    roots = [place, place / _line(common)] if common.exists() else [place]
    revision = next((found for root in roots if (found := _commit_of(root, name))), None)
    if revision is None:
        return {}
    branch = {"git.branch": head.removeprefix(_BRANCH)} if head.startswith(_BRANCH) else {}
    return {"git.revision": revision, **branch}


def _commit_of(root: Path, name: str) -> str | None:
    if (loose := root / name).is_file():
        found = _line(loose)
        return found if _COMMIT.fullmatch(found) else None
    if (packed := root / "packed-refs").is_file():
        for line in packed.read_text("utf-8").splitlines():
            commit, _, at = line.partition(" ")
            if at == name and _COMMIT.fullmatch(commit):
                return commit
    return None


def _line(path: Path) -> str:
    """The first line of a small file."""
    with path.open(encoding="utf-8") as file:
        return file.readline(4096).strip()
