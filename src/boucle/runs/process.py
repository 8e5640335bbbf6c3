"""The process that makes a run, as tags: by which command, where, in which Python. Secrets are masked.

Light: a program that starts a run loads it at once.
"""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

# The bounds keep a long line from taking the square of its length.
_NAME: Final = r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|(?:api|access|private)[_-]?key|credential|auth)[\w-]{0,60}"
_QUOTED: Final = r"""[rbfu]{0,2}(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
_SECRET: Final = re.compile(
    rf"(?i)({_NAME})("
    # What may stand between a name and its value: `"key": `, `["key"] = `, `<key>`, `key := `.
    rf"""(?:\\?["'])?[\])]*\s*(?:[=!:]=|=>|[=:]|(?<=\w)>)\s*)({_QUOTED}(?:\s*\+?\s*{_QUOTED})*|\S.*)"""
)
_GIVEN: Final = re.compile(rf"""(?i)({_NAME}\\?["']\s*,\s*)({_QUOTED})""")
"""A value beside its name, as in `getenv("API_KEY", "abc")`."""
_OPTION: Final = re.compile(rf"(?i)((?<![\w-])--[\w-]{{0,60}}{_NAME})(\s+)({_QUOTED}|\S+)")
_SECRET_NAME: Final = re.compile(rf"(?i){_NAME}$")
_IN_URL: Final = re.compile(r"(\w{1,20}://)[^/\s]+@")
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
        "boucle.command": " ".join(masked(argv)),
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
        secret = not hide and name.startswith("-") and _SECRET_NAME.search(name) is not None
        if hide:
            found.append("[masked]")
        elif secret and equals:
            found.append(f"{name}=[masked]")
        else:
            found.append(without_secrets(word))
        hide = secret and not equals
    return found


def without_secrets(text: str) -> str:
    """A text in which values of names that sound secret, and logins in addresses, are masked.

    A value without quotes goes to the end of its line. What goes on in the next line is not known as part of a value.

    >>> without_secrets("+API_KEY = 'abc'  # https://me:pw@host/x")
    '+API_KEY = [masked]  # https://[masked]@host/x'
    >>> without_secrets('{"password": "my phrase", "depth": 3}')
    '{"password": [masked], "depth": 3}'
    """
    lines = []
    for line in text.split("\n"):
        plain = _IN_URL.sub(r"\1[masked]@", line)
        plain = _OPTION.sub(r"\1\2[masked]", _GIVEN.sub(r"\1[masked]", plain))
        lines.append(_SECRET.sub(r"\1\2[masked]", plain))
    return "\n".join(lines)
