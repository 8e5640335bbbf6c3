"""What a step's result depends on, as digests."""

import inspect
import platform
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

import msgspec

from boucle.kernel.digests import Digest, canonical_json, digest_file, digest_json
from boucle.kernel.errors import InvalidInput, NotFound
from boucle.kernel.trees import digest_folder
from boucle.pipeline.imports import FirstParty, Root, legible
from boucle.pipeline.records import Ingredients
from boucle.pipeline.step import Step

_PACKAGE = Path(__file__).resolve().parents[1]


def environment_digest(path: Iterable[str] | None = None) -> Digest:
    """Digest of the Python version, the platform, and the installed distributions' names and versions.

    `path` are the folders to look in, by default `sys.path`. Reads folder names only: a few milliseconds.
    """
    found = {name for folder in (sys.path if path is None else path) for name in _distributions(Path(folder))}
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return digest_json([python, sys.platform, platform.machine(), sorted(found)])


def _distributions(folder: Path) -> list[str]:
    """`name-version` of each distribution in a folder (PyPA: Recording installed projects)."""
    if not folder.is_dir():
        return []
    return [entry.stem for entry in folder.iterdir() if entry.suffix in (".dist-info", ".egg-info")]


def first_party(project_root: Path) -> FirstParty:
    """A reader of the code that is the user's or Boucle's own; everything else counts by its version."""
    package = Root(label=_PACKAGE.name, folder=_PACKAGE.parent, package=_PACKAGE.name)
    return FirstParty([package, Root(label="project", folder=project_root.resolve())])


def ingredients_of(step: Step[object], code: FirstParty, project_root: Path, environment: Digest) -> Ingredients:
    """All that a step's result depends on, except the results of the steps it needs."""
    files, parts = anatomy(step.function, f"the function of step {step.name!r}")
    return Ingredients(
        step=step.name,
        code=code.digest(files),
        params=digest_json([_plain(step.params, f"`params` of step {step.name!r}"), parts]),
        environment=environment,
        sources=dict(_source_digest(step, source, code, project_root.resolve()) for source in step.sources),
    )


def anatomy(function: object, name: str) -> tuple[list[Path], list[msgspec.Raw]]:
    """The files that hold a function and all that it captures; then what it is made of, as JSON: names and values.

    Captured are closure cells, default values, a partial's arguments and a bound method's object. InvalidInput for
    values that cannot be written as JSON, because their changes could not be seen. `name` stands for it in errors.
    """
    files: dict[Path, None] = {}
    parts: list[msgspec.Raw] = []
    waiting, seen = deque([function]), [function]
    while waiting:
        part = waiting.popleft()
        if isinstance(part, FunctionType | MethodType | partial):
            new = [other for other in _held_by(part) if not any(other is known for known in seen)]
            waiting.extend(new)
            seen.extend(new)
        parts.append(_plain(_name_of(part) or part, f"what {name} captures"))
        if file := _file_of(part):
            files[file] = None
    if not files:
        raise InvalidInput(f"{name} has no source file; define it in a module")
    return list(files), parts


def _name_of(part: object) -> list[str | int] | None:
    """What tells a piece of code from others in the same files; None for values."""
    if isinstance(part, FunctionType):
        return [part.__module__, part.__qualname__, part.__code__.co_firstlineno]
    if isinstance(part, type | BuiltinFunctionType):
        return [part.__module__, part.__qualname__]
    if isinstance(part, ModuleType):
        return [part.__name__]
    if isinstance(part, MethodType | partial):
        return ["method" if isinstance(part, MethodType) else "partial"]
    return None


def _held_by(part: object) -> Iterator[object]:
    """What a callable holds besides its code."""
    if isinstance(part, partial):
        yield from (part.func, *part.args, *part.keywords.items())
    elif isinstance(part, MethodType):
        yield from (part.__func__, part.__self__)
    elif isinstance(part, FunctionType):
        yield from part.__defaults__ or ()
        yield from (part.__kwdefaults__ or {}).items()
        for cell in part.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # a name that is not bound yet
                continue


def _file_of(part: object) -> Path | None:
    if not isinstance(part, FunctionType | type | ModuleType):
        return None
    try:
        name = inspect.getsourcefile(part)
    except TypeError:  # built in
        return None
    file = Path(name).resolve() if name else None
    return file if file and file.is_file() and file.suffix == ".py" else None


def _plain(value: object, name: str) -> msgspec.Raw:
    try:
        return msgspec.Raw(canonical_json(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{name} cannot be written as JSON ({error}), so its changes could not be seen; "
            "allowed are numbers, text, dates, lists, mappings and records of these",
            hint="hand plain values over as the step's `params`, and open files, stores and clients in the function",
        ) from error


def _source_digest(step: Step[object], source: Path, code: FirstParty, root: Path) -> tuple[str, Digest]:
    try:
        path = (root / source).resolve()
    except (OSError, RuntimeError):  # a loop of links
        path = root / source
    label = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    with legible(path):
        if path.is_dir():
            return label, digest_folder(path)
        if path.is_file():
            return label, code.digest([path]) if path.suffix == ".py" else digest_file(path)
    raise NotFound(
        f"step {step.name!r} reads {label!r}, which is no file or folder in {str(root)!r}",
        hint="put the file there, or correct its name in boucle.yaml",
    )
