"""Whether boucle.yaml is another file than it was: what runs goes by what it read when it began."""

from hashlib import sha256
from pathlib import Path
from typing import Final

from boucle.project.folder import NAME

RESTART: Final = "what runs goes on by what it read; to take it over, check it (boucle check) and start boucle up again"


def fingerprint(folder: Path) -> str:
    """Names what the file of a folder says; empty where it cannot be read."""
    try:
        return sha256((folder / NAME).read_bytes()).hexdigest()
    except OSError:
        return ""


class ChangedFile:
    """The file of a project as it was when this was made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._was = self._told = fingerprint(folder)

    def news(self) -> str:
        """What to tell of it, once for each time that it is another one; empty where there is nothing to tell."""
        now = fingerprint(self._folder)
        if now == self._told:
            return ""
        self._told = now
        if now == self._was:
            return f"{NAME} is again as it was read"
        return f"{NAME} has changed; {RESTART}"
