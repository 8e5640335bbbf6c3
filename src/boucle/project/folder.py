"""Where a project is. Loads nothing of what is in it, for a command may only need to know that."""

from pathlib import Path
from typing import Final

from boucle.kernel.errors import NotFound

NAME: Final = "boucle.yaml"


def find_folder(start: Path | None = None) -> Path:
    """The nearest folder with a boucle.yaml: `start` (or the current folder), else its parents; absolute."""
    asked = (start or Path.cwd()).absolute()
    if not asked.exists():
        raise NotFound(
            f"there is no folder {asked}", hint="give the folder that holds boucle.yaml: boucle --project FOLDER check"
        )
    if asked.is_file():
        asked = asked.parent
    for folder in (asked, *asked.parents):
        if (folder / NAME).is_file():
            return folder
    hint = "go to the folder that has one, or name it: boucle --project FOLDER check; `boucle schema` prints its keys"
    raise NotFound(f"no {NAME} in {asked} or the folders above it", hint=hint)
