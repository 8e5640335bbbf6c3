"""Answers a shell that asks how a command line could go on.

The scripts in `completions/` call `boucle` with the words typed so far, the one at the cursor last, and
`_BOUCLE_COMPLETE` set to the shell's name. The answer is a line a candidate, `value<TAB>what it is`, or `:files` or
`:folders`, for which the shell has its own means.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import EnumMeta
from typing import Any, Final, get_args

Candidate = tuple[str, str]

FILES: Final = (":files", "")
FOLDERS: Final = (":folders", "")
SHELLS: Final = ("bash", "zsh", "fish")

VALUES: Final[dict[str, Sequence[str]]] = {
    "color": ("auto", "always", "never"),
    "log_level": ("debug", "info", "warning", "error"),
    "alias": ("champion",),
    "host": ("127.0.0.1", "localhost", "::1"),
    "shell": SHELLS,
}
"""Values by the name of an option or argument."""
_FOLDERS: Final = ("project", "home", "folder", "directory", "to")
_FILES: Final = ("html", "answers", "table", "file", "path", "archive")


def answer(words: Sequence[str]) -> int:
    """Write the candidates for a shell; the exit code."""
    import typer

    from boucle.app.main import app

    sys.stdout.write("".join(f"{value}\t{told}\n" for value, told in complete(typer.main.get_command(app), words)))
    return 0


def complete(program: Any, words: Sequence[str]) -> list[Candidate]:
    """What the last word could become, after the words before it.

    bash takes `--color=al` for three words; then only the value is completed.
    """
    *before, current = words or [""]
    split = False
    if current == "=" and before:
        current, split = "", True
    elif len(before) > 1 and before[-1] == "=":
        before, split = before[:-1], True
    path, given = _walk(program, [word for word in before if word != "="])
    command, option = path[-1], _option(path, before[-1]) if before else None
    name, equals, begun = current.partition("=")
    if option is not None and _takes_value(option) and (split or before[-1] != "--"):
        return _starting(current, _values(option))
    if equals and (option := _option(path, name)) is not None:
        found = [(f"{name}={value}", told) for value, told in _starting(begun, _values(option)) if value[0] != ":"]
        return found or [one for one in _values(option) if one in (FILES, FOLDERS)]
    if current.startswith("-"):
        return _starting(current, _options(path))
    if hasattr(command, "commands"):
        return [] if given else _starting(current, _commands(command))
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    if not arguments:
        return []
    return _starting(current, _values(arguments[min(given, len(arguments) - 1)]))


def _walk(program: Any, words: Iterable[str]) -> tuple[list[Any], int]:
    """The groups and the command that the words name, and how many arguments stand behind it."""
    path, given, rest = [program], 0, iter(words)
    for word in rest:
        if word.startswith("-") and word != "-":
            option = _option(path, word.partition("=")[0])
            if option is not None and _takes_value(option) and "=" not in word:
                next(rest, None)
        elif word in getattr(path[-1], "commands", {}):
            path.append(path[-1].commands[word])
        else:
            given += 1
    return path, given


def _option(path: Sequence[Any], word: str) -> Any | None:
    """The command's own option of that name, or a global one: those may stand anywhere."""
    return next(
        (one for command in (path[-1], path[0]) for one in command.params if word.startswith("-") and word in one.opts),
        None,
    )


def _takes_value(option: Any) -> bool:
    return not getattr(option, "is_flag", False) and not getattr(option, "count", False)


def _options(path: Sequence[Any]) -> Iterator[Candidate]:
    commands = path[-1:] if len(path) == 1 else (path[-1], path[0])
    for command in commands:
        for one in command.params:
            if one.param_type_name == "option" and not getattr(one, "hidden", False):
                told = _first_sentence(one.help)
                yield from ((name, told) for name in one.opts if name.startswith("--"))
    yield "--help", "Show the help."


def _commands(group: Any) -> Iterator[Candidate]:
    for name, command in group.commands.items():
        if not command.hidden:
            yield name, _first_sentence(command.help)


def _values(parameter: Any) -> Iterator[Candidate]:
    name = str(parameter.name)
    choices = _choices(parameter)
    if name == "code":
        from boucle.app.explained import everything

        yield from {one.code: one.title for one in reversed(everything())}.items()
    elif choices:
        yield from ((choice, "") for choice in choices)
    elif name in VALUES:
        yield from ((value, "") for value in VALUES[name])
    elif name in _FOLDERS:
        yield FOLDERS
    elif name in _FILES:
        yield FILES


def _choices(parameter: Any) -> list[str]:
    """What the parameter's type allows. New versions of Typer keep the annotation, old ones have Click's type."""
    annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    found: Iterable[object] = get_args(annotation) or getattr(getattr(parameter, "type", None), "choices", None) or ()
    if isinstance(annotation, EnumMeta):
        members: Iterable[Any] = annotation.__members__.values()
        found = [member.value for member in members]
    return [one for one in found if isinstance(one, str)]


def _starting(current: str, candidates: Iterable[Candidate]) -> list[Candidate]:
    return [one for one in candidates if one[0].startswith(current) or one in (FILES, FOLDERS)]


def _first_sentence(text: str | None) -> str:
    return " ".join((text or "").partition("\n\n")[0].split()).partition(". ")[0].rstrip(".")
