"""A project that is served in one process: rows are answered and logged, and a monitor makes windows of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from boucle.kernel.clock import FixedClock
from boucle.kernel.progress import Silent
from boucle.kernel.store import Store
from boucle.loop.live import LIVE
from boucle.loop.monitor import Monitor
from boucle.models.api import alias, get_version
from boucle.monitoring.api import alerts, windows
from boucle.monitoring.records import Alert, Window
from boucle.packaging.api import open_kept, predict_table
from boucle.project.context import Context, open_context
from boucle.project.lifecycle import run_project
from boucle.serving.prediction_log import PredictionLog
from boucle.serving.records import PredictionFrame
from boucle.serving.traffic import log_folder


class Monitored:
    """One project with a version in charge, and the monitor of what it answers."""

    def __init__(self, context: Context, now: datetime) -> None:
        self.context, self.name = context, context.project.project
        run_project(context, Silent())
        context.close()
        self.clock = FixedClock(now)
        context._store = Store.open(context.home, clock=self.clock)
        now_in_charge = alias(context.store(), self.name, self.name, "champion")
        assert now_in_charge is not None
        self.version = get_version(context.store(), self.name, self.name, now_in_charge.version)
        self.predictor = open_kept(context.store(), self.version.bundle_digest)
        self.log = PredictionLog(log_folder(context.home, self.name))
        self.monitor = Monitor(context, lambda _: None)
        self._sent = 0

    def serve(
        self,
        rows: pl.DataFrame,
        *,
        drop: tuple[str, ...] = (),
        asked: pl.DataFrame | None = None,
        served_at: datetime | None = None,
        request: str | None = None,
    ) -> None:
        """Answer rows of the project's table and log them; the answers are those for `asked`, if that is given."""
        section = self.context.project.data
        assert section.time is not None
        answers = predict_table(self.predictor, rows if asked is None else asked)
        features = [*section.features.categorical, *section.features.numeric]
        self._sent += 1
        self.log.append(
            PredictionFrame(
                request_id=request or f"r{self._sent:06}",
                endpoint=self.name,
                number=self.version.number,
                bundle_digest=self.version.bundle_digest,
                served_at=(served_at or rows[section.time][-1]).timestamp(),
                latency_ms=1.0,
                rows=rows.height,
                inputs={name: rows[name].to_list() for name in features if name not in drop},
                outputs={
                    name: values if isinstance(values, list) else values.tolist() for name, values in answers.items()
                },
                event_time=[moment.isoformat() for moment in rows[section.time]],
                entity_key=None if section.key is None else rows[section.key].cast(pl.String).to_list(),
            )
        )

    def look(self, now: datetime | None = None) -> list[Window]:
        """Let the monitor read, if need be at a later moment; all windows that there are."""
        if now is not None:
            self.clock.advance((now - self.clock.now()).total_seconds())
        while self.monitor.look():
            pass
        return windows(self.context.store(), self.name, LIVE)

    def again(self) -> None:
        """What was in the monitor's memory is gone, as after kill -9."""
        self.monitor = Monitor(self.context, lambda _: None)

    def alerts(self) -> list[Alert]:
        return alerts(self.context.store(), self.name, LIVE)


@contextmanager
def monitored(folder: Path, now: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> Iterator[Monitored]:
    with open_context(folder) as context:
        made = Monitored(context, now)
        try:
            yield made
        finally:
            made.log.close()
