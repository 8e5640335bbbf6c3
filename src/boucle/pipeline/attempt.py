"""One execution of one step."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from boucle.kernel.digests import Digest, canonical_json
from boucle.kernel.errors import BoucleError, InvalidInput
from boucle.kernel.points import reach
from boucle.kernel.progress import Progress, Task
from boucle.pipeline.cache import Cache, key_of
from boucle.pipeline.fingerprint import first_party, ingredients_of
from boucle.pipeline.records import Ingredients, Manifest
from boucle.pipeline.step import Step, StepContext

if TYPE_CHECKING:
    from boucle.kernel.store import Store


class Surroundings:
    """What all steps of a run share. Safe for many threads."""

    def __init__(
        self,
        cache: Cache,
        open_store: Callable[[], Store],
        *,
        project_root: Path,
        environment: Digest,
        progress: Progress,
    ) -> None:
        self.cache = cache
        self.project_root = project_root
        self.environment = environment
        self.stop = threading.Event()
        self.say = progress.say
        self.progress = StoppableProgress(progress, self.stop)
        self._open_store = open_store
        self._store: Store | None = None
        self._lock = threading.Lock()

    def store(self) -> Store:
        """The one store of the run, opened at the first call."""
        with self._lock:
            if self._store is None:
                self._store = self._open_store()
            return self._store


def attempt(
    step: Step[object], ingredients: Ingredients, needs: Mapping[str, Manifest], around: Surroundings
) -> Manifest:
    """Call the step's function and keep its value and files. Nothing is kept if it raises."""
    cache, key = around.cache, key_of(ingredients)
    context = StepContext(
        name=step.name,
        params=step.params,
        project_root=around.project_root,
        progress=around.progress,
        needs=needs,
        key=key,
        cache=cache,
        open_store=around.store,
    )
    started = time.perf_counter()  # a duration for people; no result depends on it
    try:
        reach("step.started")
        value_json = _as_json(step, step.function(context))
        reach("step.worked")
        tree = cache.keep_files(context.opened_folder) if context.opened_folder else None
    finally:
        if context.opened_folder:
            shutil.rmtree(context.opened_folder, ignore_errors=True)
    seconds = round(time.perf_counter() - started, 3)
    manifest = cache.manifest(ingredients, value_json, tree, used_database=context.used_store, seconds=seconds)
    if _changed(step, ingredients, around):
        around.say(f"code or data of step {step.name!r} changed while it ran; it will run again next time")
    else:
        cache.write(manifest)
    return manifest


def _as_json(step: Step[object], value: object) -> bytes:
    """The value as JSON; InvalidInput if reading it back would give another one (NaN, an undeclared type)."""
    try:
        encoded = canonical_json(value)
        read_back = msgspec.json.decode(encoded, type=step.returns)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"what step {step.name!r} returned does not fit its `returns`: {error}") from error
    if read_back != value:
        raise InvalidInput(
            f"what step {step.name!r} returned does not come back equal from JSON (NaN or another type than declared?)",
            hint="return a record of plain values; write anything else into the step's folder",
        )
    return encoded


def _changed(step: Step[object], before: Ingredients, around: Surroundings) -> bool:
    """Whether the step's code or sources are other than when the run began, so that its key may name another result."""
    fresh = first_party(around.project_root)
    try:
        now = ingredients_of(step, fresh, around.project_root, around.environment)
    except BoucleError:  # half-written or gone: the result stands, the next run says what is wrong
        return True
    return (now.code, now.sources) != (before.code, before.sources)


class Interrupted(BaseException):
    """Raised in a step at its next word of progress once the run was interrupted; no `except Exception` holds it up."""


class StoppableProgress:
    """Progress that a step passes on the way, and that stops it there."""

    def __init__(self, inner: Progress, stop: threading.Event) -> None:
        self._inner = inner
        self._stop = stop

    def task(self, description: str, total: int | None, *, even: bool = False) -> AbstractContextManager[Task]:
        self.check()
        return _StoppableTask(self._inner.task(description, total, even=even), self)

    def say(self, message: str) -> None:
        self.check()
        self._inner.say(message)

    def check(self) -> None:
        """Raise Interrupted if the run was."""
        if self._stop.is_set():
            raise Interrupted


class _StoppableTask:
    def __init__(self, inner: AbstractContextManager[Task], progress: StoppableProgress) -> None:
        self._inner = inner
        self._progress = progress

    def __enter__(self) -> Task:
        self._task = self._inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, trace)

    def advance(self, n: int = 1, note: str | None = None) -> None:
        self._progress.check()
        self._task.advance(n, note)
