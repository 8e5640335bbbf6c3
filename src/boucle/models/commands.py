"""The command lines that errors and reports point at: each names its project, so that it works in any folder."""

from shlex import quote
from typing import Final

_BARE: Final = "default"
"""The project of a folder without boucle.yaml, which no command needs to name."""


def about(verb: str, project_id: str, model: str, *more: object) -> str:
    """The command of `boucle models` about a model; what follows is given as it is.

    >>> about("approve", "default", "flights", 3)
    'boucle models approve flights 3'
    >>> about("policy set", "team-a", "flight delays", "--reviews 1")
    "boucle models policy set 'flight delays' --reviews 1 --in team-a"
    """
    return " ".join(["boucle models", verb, quote(model), *map(str, more)]) + in_project(project_id)


def sign(project_id: str, model: str, number: int) -> str:
    """The command that signs a version.

    >>> sign("default", "flights", 3)
    'boucle sign flights/3 --key FILE'
    """
    return f"boucle sign {quote(f'{model}/{number}')} --key FILE{in_project(project_id)}"


def listed(project_id: str) -> str:
    """The command that lists the models of a project, in any folder.

    >>> listed("team-a")
    'boucle models list --in team-a'
    """
    return f"boucle models list{in_project(project_id)}"


def in_project(project_id: str) -> str:
    """The option that names a project; empty for the one that is meant without it."""
    return "" if project_id == _BARE else f" --in {quote(project_id)}"
