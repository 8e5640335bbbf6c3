"""What makes a run repeatable, as tags: code, command, machine, environment. Secrets are masked."""

import functools
import os
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from boucle.runs.code_version import detect
from boucle.runs.environment import environment_document

_SECRET: Final = re.compile(
    r"(?i)((?:pass(?:word|wd)?|secret|token|api[_-]?key|access[_-]?key|credential|auth)[\w-]*)(\s*[=:]\s*|\s+)(\S+)"
)
_IN_URL: Final = re.compile(r"(\w+://)[^/\s@]+@")
_LONGEST: Final = 8000
_MLFLOW: Final = {
    "git.revision": "mlflow.source.git.commit",
    "git.branch": "mlflow.source.git.branch",
    "git.remote": "mlflow.source.git.repoURL",
}
"""What MLflow's clients call the same."""


@functools.cache
def origin_tags(folder: Path) -> dict[str, str]:
    """Tags of every run that this process makes in a project's folder: its code, command, machine and environment."""
    tags = code_tags(folder) | process_tags(folder, sys.argv)
    return {**tags, "boucle.environment": environment_document()[1]}


def code_tags(folder: Path) -> dict[str, str]:
    """Which version of the code a folder holds, also in MLflow's words; empty if nobody knows."""
    tags = detect(folder)
    return tags | {_MLFLOW[name]: value for name, value in tags.items() if name in _MLFLOW}


def process_tags(folder: Path, argv: Sequence[str]) -> dict[str, str]:
    """By which command, where and in which process; also the seed of Python's hashes where one is set."""
    hash_seed = os.environ.get("PYTHONHASHSEED", "")
    return {
        **({"boucle.hash_seed": hash_seed} if hash_seed.isdecimal() else {}),
        "mlflow.source.name": (argv[0] if argv and argv[0] else "python")[:_LONGEST],
        "mlflow.source.type": "NOTEBOOK" if "ipykernel" in sys.modules else "LOCAL",
        "boucle.command": without_secrets(" ".join(masked(argv)))[:_LONGEST],
        "boucle.folder": str(folder)[:_LONGEST],
        "boucle.host": socket.gethostname(),
        "boucle.process": str(os.getpid()),
    }


def masked(argv: Sequence[str]) -> list[str]:
    """A command line without what looks like a secret.

    >>> masked(["train.py", "--api-key", "k1", "--token=t1", "--depth", "3", "postgresql://me:pw@db/x"])
    ['train.py', '--api-key', '[masked]', '--token=[masked]', '--depth', '3', 'postgresql://[masked]@db/x']
    """
    found = []
    hide = False
    for word in argv:
        name, equals, _ = word.partition("=")
        secret = name.startswith("-") and _SECRET.match(name.lstrip("-") + "=x") is not None
        if hide and not word.startswith("-"):
            found.append("[masked]")
        elif secret and equals:
            found.append(f"{name}=[masked]")
        else:
            found.append(_IN_URL.sub(r"\1[masked]@", word))
        hide = secret and not equals
    return found


def without_secrets(text: str) -> str:
    """A text in which values of names that sound secret, and logins in addresses, are masked.

    >>> without_secrets("+API_KEY = 'abc'  # https://me:pw@host/x")
    '+API_KEY = [masked]  # https://[masked]@host/x'
    """
    lines = []
    for line in text.split("\n"):
        plain = _IN_URL.sub(r"\1[masked]@", line)
        lines.append(re.sub(_SECRET.pattern.replace(r"|\s+)", ")"), r"\1\2[masked]", plain))
    return "\n".join(lines)
