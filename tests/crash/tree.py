"""`boucle up` around the small project, as real processes that are killed and stand still while a cycle goes on.

A cycle: the days in which the world turned are asked over HTTP and labelled by `boucle labels`; the loop trains again,
judges, promotes, and the endpoint answers with the new version. Events are of 2024 and the clock of today, so windows
close by the rows of the next day alone, and what is decided on depends on no duration.
"""

import json
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from held_ports import free_port

from boucle.data.api import load
from boucle.kernel.errors import BoucleError
from boucle.kernel.progress import Silent
from boucle.kernel.store import Store
from boucle.loop.feed import Feed, batches
from boucle.loop.live import LIVE
from boucle.monitoring.api import labels_of, served_ids
from boucle.project.context import open_context
from boucle.project.lifecycle import run_project
from boucle.serving.api import InferClient, counters_folder, read_ack, read_traffic, wait_logged

from .conftest import PATIENCE_S, Child, Ground
from .found import NAME, facts
from .scenes import KINDS, logged


def feed_of(folder: Path) -> Feed:
    """What is asked on the replayed days of a project that ran, and on the day after them."""
    file = folder / "boucle.yaml"
    file.write_text(file.read_text().replace("last: 2024-01-13", "last: 2024-01-14"))
    with open_context(folder) as context:
        return Feed(load(context.store(), run_project(context, Silent()).source.digest), context.project)


class Tree:
    """One `boucle up` and who asks it. Whatever is killed is started again by it, or it itself by this."""

    def __init__(
        self, ground: Ground, feed: Feed, folder: Path, *, after: "Tree | None" = None, **environ: str
    ) -> None:
        """`after`: what another one was asked and told in a home of which this one has a copy."""
        self._feed = feed
        self.folder, self.home = folder, folder / ".boucle"
        self._ground = ground
        self._environ = environ | {"TREE": str(folder)}
        self.port, serving = free_port(), free_port()
        file = folder / "boucle.yaml"
        text = "".join(line for line in file.read_text().splitlines(True) if not line.startswith("serving:"))
        file.write_text(f"{text}serving: {{port: {serving}}}\n")
        self._url = f"http://127.0.0.1:{serving}"
        self.asked: dict[str, set[str]] = {} if after is None else dict(after.asked)
        """Each request that was answered and logged, with the keys of its rows."""
        self.told: dict[str, str] = {} if after is None else dict(after.told)
        """The label that was told last, by key."""
        self._label_files = 0
        self._unanswered: Counter[str] = Counter()
        """What it said to questions that it did not answer, and how often."""
        self.child = self._up()
        self._has_ended = False

    def _up(self) -> Child:
        return self._ground.start(self.folder, "up", "--port", str(self.port), **self._environ)

    def look(self) -> None:
        """Start it again if it was killed."""
        if not self._ground.is_running(self.child):
            done = self._ground.wait(self.child)
            assert done.killed, done
            self.child = self._up()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            self.look()
            assert time.monotonic() < deadline, f"{what}: {self.output()}"
            time.sleep(0.02)

    def output(self) -> str:
        return self.child.out.read_text() + self.child.err.read_text() + str(dict(self._unanswered))

    def serve(self, first: date, last: date) -> None:
        """Ask what is asked on these days and tell the labels; wait for each day until all that comes of it came."""
        feed = self._feed
        for day in [first + timedelta(days=n) for n in range((last - first).days + 2)]:
            for number, batch in enumerate(batches(feed.served(day), 16)):
                if day > last and number:
                    return
                self._ask(f"{day}/{number}", batch)
                if not number and day > first:  # the rows that close the day before
                    self.wait(lambda day=day: self.is_over(day - timedelta(days=1)), f"{day} begins")  # type: ignore[misc]
            if day <= last:
                self._tell(feed.labels(day - timedelta(days=2)), feed.labels(day - timedelta(days=1)))

    def _ask(self, request: str, batch: pl.DataFrame) -> None:
        """Ask until it is answered and logged."""
        question = batch.with_columns(pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).to_dict(as_series=False)

        def is_logged() -> bool:
            try:
                with InferClient(self._url, NAME, timeout_s=10) as client:
                    client.infer(request, question, KINDS)  # type: ignore[arg-type]
            except BoucleError as error:
                self._unanswered[f"{request}: {type(error).__name__}: {error}"] += 1
                return False
            wait_logged(counters_folder(self.home, NAME))  # it answers before it writes
            return f"frame {request}" in logged(self.folder)

        self.wait(is_logged, f"an answer to {request}")
        self.asked[request] = set(batch["id"])

    def _tell(self, older: pl.DataFrame, newer: pl.DataFrame) -> None:
        """The labels of a day: half of them, three of these wrong; then all but the last two, which come a day late;
        and the same once more."""
        rows = newer.rows()
        wrong = [(key, 1 - label) for key, label in rows[:3]]
        for told in (wrong + rows[3 : len(rows) // 2], rows[:-2] + older.rows()[-2:], rows[:-2] + older.rows()[-2:]):
            if told:
                self._label_files += 1
                file = self.folder / f"labels-{self._label_files}.csv"
                pl.DataFrame(told, schema=["key", "label"], orient="row").write_csv(file)
                self.wait(lambda file=file: self._took(file), f"{file} is taken")  # type: ignore[misc]
                self.told |= {key: str(label) for key, label in told}

    def _took(self, file: Path) -> bool:
        done = self._ground.run(self.folder, "labels", str(file), **self._environ)
        assert done.code == 0 or done.killed, done
        return done.code == 0

    def is_over(self, day: date) -> bool:
        """Whether a day is decided on, nothing is under way, each training led to a verdict, nothing more is due, and
        the endpoint answers with who is in charge."""
        stream = self.ask("SELECT done_through FROM loop_streams WHERE stream = 'live'")
        if not stream or stream[0][0] is None or stream[0][0] < str(day):
            return False
        if self.ask("SELECT id FROM loop_jobs WHERE state IN ('running', 'trained')"):
            return False
        decided = self.ask("SELECT body FROM loop_decisions ORDER BY id")
        kinds = [json.loads(body)["action"]["action"] for (body,) in decided]
        if kinds.count("retrain") != kinds.count("promote") + kinds.count("refuse"):
            return False
        [(number,)] = self.ask("SELECT number FROM alias_moves WHERE alias = 'champion' ORDER BY sequence DESC LIMIT 1")
        still = [
            json.loads(alert) for (alert,) in self.ask("SELECT alert FROM monitoring_alerts WHERE closed_on IS NULL")
        ]
        if any(one["kind"] == "decay" and one["evidence"]["version"] != str(number) for one in still):
            return False  # of a version that is in charge no more
        traffic, ack = read_traffic(self.home, NAME), read_ack(self.home, NAME)
        return ack is not None and traffic.champion.number == number and ack.generation == traffic.generation

    def ask(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.home / "boucle.db")) as raw:
            return raw.execute(query).fetchall()

    def end(self) -> None:
        """Stop it as a person does: nothing of it is left."""
        self.look()
        os.kill(self.child.pid, signal.SIGTERM)
        done = self._ground.wait(self.child)
        self._has_ended = True
        assert done.code == 0, done
        assert self.processes() == [], done

    def kill(self) -> None:
        """Leave nothing of it, however a test went."""
        if not self._has_ended and self._ground.is_running(self.child):
            for process in self.victims("all"):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Every process that it started, by what they all were started with."""
        token, found = f"TREE={self.folder}".encode(), []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                is_dead = (process / "stat").read_text().rpartition(") ")[2][0] == "Z"
                if not is_dead and token in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
        return found

    def victims(self, name: str) -> list[int]:
        """The processes by a name: `up`, a part's, `worker`, `training`, or `all` of them."""
        everything = self.processes()
        if name == "all":
            return [self.child.pid, *everything]
        if name == "up":
            return [self.child.pid]
        words = {one: _words(one) for one in everything}
        if name == "training":
            return [one for one in everything if b"boucle.app.training" in words[one]]
        part = {"serve": b"serve", "monitor": b"monitor", "loop": b"run", "worker": b"serve"}[name]
        found = [one for one in everything if b"boucle.app.part" in words[one] and words[one][-1] == part]
        if name != "worker":
            return found
        return [one for one in everything if _parent(one) in found and b"resource_tracker" not in b" ".join(words[one])]

    def facts(self) -> dict[str, Any]:
        """What it came to: decisions, versions, windows, alerts, charge, labels; each question and label once."""
        found = facts(self.home)
        with Store.open(self.home) as store:
            found["labels"] = sorted(labels_of(store, NAME, LIVE).table.rows())
            rows = served_ids(store, NAME, LIVE)
        found["rows"] = sorted(rows.rows())
        assert rows.select("request_id", "row").n_unique() == rows.height
        assert rows["entity_key"].n_unique() == rows.height
        return found


class Strike:
    """Kills a process of a tree each time that some process of it stands at one of these points."""

    def __init__(self, folder: Path, points: list[str]) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        self.environ = {"CRASH_HOLD": ",".join(points), "CRASH_HELD": f"{folder}/"}
        self.struck: list[str] = []
        """At which points somebody was killed."""
        self._met: set[str] = set()
        self._ended = threading.Event()

    def begin(self, tree: Tree, victim: str) -> None:
        """From now on, in a thread."""
        self._thread = threading.Thread(target=self._watch, args=(tree, victim))
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self, tree: Tree, victim: str) -> None:
        while not self._ended.wait(0.005):
            for point, held in self._new():
                found = tree.victims(victim)
                for one in found:
                    with suppress(ProcessLookupError):
                        os.kill(one, signal.SIGKILL)
                with suppress(ProcessLookupError):
                    os.kill(held, signal.SIGCONT)
                self.struck += [point] if found else []

    def _new(self) -> Iterator[tuple[str, int]]:
        for file in sorted(self._folder.iterdir()):
            if file.name not in self._met and (text := file.read_text()) and stands_still(int(text)):
                self._met.add(file.name)
                yield file.name, int(text)


def stands_still(process: int) -> bool:
    """Whether a process is stopped, or is no more."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] in "TtZX"
    return True


def _words(process: int) -> list[bytes]:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[:-1]
    return []


def _parent(process: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()[1])
    return 0
