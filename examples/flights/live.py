"""The flights of 2013 through the live system: `boucle up`, real HTTP, a clock that goes faster.

    python examples/flights/live.py --days 61 --day-s 4

It runs `boucle run` unless a version is in charge, starts `boucle up` with a compressed clock, sends each flight's
question when its time has come, and each day's labels as late as `monitoring.labels_delay_days` says. At the end it
compares what was answered with what the first version would have answered, month by month. Killing it or any part of it
loses nothing: give the same command again, and it goes on from the last window that was closed.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from boucle.data.api import load
from boucle.evaluation.api import measure
from boucle.kernel.clock import VARIABLE, Compressed
from boucle.kernel.errors import BoucleError
from boucle.kernel.progress import Silent
from boucle.loop.feed import Feed, batches
from boucle.loop.live import LIVE
from boucle.loop.store import decided, get_stream
from boucle.models.api import get_version
from boucle.monitoring.api import add_labels, inputs, labelled, outputs, windows
from boucle.packaging.api import open_kept, predict_table
from boucle.project.context import Context, open_context
from boucle.project.lifecycle import run_project
from boucle.serving.api import InferClient
from boucle.training.api import numbers_of

PATIENCE_S = 300.0


def live(folder: Path, *, days: int | None, day_s: float, port: int | None = None) -> dict[str, Any]:
    """Serve the first days of the replayed ones, each in `day_s` seconds, and say how it went."""
    with open_context(folder) as context:
        first = run_project(context, Silent())
        feed = Feed(load(context.store(), first.source.digest), context.project)
        chosen = feed.days()[:days]
        served = windows(context.store(), context.project.project, LIVE)
        todo = [day for day in chosen if not served or day > served[-1].day]
        if todo:
            _live(context, feed, todo, day_s, port or _free_port())
        return compared(context, chosen)


def _live(context: Context, feed: Feed, days: list[date], day_s: float, port: int) -> None:
    name, section = context.project.project, context.project.serving
    url = f"http://{section.host}:{section.port}"
    ready_s = 20.0 + day_s  # until everything answers
    begins = datetime.combine(days[0], datetime.min.time(), UTC)
    clock = Compressed(begins, 86_400 / day_s, datetime.now(UTC) + timedelta(seconds=ready_s))
    environ = os.environ | {VARIABLE: clock.as_text()}
    command = [sys.executable, "-m", "boucle", "--project", str(context.folder), "--home", str(context.home)]
    process = subprocess.Popen([*command, "up", "--port", str(port)], env=environ)
    try:
        with InferClient(url, name) as client:
            until = time.monotonic() + PATIENCE_S
            while not client.is_ready() and time.monotonic() < until:
                time.sleep(0.1)
            _feed(context, feed, days, clock, client)
        _wait_decided(context, days[-1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _feed(context: Context, feed: Feed, days: list[date], clock: Compressed, client: InferClient) -> None:
    """Ask each question when its time has come, and tell each day's labels when theirs has."""
    name, kinds = context.project.project, dict.fromkeys(context.project.data.features.numeric, "number")
    delay = timedelta(days=context.project.monitoring.labels_delay_days)
    for day in days:
        for number, batch in enumerate(batches(feed.served(day), feed.plan.batch_rows)):
            last = batch[feed.time].max()
            assert isinstance(last, datetime)
            _sleep_until(clock, last)
            asked = batch.with_columns(pl.col(feed.time).dt.strftime("%Y-%m-%dT%H:%M:%SZ")).to_dict(as_series=False)
            _insist(client, f"feed/{day}/{number:05d}", asked, kinds)
        end = datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC)
        _sleep_until(clock, end)
        labels = feed.labels(day - delay)
        if labels.height:
            add_labels(context.store(), project_id=name, stream=LIVE, labels=labels, arrived_at=end)


def _insist(client: InferClient, request: str, asked: dict[str, list[Any]], kinds: dict[str, str]) -> None:
    """Ask until there is an answer: a server that is started again answers in a moment."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            client.infer(request, asked, kinds)
        except BoucleError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def _sleep_until(clock: Compressed, moment: datetime) -> None:
    left = (moment - clock.at(datetime.now(UTC))).total_seconds() / clock.rate
    if left > 0:
        time.sleep(left)


def _wait_decided(context: Context, last: date) -> None:
    """Wait until the window of the last day is decided on: its clock closes it."""
    store, name, until = context.store(), context.project.project, time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        stream = store.read(lambda conn: get_stream(conn, name, LIVE))
        if stream is not None and stream.done_through is not None and stream.done_through >= last:
            return
        time.sleep(0.2)


def compared(context: Context, days: list[date]) -> dict[str, Any]:
    """The metric of what was answered and of what the first version would have answered: the mean of the months."""
    store, name = context.store(), context.project.project
    rows = labelled(store, name, LIVE, days[0], days[-1], include_quarantined=True)
    frozen = open_kept(store, get_version(store, name, name, 1).bundle_digest)
    metric = context.project.loop.metric or "auc_roc"
    months: dict[str, list[float]] = {}
    by_month = rows.with_columns(month=pl.col("event_time").dt.strftime("%Y-%m")).partition_by("month", as_dict=True)
    for (month,), part in sorted(by_month.items()):
        truth = numbers_of(part["label"], frozen.signature.task, frozen.signature.classes)
        answered = {one.name: one.to_numpy() for one in outputs(part).iter_columns() if one.name != "label"}
        answers = (answered, predict_table(frozen, inputs(part), nthread=2))
        months[month] = [measure(metric, truth, one, frozen.signature.threshold) for one in answers]
    found = store.read(lambda conn: decided(conn, name, LIVE))
    kept = windows(store, name, LIVE)
    return {
        "metric": metric,
        "days": len(kept),
        "rows": sum(window.rows for window in kept),
        "labelled": rows.height,
        "live": sum(one[0] for one in months.values()) / max(1, len(months)),
        "frozen": sum(one[1] for one in months.values()) / max(1, len(months)),
        "months": months,
        "decisions": [f"{one.id}: {one.outcome}" for one in found if one.version is not None],
    }


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description="Send the flights of 2013 through the live system.")
    parser.add_argument("--project", type=Path, default=Path(__file__).parent, help="folder of boucle.yaml")
    parser.add_argument("--days", type=int, help="so many days only; default: all that are replayed")
    parser.add_argument("--day-s", type=float, default=4.0, help="seconds for a day (default: %(default)s)")
    given = parser.parse_args()
    sys.stdout.write(json.dumps(live(given.project, days=given.days, day_s=given.day_s), indent=2) + "\n")


if __name__ == "__main__":
    main()
