"""Settings of the machine, not of the project; the first wins: flag, environment, file, default."""

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from boucle.kernel.errors import InvalidInput
from boucle.kernel.paths import translate

FILE_NAME: Final = "boucle.toml"
"""Stands beside boucle.yaml; its table `[boucle]` has the settings' names as keys."""

Source = Literal["flag", "environment", "file", "default"]


class Setting(Struct, frozen=True):
    """One setting, and where its value came from."""

    name: str
    value: str
    source: Source
    description: str


@dataclass(frozen=True, slots=True)
class Known:
    """A setting that exists."""

    name: str
    default: str
    allowed: str
    description: str
    normalise: Callable[[str], str | None]
    """The value as it is used; None if it is not allowed."""

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"BOUCLE_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """Its flag on the command line."""
        return f"--{self.name.replace('_', '-')}"


def _one_of(*choices: str) -> Callable[[str], str | None]:
    return lambda value: value.lower() if value.lower() in choices else None


def _threads(value: str) -> str | None:
    if not (value.isascii() and value.isdecimal()):
        return None
    number = int(value)
    if number > 256:
        return None
    return str(number or len(os.sched_getaffinity(0)))


def _folder(value: str) -> str | None:
    return value if value.strip() and "\0" not in value else None


KNOWN: Final = (
    Known(
        "home",
        ".boucle",
        "a folder",
        "The folder that keeps everything Boucle stores. Relative to the current folder as a flag or variable, to "
        "boucle.yaml's folder in the file.",
        _folder,
    ),
    Known(
        "log_level",
        "warning",
        "debug, info, warning, error",
        "The least severe messages that are logged to standard error.",
        _one_of("debug", "info", "warning", "error"),
    ),
    Known("threads", "0", "0 to 256", "Threads for computing; 0 means one for each core that may be used.", _threads),
    Known(
        "color",
        "auto",
        "auto, always, never",
        "Whether the terminal output is coloured; `auto` asks whether it is a terminal and obeys NO_COLOR.",
        _one_of("auto", "always", "never"),
    ),
)
"""Every setting."""


def resolve(flags: Mapping[str, str | None], environ: Mapping[str, str], folder: Path) -> list[Setting]:
    """Every setting for the project in `folder`, in the order of `KNOWN`.

    `flags` are keyed by the settings' names; None and missing mean that the flag was not given. Empty
    environment variables count as not set. InvalidInput names the value, where it stands and what is allowed.
    """
    from_file = _read_file(folder / FILE_NAME)
    return [_resolve(known, flags, environ, from_file, folder) for known in KNOWN]


def value_of(settings: list[Setting], name: str) -> str:
    """The value of one setting.

    >>> value_of(resolve({"threads": "2"}, {}, Path("/project")), "threads")
    '2'
    """
    return next(setting.value for setting in settings if setting.name == name)


def _resolve(
    known: Known,
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    from_file: Mapping[str, str],
    folder: Path,
) -> Setting:
    flag, variable = flags.get(known.name), environ.get(known.variable)
    source: Source
    if flag is not None:
        source, given, where, base = "flag", flag, known.flag, Path.cwd()
    elif variable:
        source, given, where, base = "environment", variable, known.variable, Path.cwd()
    elif known.name in from_file:
        source, given, where, base = "file", from_file[known.name], f"{FILE_NAME}: boucle.{known.name}", folder
    else:
        source, given, where, base = "default", known.default, "the default", folder
    value = known.normalise(given)
    if value is None:
        raise InvalidInput(
            f"{where}: {known.name} is {given!r}; allowed is {known.allowed}",
            hint=f"correct {where}; `boucle settings --help` lists what is allowed",
        )
    if known.name == "home":
        value = os.path.normpath(base.absolute() / Path(value).expanduser())
    return Setting(known.name, value, source, known.description)


def _read_file(path: Path) -> dict[str, str]:
    hint = f"correct it, or go on without: mv '{path}' '{path}.damaged'"
    try:
        with translate(path):
            document = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#x}", hint=hint
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{path} is not TOML: {error}", hint=hint) from error
    for name in document:
        if name != "boucle":
            raise InvalidInput(f"{path}: unknown key {name!r}; allowed is the table [boucle]", hint=hint)
    table = document.get("boucle", {})
    if not isinstance(table, dict):
        raise InvalidInput(f"{path}: boucle is {table!r}; allowed is a table [boucle]")
    return {name: _file_value(path, name, value) for name, value in table.items()}


def _file_value(path: Path, name: str, value: object) -> str:
    names = [known.name for known in KNOWN]
    if name not in names:
        nearest = get_close_matches(name, names, n=1)
        raise InvalidInput(
            f"{path}: unknown key boucle.{name}; allowed are {', '.join(names)}",
            hint=f"did you mean {nearest[0]}?" if nearest else "correct it; `boucle settings` shows what counts",
        )
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InvalidInput(f"{path}: boucle.{name} is {value!r}; allowed is a text or a whole number")
    return str(value)
