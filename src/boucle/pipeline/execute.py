"""Runs a pipeline: takes kept results, runs the other steps in parallel threads."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

import msgspec

from boucle.kernel.digests import Digest
from boucle.kernel.errors import InvalidInput
from boucle.kernel.progress import Progress, Task
from boucle.pipeline.attempt import Surroundings, attempt
from boucle.pipeline.cache import Cache, key_of
from boucle.pipeline.failures import failure
from boucle.pipeline.fingerprint import first_party, ingredients_of
from boucle.pipeline.graph import Pipeline
from boucle.pipeline.records import Ingredients, Manifest, PipelineResult, StepOutcome, StepState

if TYPE_CHECKING:
    from boucle.kernel.store import Store

_POLL_S: Final = 0.2
_GRACE_S: Final = 5.0


def run(
    pipeline: Pipeline,
    store_home: Path,
    open_store: Callable[[], Store],
    *,
    project_root: Path,
    environment: Digest,
    progress: Progress,
    threads: int = 2,
    force: bool = False,
) -> PipelineResult:
    """Run every step whose kept result is missing or no longer fits; `force` runs them all.

    `open_store` is called at most once, by the first step that asks for the store; the caller closes what it opened.
    When a step fails, those that are running finish, then an error of the failure's class tells what is kept. After
    KeyboardInterrupt no step starts, running ones stop at their next word of progress, and finished ones are kept.
    """
    if threads < 1:
        raise InvalidInput(f"{threads} threads were asked for; allowed is 1 or more")
    cache = Cache(store_home)
    around = Surroundings(cache, open_store, project_root=project_root, environment=environment, progress=progress)
    code = first_party(project_root)
    steps = pipeline.steps.values()
    plan = {step.name: ingredients_of(step, code, project_root, environment) for step in steps}
    cache.sweep()
    with closing(cache.blobs), progress.task(pipeline.name, total=len(plan)) as task:
        execution = Execution(pipeline, plan, around, task, threads=threads, force=force)
        execution.run()
        if execution.errors:
            first = next(iter(execution.errors.values()))
            raise failure(pipeline, execution.errors, execution.outcomes(), project_root) from first
    return PipelineResult(pipeline=pipeline.name, outcomes=execution.outcomes())


class Execution:
    """The state of one run. Its methods belong to the thread that made it; steps run in daemon threads and report
    through a queue, so that an interrupted process need not wait for a step that is deep in foreign code."""

    def __init__(
        self,
        pipeline: Pipeline,
        plan: dict[str, Ingredients],
        around: Surroundings,
        task: Task,
        *,
        threads: int,
        force: bool,
    ) -> None:
        self.pipeline = pipeline
        self.plan = plan
        self.around = around
        self.task = task
        self.threads = threads
        self.force = force
        self.waiting: deque[str] = deque()
        self.running: set[str] = set()
        self.cached: set[str] = set()
        self.manifests: dict[str, Manifest] = {}
        self.errors: dict[str, BaseException] = {}
        self.reports: SimpleQueue[tuple[str, Manifest | BaseException]] = SimpleQueue()

    def run(self) -> None:
        """Until every step has its result, or one failed and the running ones are done."""
        sorter = self.pipeline.sorter()
        try:
            while sorter.is_active() and (self.running or not self.errors):
                self.waiting.extend(sorter.get_ready())
                sorter.done(*self._advance())
        except KeyboardInterrupt:
            self._stop()
            raise

    def outcomes(self) -> list[StepOutcome]:
        """What became of each step, in the pipeline's order."""
        return [self._outcome(name) for name in self.pipeline.steps]

    def _advance(self) -> list[str]:
        """Take or start what is ready; the steps that have their result now. Waits for one if none was cached."""
        taken = []
        while self.waiting and not self.errors and len(self.running) < self.threads:
            name = self.waiting.popleft()
            needs = {need: self.manifests[need] for need in self.pipeline.steps[name].needs}
            results = {need: manifest.result for need, manifest in needs.items()}
            ingredients = self.plan[name] = msgspec.structs.replace(self.plan[name], needs=results)
            kept = (
                None if self.force else self.around.cache.read(key_of(ingredients), self.pipeline.steps[name].returns)
            )
            if kept:
                self.cached.add(name)
                self._finish(name, kept)
                taken.append(name)
            else:
                self._start(name, needs)
        return taken or self._wait()

    def _start(self, name: str, needs: dict[str, Manifest]) -> None:
        step, ingredients = self.pipeline.steps[name], self.plan[name]

        def work() -> None:
            report: Manifest | BaseException
            try:
                report = attempt(step, ingredients, needs, self.around)
            except BaseException as error:  # noqa: BLE001 - the step's code is anybody's; the run's thread raises it
                report = error
            self.reports.put((name, report))

        if self.force:
            self.around.cache.forget_progress(key_of(ingredients))
        self.running.add(name)
        self.task.advance(0, note=f"{name} …")
        threading.Thread(target=work, name=f"boucle-{name}", daemon=True).start()

    def _wait(self) -> list[str]:
        """Wait for a running step to report; its name if it succeeded."""
        while True:
            try:
                name, report = self.reports.get(timeout=_POLL_S)  # wakes up to notice Ctrl-C on every platform
            except Empty:
                continue
            self.running.discard(name)
            if isinstance(report, Manifest):
                self._finish(name, report)
                return [name]
            self.errors[name] = report
            return []

    def _finish(self, name: str, manifest: Manifest) -> None:
        self.manifests[name] = manifest
        self.task.advance(note=f"{name} (cached)" if name in self.cached else name)

    def _stop(self) -> None:
        """Ask the running steps to stop and give them a moment; a second Ctrl-C leaves at once."""
        self.around.stop.set()
        if self.running:
            self.around.say(f"stopping {', '.join(sorted(self.running))}; Ctrl-C again leaves at once")
        deadline = time.monotonic() + _GRACE_S
        while self.running and time.monotonic() < deadline:
            try:
                self.running.discard(self.reports.get(timeout=_POLL_S)[0])
            except Empty:
                continue

    def _outcome(self, name: str) -> StepOutcome:
        manifest = self.manifests.get(name)
        if manifest is None:
            return StepOutcome(name=name, state="failed" if name in self.errors else "skipped")
        state: StepState = "cached" if name in self.cached else "done"
        return StepOutcome(
            name=name,
            state=state,
            key=manifest.key,
            seconds=manifest.seconds,
            value_json=bytes(manifest.value).decode(),
            tree=manifest.tree,
        )
