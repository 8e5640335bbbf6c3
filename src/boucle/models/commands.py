"""The command lines that errors and reports point at.

Each names its project, so that it means the same in any folder, and can be pasted into a shell whatever the names are.
"""

from shlex import quote


def about(verb: str, project_id: str, model: str, *words: object, **options: object) -> str:
    """The command of `boucle models` about a model, with its further arguments and options; True for one without value.

    >>> about("approve", "flights", "flights", 3)
    'boucle models approve flights 3 --in flights'
    >>> about("policy set", "team-a", "flight delays", reviews=1)
    "boucle models policy set 'flight delays' --reviews 1 --in team-a"
    """
    return _line(f"boucle models {verb}", [model, *words], {**options, "in": project_id})


def sign(project_id: str, model: str, number: int) -> str:
    """The command that signs a version.

    >>> sign("flights", "flights", 3)
    'boucle sign flights/3 --key FILE --in flights'
    """
    return _line("boucle sign", [f"{model}/{number}"], {"key": "FILE", "in": project_id})


def deploy(project_id: str, model: str, number: int | str, endpoint: str) -> str:
    """The command that lets a version answer at an endpoint.

    >>> deploy("team-a", "flight delays", 3, "flights")
    "boucle deploy 'flight delays/3' --to flights --in team-a"
    """
    return _line("boucle deploy", [f"{model}/{number}"], {"to": endpoint, "in": project_id})


def listed(project_id: str) -> str:
    """The command that lists the models of a project.

    >>> listed("team-a")
    'boucle models list --in team-a'
    """
    return _line("boucle models list", [], {"in": project_id})


def _line(command: str, words: list[object], options: dict[str, object]) -> str:
    """A command line for a shell; words that look like options stand after `--`.

    >>> _line("boucle models show", ["-x", 3], {"in": "flights"})
    'boucle models show --in flights -- -x 3'
    """
    said, told = [quote(str(word)) for word in words], []
    for name, value in options.items():
        told.append(f"--{name}" if value is True else f"--{name} {quote(str(value))}")
    if any(str(word).startswith("-") for word in words):
        return " ".join([command, *told, "--", *said])
    return " ".join([command, *said, *told])
