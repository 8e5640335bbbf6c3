"""The decorator `boucle.tracked`: each call of a function is a run."""

import functools
import inspect
import sys
import time
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar, cast, overload

from boucle.kernel.errors import BoucleError, InvalidInput
from boucle.runs.client import checks
from boucle.runs.client.run import ActiveRun
from boucle.runs.client.start import start_run

P = ParamSpec("P")
R = TypeVar("R")
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@overload
def tracked(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def tracked(*, experiment: str | None = ..., name: str | None = ...) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def tracked(
    function: Callable[P, R] | None = None, /, *, experiment: str | None = None, name: str | None = None
) -> Callable[P, R] | Callable[[Callable[P, R]], Callable[P, R]]:
    """Make each call of a function a run: its plain arguments are params, the numbers it returns in a dict metrics.

    A function that has a parameter `run` gets the run. That of a coroutine ends with it. InvalidInput for a generator,
    whose work is done after the call.
    """

    def decorate(inner: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(inner)
        title = name or getattr(inner, "__name__", "call")
        place = _place_of_run(signature)
        if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
            raise InvalidInput(
                f"{title} is a generator; allowed are functions that return a result",
                hint="in it, write: with boucle.start_run() as run:",
            )

        def log_call(
            run: ActiveRun, args: tuple[object, ...], kwargs: dict[str, object]
        ) -> tuple[tuple[object, ...], dict[str, object]]:
            """Log the params; the arguments with the function's run, at its place where others are given by theirs."""
            if place is not None and "run" not in kwargs:
                if place >= len(args):
                    kwargs = {**kwargs, "run": run}
                elif not isinstance(args[place], ActiveRun):
                    args = (*args[:place], run, *args[place:])
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            plain = {
                key: checks.storable(value)
                for key, value in bound.arguments.items()
                if isinstance(value, str | int | float | bool | None) and key != "run"
            }
            run.log_params(plain)
            return args, kwargs

        @functools.wraps(inner)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with start_run(experiment, title) as run:
                given, named = log_call(run, args, kwargs)
                result = inner(*given, **named)  # type: ignore[arg-type]
                _log_result(run, result)
                return result

        @functools.wraps(inner)
        async def call_coroutine(*args: P.args, **kwargs: P.kwargs) -> object:
            kind: type[BaseException] | None = None
            run = start_run(experiment, title)
            try:
                given, named = log_call(run, args, kwargs)
                result = await cast(Awaitable[object], inner(*given, **named))  # type: ignore[arg-type]
                _log_result(run, result)
            except BaseException as error:
                kind = type(error)
                raise
            finally:
                await _end(run, kind)
            return result

        return cast(Callable[P, R], call_coroutine) if inspect.iscoroutinefunction(inner) else call

    return decorate if function is None else decorate(function)


def _place_of_run(signature: inspect.Signature) -> int | None:
    """Where among the arguments a function takes its run, behind all if by name only; None if it takes none."""
    if "run" not in signature.parameters:
        return None
    by_place = [key for key, one in signature.parameters.items() if one.kind in _BY_PLACE]
    return by_place.index("run") if "run" in by_place else sys.maxsize


async def _end(run: ActiveRun, kind: type[BaseException] | None) -> None:
    """End a run beside the event loop, as that may take seconds."""
    import asyncio

    end = functools.partial(run.__exit__, kind, None, None)
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # a loop of another kind
        end()
    else:
        await asyncio.to_thread(end)


def _log_result(run: ActiveRun, result: object) -> None:
    """Log the numbers of a result as metrics. It is good whether tracking takes them or not."""
    if not isinstance(result, dict):
        return
    at_ms = time.time_ns() // 1_000_000
    for name, value in result.items():
        if isinstance(name, str) and isinstance(value, int | float):
            try:
                run.log(name, value, at_ms=at_ms)
            except BoucleError as error:
                run.lose(f"{name[:60]!r} of the result of {run.name!r} is not logged: {error.message}")
