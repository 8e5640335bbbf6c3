"""What makes a run repeatable, found out beside the training: code, changes, environment, command, person, machine."""

import logging
import os
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from boucle.runs.client.environment import environment_document
from boucle.runs.code_version import detect, uncommitted

if TYPE_CHECKING:
    from boucle.runs.client.run import ActiveRun

_SECRET: Final = re.compile(
    r"(?i)((?:pass(?:word|wd)?|secret|token|api[_-]?key|access[_-]?key|credential|auth)[\w-]*)(\s*[=:]\s*|\s+)(\S+)"
)
_IN_URL: Final = re.compile(r"(\w+://)[^/\s@]+@")
_log: Final = logging.getLogger(__name__)


def trace(run: "ActiveRun", folder: Path, argv: Sequence[str]) -> None:
    """Add to a run what can be found out; whatever fails is left out."""
    for part in (_code, _environment, _process):
        try:
            part(run, folder, argv)
        except Exception as error:  # noqa: BLE001 - the edge of a thread beside training, which it must not disturb
            _log.debug("%s of a run is not known: %s", part.__name__, error)


def _code(run: "ActiveRun", folder: Path, argv: Sequence[str]) -> None:
    del argv
    tags = detect(folder)
    if not tags:
        return
    if "git.revision" in tags:
        tags = {**tags, "mlflow.source.git.commit": tags["git.revision"]}
        if "git.branch" in tags:
            tags["mlflow.source.git.branch"] = tags["git.branch"]
        if "git.remote" in tags:
            tags["mlflow.source.git.repoURL"] = tags["git.remote"]
    run.set_tags(tags)
    changes = uncommitted(folder)
    if changes:
        run.log_text(without_secrets(changes), "boucle/code.diff")


def _environment(run: "ActiveRun", folder: Path, argv: Sequence[str]) -> None:
    del folder, argv
    document, digest = environment_document()
    run.log_text(document, "boucle/environment.json")
    run.set_tags({"boucle.environment": digest})


def _process(run: "ActiveRun", folder: Path, argv: Sequence[str]) -> None:
    is_notebook = "ipykernel" in sys.modules
    source = argv[0] if argv and argv[0] else "python"
    run.set_tags(
        {
            "mlflow.source.name": source[:8000],
            "mlflow.source.type": "NOTEBOOK" if is_notebook else "LOCAL",
            "boucle.command": without_secrets(" ".join(masked(argv)))[:8000],
            "boucle.folder": str(folder)[:8000],
            "boucle.host": socket.gethostname(),
            "boucle.process": str(os.getpid()),
        }
    )


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
