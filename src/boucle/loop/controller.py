"""The controller of the live loop: after each closed window it gathers the facts, decides, and has it carried out.

A training runs in a process of its own, so that windows go on being decided on; its job says what is being done, and
whoever takes over starts it again. Everything else is done here, in one transaction with its record. Two controllers on
one store take turns; one that was stopped and goes on can commit nothing any more.
"""

import logging
import subprocess
import time
from collections.abc import Callable
from datetime import date, datetime
from threading import Event
from typing import Final

from msgspec.structs import replace
from sqlalchemy import Connection

from boucle.kernel.errors import BoucleError, Conflict
from boucle.kernel.points import reach
from boucle.loop import lease
from boucle.loop import store as tables
from boucle.loop.facts import challenger_of, service_facts
from boucle.loop.following import follow_live
from boucle.loop.live import LIVE, live_stage, live_stream
from boucle.loop.reconcile import end_of, finish, reconcile
from boucle.loop.records import Decision, Hold, Job, Retrain, Stream, Trained
from boucle.loop.rules import held_back, of_service
from boucle.loop.stage import Stage
from boucle.loop.verdicts import verdicts
from boucle.loop.watch import performance_if_any
from boucle.monitoring.api import count_windows, first_day, windows
from boucle.monitoring.records import Window
from boucle.project.changed_file import ChangedFile
from boucle.project.context import Context

LOOK_S: Final = 0.5
HEAR_S: Final = 0.5
"""How often it is asked what may be new between windows."""
MOST_ATTEMPTS: Final = 3
RETRY_S: Final = 5.0
"""A training that died is begun again after so long, and then after twice as long."""
AGAIN_S: Final = 5.0
"""After an error, until it begins anew."""
_log: Final = logging.getLogger("boucle.loop")
Launch = Callable[[Job], "subprocess.Popen[bytes]"]
"""Starts the process that trains; it ends with this one."""
Tell = Callable[[str], None]


class Trainings:
    """The processes that train: they outlive a controller that begins anew in the same process."""

    def __init__(self) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        """By job."""
        self.later: dict[str, float] = {}
        """When a training that died is begun again, by its job."""

    def end(self) -> None:
        """Stop them; whoever comes next starts them again."""
        for process in self.processes.values():
            process.terminate()
        for job_id in list(self.processes):
            self.over(job_id)
        self.later = {}

    def over(self, job_id: str) -> None:
        """Let go of one that has ended, or is about to."""
        process = self.processes.pop(job_id, None)
        if process is not None:
            process.wait()
            if process.stdin is not None:
                process.stdin.close()


def run_loop(
    context: Context,
    launch: Launch,
    stopped: Event,
    tell: Tell,
    *,
    look_s: float = LOOK_S,
    still_s: float = lease.STILL_S,
) -> None:
    """Decide until it is stopped. Whatever goes wrong is told once, and tried again; trainings go on meanwhile."""
    trainings = Trainings()
    try:
        _run(context, launch, stopped, tell, look_s, still_s, trainings)
    finally:
        trainings.end()


def _run(
    context: Context,
    launch: Launch,
    stopped: Event,
    tell: Tell,
    look_s: float,
    still_s: float,
    trainings: Trainings,
) -> None:
    said, wait_s = "", 0.0
    file = ChangedFile(context.folder)
    while not stopped.wait(wait_s):
        wait_s = look_s
        held: Stream | None = None
        try:
            stream = live_stream(context)
            held = lease.take(context.store(), context.project.project, stream, stopped, still_s=still_s)
            if held is not None:
                wait_s = AGAIN_S
                _held(Controller(context, held, launch, tell, trainings=trainings), stopped, tell, look_s, file)
                trainings.end()
                context.store().write(lambda conn, held=held: tables.give_up(conn, context.project.project, held))  # type: ignore[misc]
                said = ""
        except Conflict as error:
            trainings.end()  # whoever holds the stream by now does them again
            if error.message != said:
                said = error.message
                tell(f"{error.message}; this one waits")
        except BoucleError as error:
            if error.message != said:
                said = error.message
                tell(f"waiting: {error.message}" + (f"; next: {error.hint}" if error.hint else ""))
        except Exception:  # noqa: BLE001 - the loop's edge: what was decided stays, and it looks again
            _log.exception("the loop begins anew")


def _held(controller: "Controller", stopped: Event, tell: Tell, look_s: float, file: ChangedFile) -> None:
    while not stopped.wait(0.0 if controller.look() else look_s):
        news = file.news()
        if news:
            tell(news)


class Controller:
    """One process that holds the live stream. Not thread-safe."""

    def __init__(
        self,
        context: Context,
        held: Stream,
        launch: Launch,
        tell: Tell,
        *,
        trainings: Trainings | None = None,
        hear_s: float = HEAR_S,
        retry_s: float = RETRY_S,
    ) -> None:
        """`trainings`: those that one before this in the same process began."""
        self._context, self._held, self._launch, self._tell = context, held, launch, tell
        self._store, self._name = context.store(), context.project.project
        self._done = held.done_window
        self._done_day = held.done_through
        self._nothing_due: tuple[int, str | None] | None = None
        """How many windows there were, and the last that was decided on, when nothing was due."""
        self._stage: Stage | None = None
        self._trainings = Trainings() if trainings is None else trainings
        self._renewed = time.monotonic()
        self._news: object = None
        self._heard, self._hear_s = 0.0, hear_s
        self._retry_s = retry_s

    def look(self) -> bool:
        """Finish trainings that are over, decide on the windows that closed; whether there was something to do."""
        if time.monotonic() - self._renewed > lease.RENEW_S:
            self._store.write(lambda conn: tables.renew(conn, self._name, self._held))
            self._renewed = time.monotonic()
        due = self._due()
        stage = self._staged()
        if stage is None:
            return False
        settled = self._settle(stage)
        if not due and self._done_day is not None and self._has_news(stage, self._done_day):
            self._again(stage, self._done_day)
            settled = True
        for window in due[:1]:
            stage.refresh()
            self._decide(stage, window)
        return settled or bool(due)

    def end(self) -> None:
        """Stop the trainings; whoever comes next starts them again."""
        self._trainings.end()

    def _due(self) -> list[Window]:
        """Closed windows that were not decided on, oldest first."""
        # Asked every half a second, while a day may have more than a thousand windows.
        now = count_windows(self._store, self._name, LIVE, self._done_day), self._done
        if now == self._nothing_due:
            return []
        due = following(windows(self._store, self._name, LIVE, self._done_day, None), self._done)
        self._nothing_due = None if due else now
        return due

    def _staged(self) -> Stage | None:
        """The stage, once there is a window; what a process before this one left undone is taken up."""
        if self._stage is None:
            first = first_day(self._store, self._name, LIVE)
            if first is None:
                return None
            self._stage = live_stage(self._context, self._held, first)
            self._follow(self._stage)
            for job in self._stage.jobs():
                self._take_up(job)
            if self._done_day is not None and not self._stage.jobs():  # something may have come of the last window yet
                self._again(self._stage, self._done_day)
        return self._stage

    def _take_up(self, job: Job) -> None:
        """A training is done again, for it comes to the same; anything else is decided anew, for nothing came of it."""
        if not isinstance(job.action, Retrain):
            self._put(replace(job, state="dropped"))
        elif job.state == "running" and job.id not in {*self._trainings.processes, *self._trainings.later}:
            self._start(replace(job, epoch=self._held.epoch))

    def _decide(self, stage: Stage, window: Window) -> None:
        under_way = {job.window for job in stage.jobs() if isinstance(job.action, Retrain)}
        if window.key not in under_way:  # a process before this one decided on it and was killed
            measured = performance_if_any(stage, window.day)
            self._told(stage, reconcile(stage, window, measured, start=self._start))
        reach("window.decided")
        self._store.write(lambda conn: tables.finish_window(conn, self._name, self._held, window.key, window.day))
        reach("window.finished")
        self._done, self._done_day = window.key, window.day
        stage.forget(window.day)

    def _start(self, job: Job) -> None:
        """Have a training done by another process."""
        if job.attempts > MOST_ATTEMPTS:
            died = Trained(number=None, outcome=f"the training died {MOST_ATTEMPTS} times; its output says why")
            self._put(replace(job, state="trained", trained=died))
            return
        self._put(job)
        reach("job.kept")
        self._tell(f"training: {getattr(job.action, 'reason', '')}")
        self._trainings.processes[job.id] = self._launch(job)

    def _settle(self, stage: Stage) -> bool:
        """Record the trainings that are over, and decide on what came of them."""
        settled = False
        for job in stage.jobs():
            process = self._trainings.processes.get(job.id)
            if job.state == "trained" and job.trained is not None:
                self._trainings.over(job.id)
                stage.refresh()
                self._told(stage, [finish(stage, job, job.trained)])
                self._again(stage, job.day)
                settled = True
            elif process is not None and process.poll() is not None:
                self._trainings.over(job.id)
                latest = self._store.read(lambda conn, job=job: tables.get_job(conn, self._name, job.id))  # type: ignore[misc]
                if latest is not None and latest.state == "running":
                    self._died(latest)
                settled = True
            elif process is None and self._trainings.later.get(job.id, time.monotonic() + 1) <= time.monotonic():
                del self._trainings.later[job.id]
                self._start(replace(job, attempts=job.attempts + 1))
                settled = True
        return settled

    def _died(self, job: Job) -> None:
        """Begin it again in a while, longer each time; the last time at once, since nothing is begun."""
        last = job.attempts >= MOST_ATTEMPTS
        wait_s = 0.0 if last else self._retry_s * 2 ** (job.attempts - 1)
        self._trainings.later[job.id] = time.monotonic() + wait_s
        self._tell("the training died" + ("" if last else f"; it is begun again in {wait_s:g} s"))

    def _again(self, stage: Stage, day: date) -> None:
        """A challenger is there: decide on the newest window that was decided on before, or on that of its training."""
        found = windows(self._store, self._name, LIVE, day, self._done_day)
        decided = [one for one in found if self._done is not None and one.key <= self._done]
        for window in (decided or found)[-1:]:
            stage.refresh()
            measured = performance_if_any(stage, window.day)
            self._told(stage, reconcile(stage, window, measured, start=self._start, again=True))

    def _has_news(self, stage: Stage, day: date) -> bool:
        """Whether something came that need not wait until a window closes: a person's wish or review, or what a
        rollout has shown by now."""
        if time.monotonic() - self._heard < self._hear_s:
            return False
        stage.forget_standing()
        news, before = _news(stage, day), self._news
        self._news, self._heard = news, time.monotonic()
        return news not in (before, (None, None))

    def _put(self, job: Job) -> None:
        def unit(conn: Connection) -> None:
            tables.put_job(conn, self._name, self._held, job)

        self._store.write(unit)

    def _told(self, stage: Stage, decisions: list[Decision]) -> None:
        for decision in decisions:
            if not isinstance(decision.action, Hold):
                self._tell(f"{decision.day}: {decision.outcome}; {decision.action.reason}")
        if decisions:
            self._follow(stage)

    def _follow(self, stage: Stage) -> None:
        """The endpoint follows what was decided; its server takes it up when it sees it."""
        stage.refresh()
        follow_live(stage)


def following(found: list[Window], done: str | None) -> list[Window]:
    """Of windows that are given oldest first, those after one of a key: of its own kind, by time or by count, in their
    order; then those of the other kind, which boucle.yaml asks for since, that end later than it."""
    if done is None:
        return found
    place = int(done.rpartition("#")[2]) if "#" in done else None
    last = next((one for one in found if one.key == done), None)
    alike = [one for one in found if (one.number is None) == (place is None)]
    others = [one for one in found if (one.number is None) != (place is None)]
    if place is None:
        later = [one for one in alike if one.key > done]
    else:
        later = sorted((one for one in alike if (one.number or 0) > place), key=lambda one: one.number or 0)
    return later + [one for one in others if last is None or _end(one) > _end(last)]


def _end(window: Window) -> datetime:
    return window.ends_at or end_of(window.day)


def _news(stage: Stage, day: date) -> tuple[str | None, tuple[str, int] | None]:
    """What can change between windows: the oldest wish, and what follows for champion and challenger: no hold but
    that of a rollback."""
    asked, now, policy = stage.asked(), stage.standing(), stage.project.loop
    wish = None if asked is None else asked.id
    service = service_facts(stage, now, day)
    back = next((one for one in of_service(service, policy) if one.action is not None), None)
    if back is not None:
        return wish, (back.name, now.champion)
    held = next(((one.name, now.champion) for one in held_back(service, policy) if one.action is not None), None)
    if now.challenger is None or service.champion.metric_at_promotion is None:
        return wish, held
    waiting = challenger_of(stage, now, now.challenger, day, labels=False)
    facts = replace(service, challenger=waiting, asked=asked)
    due = next((one for one in verdicts(facts, policy) if one.action is not None), None)
    if due is None or isinstance(due.action, Hold):
        return wish, held
    return wish, (due.name, 0 if waiting.rollout is None else waiting.rollout.step)
