"""Python sources: a function of the user's that returns a table. One of the three edges where any exception is
caught."""

import importlib.util
import inspect
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import polars as pl

from boucle.data.names import nearest
from boucle.kernel.errors import InvalidInput, ProjectCodeFailed

_NAME = "boucle_source"
_lock = threading.Lock()


def call(path: Path, function: str, folder: Path) -> pl.DataFrame:
    """What `function` of the file at `path` returns.

    The file may import its neighbours in `folder`. Afterwards `sys.path` and `sys.modules` are as before, so that an
    edited file is read anew, and no `__pycache__` is left beside it. One source runs at a time.
    """
    with _lock, _importable(folder, path.parent):
        module = _load(path)
        table = _run(_function(module, path, function), path, function)
    if isinstance(table, pl.LazyFrame):
        with _explained(path, f"{path.name}:{function}()"):
            table = table.collect()
    if not isinstance(table, pl.DataFrame):
        kind = f"{type(table).__module__}.{type(table).__qualname__}".removeprefix("builtins.")
        raise InvalidInput(
            f"{path.name}:{function}() returned a {kind}; a polars.DataFrame is needed",
            hint=f"end the function with a polars table, for pandas: return polars.from_pandas(frame) ({path})",
        )
    return table


@contextmanager
def _importable(*folders: Path) -> Iterator[None]:
    path, modules, bytecode = list(sys.path), set(sys.modules), sys.dont_write_bytecode
    sys.path[:0] = [str(folder) for folder in dict.fromkeys(folders)]
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        sys.dont_write_bytecode = bytecode
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None)
            if name == _NAME or (file and any(Path(file).parent.is_relative_to(folder) for folder in folders)):
                del sys.modules[name]


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module
    with _explained(path, f"{path.name} can't be imported"):
        spec.loader.exec_module(module)
    return module


def _function(module: ModuleType, path: Path, name: str) -> Callable[[], object]:
    functions = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
    function: Callable[[], object] | None = getattr(module, name, None)
    if not callable(function):
        meant = nearest(name, functions)
        raise InvalidInput(
            f"{path.name} has no function `{name}`; it has {', '.join(functions) or 'none'}",
            hint=f"write `source: {path.name}:{meant or (functions or ['load'])[0]}` in boucle.yaml",
        )
    required = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if required:
        raise InvalidInput(
            f"{path.name}:{name} needs the arguments {', '.join(required)}; a source is a function without arguments",
            hint=f"give them defaults in {path}",
        )
    return function


def _run(function: Callable[[], object], path: Path, name: str) -> object:
    with _explained(path, f"{path.name}:{name}() failed"):
        return function()


@contextmanager
def _explained(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit, pl.exceptions.PanicException) as error:  # noqa: BLE001 - the user's code may raise anything
        _refuse(error, path, what)


def _refuse(error: BaseException, path: Path, what: str) -> NoReturn:
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if Path(frame.filename).is_relative_to(path.parent)] or frames[-1:]
        place = f"{own[-1].filename}:{own[-1].lineno}"
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    raise ProjectCodeFailed(
        f"{what} at {place}: {type(error).__name__}{f': {text}' if text else ''}",
        hint=f"correct {place}, then run: boucle check (with --debug for the traceback)",
        details={"place": place, "exception": type(error).__name__},
    ) from error
