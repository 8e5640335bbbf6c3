"""The flights of 2013 through the live system: `boucle up`, real HTTP, a clock that goes faster.

    python examples/flights/live.py --day-s 4

It runs `boucle run` unless a version is in charge, starts `boucle up` with a compressed clock, sends each flight's
question when its time has come, and each day's labels as late as `monitoring.labels_delay_days` says. Days go on while
a training takes its time; with `--day-s 0` there is no such clock, and a day goes on when all that comes of the day
before has come. At the end it compares what was answered with what the first version would have answered, month by
month, and with `--beside HOME` with a replay that was made there (`boucle --home HOME replay`). Killing it or any part
of it loses nothing: give the same command again, and it goes on from the last window that was closed.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from itertools import zip_longest
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
from boucle.loop.records import Hold
from boucle.loop.store import decided, get_stream, latest_stream, list_jobs
from boucle.models.api import get_version
from boucle.monitoring.api import add_labels, inputs, labelled, outputs, windows
from boucle.packaging.api import Predictor, open_kept, predict_table
from boucle.project.context import Context, open_context
from boucle.project.lifecycle import run_project
from boucle.serving.api import InferClient
from boucle.training.api import numbers_of

PATIENCE_S = 300.0
START_S = 20.0
"""Until everything answers, at first try."""


def live(folder: Path, *, days: int | None, day_s: float, port: int | None = None) -> dict[str, Any]:
    """Serve the first days of the replayed ones, each in `day_s` seconds, and say how it went."""
    with open_context(folder) as context:
        first = run_project(context, Silent())
        feed = Feed(load(context.store(), first.source.digest), context.project)
        chosen = feed.days()[:days]
        served = [window.day for window in windows(context.store(), context.project.project, LIVE) if window.rows]
        todo = [day for day in chosen if not served or day > served[-1]]
        behind_s = _live(context, feed, todo, day_s, port or _free_port()) if todo else 0.0
        return compared(context, chosen) | {"behind_s": round(behind_s, 1)}


def _live(context: Context, feed: Feed, days: list[date], day_s: float, port: int) -> float:
    """Have the days pass; by how much a question came later than its time at most."""
    url = f"http://{context.project.serving.host}:{context.project.serving.port}"
    with InferClient(url, context.project.project) as client:
        process, clock = _up(context, client, days[0], day_s, port)
        try:
            behind_s = _feed(context, feed, days, clock, client)
            client.close()
            if clock is not None or days[-1] != feed.days()[-1]:  # else nothing closes the last day for an hour
                _wait_decided(context, days[-1])
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()
    return behind_s


def _up(
    context: Context, client: InferClient, first: date, day_s: float, port: int
) -> "tuple[subprocess.Popen[bytes], Compressed | None]":
    """`boucle up`, ready before the first day begins by its clock; it ends with this process."""
    command = [sys.executable, "-m", "boucle.app.part", "--project", str(context.folder), "--home", str(context.home)]
    start_s = START_S
    while True:
        begins, clock, environ = datetime.now(UTC) + timedelta(seconds=start_s), None, dict(os.environ)
        if day_s:
            clock = Compressed(datetime.combine(first, datetime.min.time(), UTC), 86_400 / day_s, begins)
            environ[VARIABLE] = clock.as_text()
        process = subprocess.Popen([*command, "up", "--port", str(port)], env=environ, stdin=subprocess.PIPE)
        while datetime.now(UTC) < begins and process.poll() is None:
            if client.is_ready():
                return process, clock
            time.sleep(0.1)
        has_ended = process.poll() is not None
        process.terminate()
        process.communicate()
        if has_ended or start_s > PATIENCE_S:  # it cannot start, or this machine has no time for it
            raise SystemExit(f"boucle up did not answer within {start_s:g} s; its output above says why")
        start_s *= 2


def _feed(context: Context, feed: Feed, days: list[date], clock: Compressed | None, client: InferClient) -> float:
    """Ask each question when its time has come, and tell each day's labels when theirs has."""
    name, behind_s = context.project.project, 0.0
    delay = timedelta(days=context.project.monitoring.labels_delay_days)
    for day in days:
        for number, batch in enumerate(batches(feed.served(day), feed.plan.batch_rows)):
            behind_s = max(behind_s, _ask(context, feed, client, clock, day, number, batch))
            if clock is None and not number and day > days[0]:  # by these rows the day before is over
                _wait_decided(context, day - timedelta(days=1))
        end = datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC)
        _sleep_until(clock, end)
        labels = feed.labels(day - delay)
        if labels.height:
            add_labels(context.store(), project_id=name, stream=LIVE, labels=labels, arrived_at=end)
    after = days[-1] + timedelta(days=1)
    if after in feed.days():  # by its first rows the last day is over
        _ask(context, feed, client, clock, after, 0, feed.served(after).head(feed.plan.batch_rows))
    return behind_s


def _ask(
    context: Context,
    feed: Feed,
    client: InferClient,
    clock: Compressed | None,
    day: date,
    number: int,
    rows: pl.DataFrame,
) -> float:
    """Ask for some rows when the time of the last of them has come; how many seconds too late that was."""
    kinds = dict.fromkeys(context.project.data.features.numeric, "number")
    last = rows[feed.time].max()
    assert isinstance(last, datetime)
    behind_s = -_sleep_until(clock, last)
    asked = rows.with_columns(pl.col(feed.time).dt.strftime("%Y-%m-%dT%H:%M:%SZ")).to_dict(as_series=False)
    _insist(client, f"feed/{day}/{number:05d}", asked, kinds)
    return behind_s


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


def _sleep_until(clock: Compressed | None, moment: datetime) -> float:
    """How many of the machine's seconds were left; less than 0: it is over."""
    if clock is None:
        return 0.0
    left = (moment - clock.at(datetime.now(UTC))).total_seconds() / clock.rate
    time.sleep(max(0.0, left))
    return left


def _wait_decided(context: Context, last: date) -> None:
    """Wait until the window of a day is decided on, and nothing that was decided is under way."""
    store, name, until = context.store(), context.project.project, time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        stream = store.read(lambda conn: get_stream(conn, name, LIVE))
        jobs = store.read(lambda conn: list_jobs(conn, name, LIVE, unfinished=True))
        if stream is not None and stream.done_through is not None and stream.done_through >= last and not jobs:
            return
        time.sleep(0.1)


def compared(context: Context, days: list[date]) -> dict[str, Any]:
    """The metric of what was answered and of what the first version would have answered: the mean of the months."""
    store, name = context.store(), context.project.project
    rows = labelled(store, name, LIVE, days[0], days[-1], include_quarantined=True)
    frozen = open_kept(store, get_version(store, name, name, 1).bundle_digest)
    metric = context.project.loop.metric or "auc_roc"
    months = by_month(rows, frozen, metric)
    kept = [window for window in windows(store, name, LIVE, days[0], days[-1]) if window.rows]
    return {
        "metric": metric,
        "days": len(kept),
        "rows": sum(window.rows for window in kept),
        "late_rows": sum(window.late_rows for window in kept),
        "labelled": rows.height,
        "live": sum(one[0] for one in months.values()) / max(1, len(months)),
        "frozen": sum(one[1] for one in months.values()) / max(1, len(months)),
        "months": months,
        "decisions": decisions(context, LIVE),
    }


def by_month(rows: pl.DataFrame, frozen: Predictor, metric: str) -> dict[str, list[float]]:
    """The metric of what was answered, and of what another model answers."""
    months: dict[str, list[float]] = {}
    parts = rows.with_columns(month=pl.col("event_time").dt.strftime("%Y-%m")).partition_by("month", as_dict=True)
    for (month,), part in sorted(parts.items()):
        truth = numbers_of(part["label"], frozen.signature.task, frozen.signature.classes)
        answered = {one.name: one.to_numpy() for one in outputs(part).iter_columns() if one.name != "label"}
        answers = (answered, predict_table(frozen, inputs(part), nthread=2))
        months[month] = [measure(metric, truth, one, frozen.signature.threshold) for one in answers]
    return months


def decisions(context: Context, stream: str) -> list[str]:
    """What was done, without what was only looked at."""
    found = context.store().read(lambda conn: decided(conn, context.project.project, stream))
    return [f"{one.day} {one.outcome}" for one in found if not isinstance(one.action, Hold)]


def replayed(folder: Path, home: Path) -> dict[str, Any]:
    """The same of the replay that a home has."""
    with open_context(folder, home) as context:
        store, name = context.store(), context.project.project
        stream = store.read(lambda conn: latest_stream(conn, name))
        if stream is None:
            raise SystemExit(f"{home} has no replay; first: boucle --home {home} replay")
        frozen = open_kept(store, get_version(store, name, name, 1).bundle_digest)
        rows = labelled(store, name, stream.stream, include_quarantined=True)
        months = by_month(rows, frozen, context.project.loop.metric or "auc_roc")
        return {"months": months, "decisions": decisions(context, stream.stream)}


def table(report: dict[str, Any], beside: dict[str, Any]) -> str:
    """The months and the decisions, those of a replay beside them."""
    lines = [f"{'month':<10}{'live':>9}{'first':>9}" + f"{'replay':>9}" * bool(beside)]
    for month, (ours, first) in report["months"].items():
        found = beside.get("months", {}).get(month)
        lines.append(f"{month:<10}{ours:>9.4f}{first:>9.4f}" + (f"{found[0]:>9.4f}" if found else ""))
    lines.append(f"{'mean':<10}{report['live']:>9.4f}{report['frozen']:>9.4f}" + _mean(beside, list(report["months"])))
    lines += ["", f"{'live':<44}{'replay' * bool(beside)}"]
    for day in sorted({one[:10] for one in [*report["decisions"], *beside.get("decisions", [])]}):
        both = [[one for one in told.get("decisions", []) if one.startswith(day)] for told in (report, beside)]
        lines += [f"{ours:<44}{theirs}".rstrip() for ours, theirs in zip_longest(*both, fillvalue="")]
    facts = "{days} days, {rows:,} rows, {late_rows:,} of them late, {labelled:,} labelled; at most {behind_s} s behind"
    return "\n".join([*lines, "", facts.format(**report)])


def _mean(beside: dict[str, Any], months: Sequence[str]) -> str:
    found = [beside["months"][month][0] for month in months if beside and month in beside["months"]]
    return f"{sum(found) / len(found):>9.4f}" if found else ""


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description="Send the flights of 2013 through the live system.")
    parser.add_argument("--project", type=Path, default=Path(__file__).parent, help="folder of boucle.yaml")
    parser.add_argument("--days", type=int, help="so many days only; default: all that are replayed")
    parser.add_argument(
        "--day-s", type=float, default=4.0, help="seconds for a day (default: %(default)s); 0: no clock"
    )
    parser.add_argument("--beside", type=Path, metavar="HOME", help="home of a replay to compare with")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    report = live(given.project, days=given.days, day_s=given.day_s)
    beside = replayed(given.project, given.beside) if given.beside else {}
    told = json.dumps(report | {"replay": beside}, indent=2) if given.json else table(report, beside)
    sys.stdout.write(told + "\n")


if __name__ == "__main__":
    main()
