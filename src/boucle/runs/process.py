"""The process that makes a run, as tags: by which command, where, in which Python. Secrets are masked.

Light: a program that starts a run loads it at once.
"""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_SECRET: Final = re.compile(
    r"(?i)((?:pass(?:word|wd)?|secret|token|api[_-]?key|access[_-]?key|credential|auth)[\w-]*)(\s*[=:]\s*|\s+)(\S+)"
)
_IN_URL: Final = re.compile(r"(\w+://)[^/\s@]+@")
_LONGEST: Final = 8000


def process_tags(folder: Path | None, argv: Sequence[str]) -> dict[str, str]:
    """By which command, where, in which process and Python; also the seed of Python's hashes where one is set.

    No `folder` is one that was deleted under the process.
    """
    hash_seed = os.environ.get("PYTHONHASHSEED", "")
    found = {
        **({"boucle.hash_seed": hash_seed} if hash_seed.isdecimal() else {}),
        "mlflow.source.name": argv[0] if argv and argv[0] else "python",
        "mlflow.source.type": "NOTEBOOK" if "ipykernel" in sys.modules else "LOCAL",
        "boucle.command": without_secrets(" ".join(masked(argv))),
        **({} if folder is None else {"boucle.folder": str(folder)}),
        "boucle.host": os.uname().nodename,
        "boucle.process": str(os.getpid()),
        "boucle.python": sys.version.split()[0],
    }
    # Names of files may hold bytes that are no text.
    return {name: value.encode(errors="replace").decode()[:_LONGEST] for name, value in found.items()}


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
