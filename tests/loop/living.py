"""A project that is served live, in one process: its clock is set, its answers are logged as a server logs them, its
monitor and its controller are the real ones."""

import subprocess
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from threading import Event

from boucle.data.api import load
from boucle.kernel.clock import FixedClock
from boucle.kernel.progress import Silent
from boucle.kernel.store import Store
from boucle.loop import store as tables
from boucle.loop.controller import Controller
from boucle.loop.feed import Feed, batches
from boucle.loop.lease import take
from boucle.loop.live import LIVE, live_stream, train_job
from boucle.loop.monitor import Monitor
from boucle.loop.records import Action, Decision, Job
from boucle.models.api import alias, get_version
from boucle.monitoring.api import add_labels
from boucle.packaging.api import open_kept, predict_table
from boucle.project.context import Context, open_context
from boucle.project.lifecycle import run_project
from boucle.serving.prediction_log import PredictionLog
from boucle.serving.records import PredictionFrame
from boucle.serving.traffic import log_folder

NAME = "orders"


class Living:
    """One project, day by day."""

    def __init__(self, folder: Path) -> None:
        self.clock = FixedClock(datetime(2024, 1, 1, tzinfo=UTC))
        self.context: Context = open_context(folder)
        first = run_project(self.context, Silent())
        self.context.close()
        self.context._store = Store.open(self.context.home, clock=self.clock)
        self.store = self.context.store()
        self.feed = Feed(load(self.store, first.source.digest), self.context.project)
        self.days = iter(self.feed.days())
        self.log = PredictionLog(log_folder(self.context.home, NAME))
        self.monitor = Monitor(self.context, lambda _: None)
        self.said: list[str] = []
        self.launched: list[Job] = []
        self.ends = "true"
        """How the process of a training ends: `true` when it has trained, `false` when it died."""
        self.latency_ms = 1.0
        self.answering: int | None = None
        """The version that answers, where that is not the one in charge."""
        self.controller = self.take_over()

    def take_over(self) -> Controller:
        """Another controller holds the stream from now on."""
        held = take(self.store, NAME, live_stream(self.context), Event(), still_s=0.0)
        assert held is not None
        self.controller = Controller(self.context, held, self._launch, self.said.append, hear_s=0.0, retry_s=0.0)
        return self.controller

    def close(self) -> None:
        self.controller.end()
        self.log.close()
        self.context.close()

    def day(self, *, decide: bool = True) -> date:
        """Serve the next day, label the one before, watch, and decide."""
        day = next(self.days)
        self._serve(day)
        before = self.feed.labels(day - timedelta(days=1))
        if before.height:
            add_labels(self.store, project_id=NAME, stream=LIVE, labels=before, arrived_at=_after(day))
        for moment in (_after(day), _after(day) + timedelta(hours=2)):
            self.clock.advance((moment - self.clock.now()).total_seconds())
            while self.monitor.look():
                pass
        if decide:
            self.settle()
        return day

    def settle(self) -> None:
        """Let the controller look until there is nothing to do."""
        while self.controller.look():
            pass

    def decided(self) -> list[Decision]:
        """All decisions so far."""
        return self.store.read(lambda conn: tables.decided(conn, NAME, LIVE))

    def actions(self, kind: type[Action]) -> list[Decision]:
        """Those of one kind."""
        return [one for one in self.decided() if isinstance(one.action, kind)]

    def champion(self) -> int:
        """The version in charge."""
        now = alias(self.store, NAME, NAME, "champion")
        assert now is not None
        return now.version

    def _launch(self, job: Job) -> "subprocess.Popen[bytes]":
        self.launched.append(job)
        if self.ends == "true":
            train_job(self.context, job.id, Silent())
        return subprocess.Popen([self.ends], stdin=subprocess.PIPE)

    def _serve(self, day: date) -> None:
        version = get_version(self.store, NAME, NAME, self.answering or self.champion())
        predictor = open_kept(self.store, version.bundle_digest)
        for number, batch in enumerate(batches(self.feed.served(day), 16)):
            answers = predict_table(predictor, batch, nthread=1)
            self.log.append(
                PredictionFrame(
                    request_id=f"{day}/{number}",
                    endpoint=NAME,
                    number=version.number,
                    bundle_digest=version.bundle_digest,
                    served_at=_after(day).timestamp(),
                    latency_ms=self.latency_ms,
                    rows=batch.height,
                    inputs={name: batch[name].to_list() for name in ("kind", "x", "z")},
                    outputs={
                        name: values if isinstance(values, list) else values.tolist()
                        for name, values in answers.items()
                    },
                    event_time=[moment.isoformat() for moment in batch["at"]],
                    entity_key=batch["id"].to_list(),
                )
            )


def _after(day: date) -> datetime:
    """Early on the next day, when the window of this one is due by the clock."""
    return datetime.combine(day + timedelta(days=1), time(1), UTC)
