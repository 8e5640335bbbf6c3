"""The live loop, day by day: a day is served and labelled, the monitor closes its window, the controller decides on it.

`main([folder])` does in one process, with a clock that it sets, what `boucle serve`, `boucle monitor` and `boucle loop
run` do in three; a day that was served is not served again. Each line says what is durable: `window <key>`, `decided
<key>`. `main([folder, "served"])` leaves the deciding to others; `main([folder, "loop"])` is `boucle loop run`, which
takes over from one that stands still after a second. Where challengers are rolled out by steps, some hours pass after
each day, in which the canary is asked.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from threading import Event

import polars as pl

from boucle.app import training
from boucle.app.parts import until_stopped
from boucle.data.api import load
from boucle.kernel.clock import FixedClock
from boucle.kernel.progress import Silent
from boucle.kernel.store import Store
from boucle.loop import store as tables
from boucle.loop.controller import Controller, run_loop
from boucle.loop.feed import Feed, batches
from boucle.loop.lease import take
from boucle.loop.live import LIVE, live_stream, train_job
from boucle.loop.monitor import Monitor
from boucle.loop.records import Job
from boucle.loop.steps import steps_of
from boucle.models.api import alias, get_version
from boucle.monitoring.api import add_labels, windows
from boucle.packaging.api import open_kept, predict_table
from boucle.project.context import Context, open_context
from boucle.project.lifecycle import run_project
from boucle.serving.counters import open_counters
from boucle.serving.meter import Meter, by_version, of_shadow
from boucle.serving.prediction_log import PredictionLog, read_frames
from boucle.serving.records import PredictionFrame
from boucle.serving.traffic import counters_folder, log_folder, read_traffic

NAME = "orders"


def main(arguments: list[str]) -> None:
    folder, what = Path(arguments[0]), arguments[1:] or ["all"]
    with open_context(folder) as context:
        if what != ["loop"]:
            work(context, decide=what == ["all"])
            return

        def decide(stopped: Event) -> None:
            def launch(job: Job) -> "subprocess.Popen[bytes]":
                return training.start(folder, context.home, context.project.project, job.id)

            run_loop(context, launch, stopped, say, look_s=0.05, still_s=1.0)

        until_stopped(decide)


def work(context: Context, *, decide: bool) -> None:
    """All days of the replay section, one after the other."""
    first = run_project(context, Silent())
    clock = FixedClock(_told(context))
    context.close()
    context._store = Store.open(context.home, clock=clock)
    feed = Feed(load(context.store(), first.source.digest), context.project)
    log = PredictionLog(log_folder(context.home, NAME))
    monitor = Monitor(context, lambda _: None)
    held = take(context.store(), NAME, live_stream(context), Event(), still_s=0.0)
    assert held is not None

    def launch(job: Job) -> "subprocess.Popen[bytes]":
        train_job(context, job.id, Silent())
        return subprocess.Popen(["true"], stdin=subprocess.PIPE)

    controller = Controller(context, held, launch, lambda _: None, hear_s=0.0)
    for day in feed.days():
        if clock.now() <= _after(day):
            _serve(context, feed, log, day)
        for moment in (_after(day), _after(day) + timedelta(hours=2)):  # it is read; then nothing came for a while
            _advance(context, clock, moment)
            while monitor.look():
                pass
        say(f"window {day}")
        while decide and controller.look():
            pass
        for hours in range(3, 3 + 2 * len(steps_of(context.project.loop.rollout))):
            _advance(context, clock, _after(day) + timedelta(hours=hours))
            _ask_challenger(context)
            while monitor.look():  # who was killed in the silence hears it from its restart on
                pass
            while decide and controller.look():
                pass
        if decide:
            say(f"decided {day}")
    controller.end()
    context.store().write(lambda conn: tables.give_up(conn, NAME, held))
    log.close()


def _serve(context: Context, feed: Feed, log: PredictionLog, day: date) -> None:
    """Answer the day's questions with the version in charge, and tell the labels of the day before."""
    store = context.store()
    known = {frame.request_id for frame, _ in read_frames(log_folder(context.home, NAME))}
    champion = alias(store, NAME, NAME, "champion")
    assert champion is not None
    version = get_version(store, NAME, NAME, champion.version)
    predictor = open_kept(store, version.bundle_digest)
    for number, batch in enumerate(batches(feed.served(day), 16)):
        request = f"{day}/{number}"
        if request in known:
            continue
        answers = predict_table(predictor, batch, nthread=1)
        log.append(
            PredictionFrame(
                request_id=request,
                endpoint=NAME,
                number=version.number,
                bundle_digest=version.bundle_digest,
                served_at=_after(day).timestamp(),
                latency_ms=1.0,
                rows=batch.height,
                inputs={name: batch[name].to_list() for name in ("x", "z")},
                outputs={
                    name: values if isinstance(values, list) else values.tolist() for name, values in answers.items()
                },
                event_time=[moment.isoformat() for moment in batch["at"]],
                entity_key=batch["id"].to_list(),
            )
        )
    labels: pl.DataFrame = feed.labels(day - timedelta(days=1))
    if labels.height:
        add_labels(store, project_id=NAME, stream=LIVE, labels=labels, arrived_at=_after(day))


def _told(context: Context) -> datetime:
    """When it is: the clock of a process that was killed goes on in the next one, where steps are waited for."""
    file = context.folder / "clock"
    return datetime.fromisoformat(file.read_text()) if file.exists() else datetime(2024, 1, 1, tzinfo=UTC)


def _advance(context: Context, clock: FixedClock, moment: datetime) -> None:
    if not steps_of(context.project.loop.rollout):
        clock.advance((moment - clock.now()).total_seconds())
    elif moment > clock.now():
        clock.advance((moment - clock.now()).total_seconds())
        (context.folder / "clock").write_text(clock.now().isoformat())


def _ask_challenger(context: Context) -> None:
    """The shadow, or the canary, has answered ten questions by now, whoever was killed meanwhile."""
    traffic, folder = read_traffic(context.home, NAME), counters_folder(context.home, NAME)
    shadow, canary = traffic.shadow, traffic.canary
    if shadow is not None and not of_shadow(folder, shadow.number).requests:
        _count(folder, lambda meter: meter.shadow(shadow.number, failed=False))
    if canary is not None and not by_version(folder).get(canary.deployment.number):
        _count(folder, lambda meter: meter.answered("v2", canary.deployment.number, 0.001, 1))


def _count(folder: Path, once: Callable[[Meter], None]) -> None:
    counters = open_counters(folder)
    for _ in range(10):
        once(Meter(counters))
    counters.close()


def _after(day: date) -> datetime:
    """Early on the next day, when the window of this one is due by the clock."""
    return datetime.combine(day + timedelta(days=1), time(1), UTC)


def seen(home: Path) -> Iterator[str]:
    """What the home holds of it."""
    if not (home / "boucle.db").exists():
        return
    with Store.open(home) as store:
        yield from (f"window {window.key}" for window in windows(store, NAME, LIVE))
        stream = store.read(lambda conn: tables.get_stream(conn, NAME, LIVE))
        if stream is not None and stream.done_through is not None:
            done = stream.done_through
            yield from (f"decided {window.key}" for window in windows(store, NAME, LIVE) if window.day <= done)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
