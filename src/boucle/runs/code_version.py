"""Which version of the code a run used, as git knows it."""

import logging
import os
import re
import subprocess
import threading
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

GROUP: Final = "boucle.code_versions"
LARGEST_PATCH: Final = 1 << 20
LARGEST_FILE: Final = 16 << 20
"""What differs in a larger file is not told: git would hold such a file eight times over."""
_TIMEOUT_S: Final = 10.0
_log: Final = logging.getLogger(__name__)
_SCP_LIKE: Final = re.compile(r"(?:[^/@]*@)?(?P<host>[^/:@]+):(?P<path>[^:].*)")


def code_version(folder: Path) -> dict[str, str]:
    """Tags that name the code in a folder: `git.revision`, `git.branch`, `git.dirty`, `git.remote`.

    Empty outside a git repository or without git; a tag that has no value is left out. `git.dirty` is `true` when
    files in the folder differ from the revision or are unknown to git, Boucle's own `.boucle` left aside. No network.
    """
    revision = _git(folder, "rev-parse", "--verify", "HEAD")
    if not revision:
        return {}
    changes = _git(folder, "status", "--porcelain", "--", ".", ":(exclude,glob)**/.boucle/**")
    tags = {
        "git.revision": revision,
        "git.branch": _git(folder, "symbolic-ref", "--short", "HEAD"),
        "git.dirty": None if changes is None else str(bool(changes)).lower(),
        "git.remote": without_credentials(_git(folder, "config", "--get", "remote.origin.url") or ""),
    }
    return {name: value for name, value in tags.items() if value}


class CodeDetector(Protocol):
    """Knows one way of keeping code. Other packages add theirs as entry points of the group `boucle.code_versions`."""

    def detect(self, folder: Path) -> Mapping[str, str] | None:
        """Tags that name the code in a folder, all with a prefix of their own; None if it is not kept this way."""


class Git:
    """Code in a git repository."""

    def detect(self, folder: Path) -> Mapping[str, str] | None:
        return code_version(folder) or None


def detect(folder: Path) -> dict[str, str]:
    """Tags of the first detector that knows the folder, git first; empty if none does. One that fails is left out."""
    for make in (Git, *(one.load for one in entry_points(group=GROUP))):
        try:
            made = make()
            detector: CodeDetector = made() if isinstance(made, type) else made
            found = detector.detect(folder)
        except Exception as error:  # noqa: BLE001 - the edge to a plug-in, which must not cost the run
            _log.warning("a detector of code versions failed: %s", error)
            continue
        if found:
            return {str(name): str(value) for name, value in found.items()}
    return {}


def uncommitted(folder: Path) -> str:
    """What differs from the revision in files that git knows, as a patch of at most 1 MiB; nothing of other files, and
    of those above 16 MiB the names."""
    diff = ("-c", f"core.bigFileThreshold={LARGEST_FILE}", "diff", "--no-ext-diff", "--no-color")
    of = ("HEAD", "--", ".", ":(exclude,glob)**/.boucle/**")
    names = (_git(folder, *diff, "--name-only", "--relative", "-z", *of) or "").split("\0")
    large = [name for name in names if name and _size(folder / name) > LARGEST_FILE]
    patch = _patch(folder, *diff, *of, *(f":(exclude,literal){name}" for name in large))
    return patch + "".join(f"\n[{name} is larger than 16 MiB]\n" for name in large[:100])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def without_credentials(url: str) -> str:
    """A remote's address without user, password, query and fragment; any of them may be a secret.

    >>> without_credentials("https://me:ghp_secret@example.org/team/flights.git?token=x")
    'https://example.org/team/flights.git'
    >>> without_credentials("git@example.org:team/flights.git")
    'example.org:team/flights.git'
    >>> without_credentials("/srv/git/flights.git")
    '/srv/git/flights.git'
    """
    if "://" not in url:
        scp = _SCP_LIKE.fullmatch(url)
        return f"{scp['host']}:{scp['path']}" if scp else url
    try:
        parts = urlsplit(url)
    except ValueError:  # not an address; keep nothing that could hold a secret
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, without the line end; None if it fails, hangs or is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            timeout=_TIMEOUT_S,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def _patch(folder: Path, *arguments: str) -> str:
    """The beginning of what git prints: no more of it is read, whatever its length. Empty where `_git` gives None."""
    try:
        process = subprocess.Popen(
            ["git", "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
    except OSError:
        return ""
    late = threading.Timer(_TIMEOUT_S, process.kill)
    late.daemon = True
    late.start()
    with process:
        data = process.stdout.read(LARGEST_PATCH + 1) if process.stdout is not None else b""
        is_cut = len(data) > LARGEST_PATCH
        if is_cut:
            process.kill()
    late.cancel()
    if not is_cut and process.returncode:
        return ""
    text = data[:LARGEST_PATCH].decode(errors="replace").strip()
    return f"{text}\n[cut off]\n" if is_cut else text


def _environment() -> dict[str, str]:
    return {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
