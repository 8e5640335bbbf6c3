"""What the workers of an endpoint count about themselves: numbers in place on the way, words when Prometheus asks.

Each series (a door, a version, a status) has a block of its worker's counters: number of requests, rows, seconds, and
requests by how long they took. Whichever worker is asked adds up the counters of all.
"""

import os
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, field

from boucle.serving import counters as at
from boucle.serving.counters import Counters, View, lives, named_counters, read_counters
from boucle.serving.log_parts import Bound, read_bound
from boucle.serving.records import Served

DOORS: Final = ("v2", "v2-binary", "v2-grpc", "v1", "tf", "mlflow", "sagemaker", "vertex", "arrow", "other")
"""The protocols by which a question may come."""
BUCKETS_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_BLOCK: Final = 24
FAILED: Final = 500
"""The status of what a model fails at; of all else it is the request, or too many of them."""
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_DOOR, _NUMBER, _STATUS, _REQUESTS, _ROWS, _SECONDS, _FIRST_BUCKET = range(7)
_BLOCKS: Final = (at.COUNT - at.SERIES) // _BLOCK
_ENDINGS: Final = (200, 400, 500)
"""Statuses under which the last blocks count what has no block of its own, as no version's."""
_ANY: Final = "other"
"""The version of answers there; what was refused has none anyway."""

Key = tuple[str, int, int]
"""Door, version's number (of a failure: of the version that failed; 0 where it was the request), HTTP status."""


def by_version(folder: Path) -> dict[int, Served]:
    """What each version answered and failed at, over all workers that there are or were."""
    found: dict[int, Served] = {}
    for view in read_counters(folder):
        for (_, number, status), place in _series(view):
            if number and status in (200, FAILED):
                block = [int(one) for one in view[place + _FIRST_BUCKET : place + _FIRST_BUCKET + len(BUCKETS_S) + 1]]
                count = int(view[place + _REQUESTS])
                errors = count if status == FAILED else 0
                more = Served(requests=count, errors=errors, buckets=block if status == 200 else [])
                found[number] = together(found.get(number, Served()), more)
    return found


def of_shadow(folder: Path, number: int) -> Served:
    """The same of a version that is or was shadow; how long it takes is not counted, since nobody waits for it."""
    views = [view for view in read_counters(folder) if view[at.SHADOW_NUMBER] == number]
    errors = sum(int(view[at.SHADOW_FAILED]) for view in views)
    return Served(requests=errors + sum(int(view[at.SHADOW_ANSWERED]) for view in views), errors=errors)


def together(one: Served, other: Served) -> Served:
    """The counts of both."""
    pairs = zip_longest(one.buckets, other.buckets, fillvalue=0)
    return Served(
        requests=one.requests + other.requests,
        errors=one.errors + other.errors,
        buckets=[here + there for here, there in pairs],
    )


def since(now: Served, before: Served) -> Served:
    """What was counted since; where counting began anew meanwhile, all there is.

    >>> since(Served(requests=5, errors=1, buckets=[4]), Served(requests=3, buckets=[3]))
    Served(requests=2, errors=1, buckets=[1])
    """
    if now.requests < before.requests or now.errors < before.errors:
        return now
    pairs = zip_longest(now.buckets, before.buckets, fillvalue=0)
    return Served(
        requests=now.requests - before.requests,
        errors=now.errors - before.errors,
        buckets=[max(here - there, 0) for here, there in pairs],
    )


def p95_ms(served: Served) -> float | None:
    """Within how many milliseconds 95 % were answered, straight between two bounds; None where nothing was.

    >>> p95_ms(Served(requests=100, buckets=[90, 10]))
    0.175
    """
    left = 0.95 * sum(served.buckets)
    if not left:
        return None
    low = 0.0
    for bound, count in zip((*BUCKETS_S, BUCKETS_S[-1]), served.buckets, strict=False):
        if count >= left:
            return round(1000 * (low + (bound - low) * left / count), 4)
        left, low = left - count, bound
    return 1000 * BUCKETS_S[-1]


class Meter:
    """Counts the requests of one worker. For one thread."""

    def __init__(self, counters: Counters) -> None:
        self._view = counters.view
        self._places: dict[Key, int] = dict(_series(self._view))
        if len(self._places) > _BLOCKS // 2:  # of versions long gone
            self._view[at.SERIES :] = memoryview(bytes(8 * (at.COUNT - at.SERIES))).cast("d")
            self._places.clear()

    def answered(self, door: str, number: int, seconds: float, rows: int) -> None:
        """Count an answer."""
        view = self._view
        place = self._places.get((door, number, 200)) or self._place((door, number, 200))
        view[place + _REQUESTS] += 1.0
        view[place + _ROWS] += rows
        view[place + _SECONDS] += seconds
        view[place + _FIRST_BUCKET + bisect_left(BUCKETS_S, seconds)] += 1.0

    def refused(self, door: str, status: int, seconds: float, number: int = 0) -> None:
        """Count a request that was not answered, with the version that failed; the histogram is of answers only."""
        place = self._places.get((door, number, status)) or self._place((door, number, status))
        self._view[place + _REQUESTS] += 1.0
        self._view[place + _SECONDS] += seconds

    def shadow(self, number: int, *, failed: bool) -> None:
        """Count what a shadow was asked. For the shadow's thread."""
        view = self._view
        if view[at.SHADOW_NUMBER] != number:
            view[at.SHADOW_NUMBER], view[at.SHADOW_ANSWERED], view[at.SHADOW_FAILED] = float(number), 0.0, 0.0
        view[at.SHADOW_FAILED if failed else at.SHADOW_ANSWERED] += 1.0

    def batch(self, questions: int, rows: int) -> None:
        """Count a batch."""
        view = self._view
        view[at.BATCHES + bisect_left(at.BATCH_BOUNDS, questions)] += 1.0
        view[at.BATCHES + len(at.BATCH_BOUNDS) + 1] += questions
        view[at.BATCHES + len(at.BATCH_BOUNDS) + 2] += rows

    def gauge(self, *, waiting: int, generation: int, number: int) -> None:
        """Say how things stand."""
        self._view[at.WAITING], self._view[at.GENERATION], self._view[at.VERSION] = waiting, generation, number

    def _place(self, key: Key) -> int:
        """A block for a new series; the last ones are for all that find none, by how they ended."""
        kept = (key[0] if key[0] in DOORS else "other", *key[1:])
        used = len(set(self._places.values()))
        if kept not in self._places and used >= _BLOCKS - len(_ENDINGS):
            kept = ("other", 0, max(one for one in _ENDINGS if one <= max(key[2], _ENDINGS[0])))
        if (place := self._places.get(kept)) is None:
            place = at.SERIES + used * _BLOCK
            self._view[place + _DOOR] = DOORS.index(kept[0]) + 1
            self._view[place + _NUMBER], self._view[place + _STATUS] = kept[1:]
            self._places[kept] = place
        self._places[key] = place
        return place


class Totals(Struct, array_like=True):
    """What one worker's file has counted since it was begun."""

    answered: float = 0.0
    refused: float = 0.0
    """Wrong questions: statuses from 400 to 499."""
    failed: float = 0.0
    """Statuses from 500 on: no fault of who asked."""
    rows: float = 0.0
    lost: float = 0.0
    """Predictions that the log could not keep."""
    took: list[float] = field(default_factory=lambda: [0.0] * (len(BUCKETS_S) + 1))
    """Answers by how long they took: up to each of BUCKETS_S, and longer."""


def totals(folder: Path) -> dict[str, Totals]:
    """What each worker's file of an endpoint has counted, by the file's name."""
    found = {}
    for name, view in named_counters(folder):
        made = found[name] = Totals(lost=float(view[at.LOST] + view[at.TURNED_AWAY] + view[at.TURNED_AWAY_ELSEWHERE]))
        for (_, _, status), place in _series(view):
            requests = float(view[place + _REQUESTS])
            if status == 200:
                made.answered += requests
                made.rows += float(view[place + _ROWS])
                took = view[place + _FIRST_BUCKET : place + _FIRST_BUCKET + len(BUCKETS_S) + 1]
                made.took = [one + more for one, more in zip(made.took, took, strict=True)]
            elif status >= 500:
                made.failed += requests
            else:
                made.refused += requests
    return found


def unanswered(folder: Path) -> dict[str, tuple[int, int]]:
    """Requests that were refused as wrong, and that failed, by worker's file."""
    return {name: (int(one.refused), int(one.failed)) for name, one in totals(folder).items()}


def exposition(folders: Iterable[tuple[str, Path]]) -> bytes:
    """What the workers of some endpoints count, each with the folder of its counters, in Prometheus' text format.

    https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    from prometheus_client import CollectorRegistry, generate_latest  # only who is asked loads it
    from prometheus_client.registry import Collector

    folders = list(folders)
    read = [(name, list(read_counters(folder))) for name, folder in folders]
    dropped = [(name, read_bound(folder.parent / "log")) for name, folder in folders]

    class Once(Collector):
        def collect(self) -> Iterator[Any]:
            yield from _families(read)
            yield _dropped(dropped)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    return generate_latest(registry)


def _families(read: list[tuple[str, list[View]]]) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    names = ["endpoint", "door", "version", "status"]
    words = "Inference requests by protocol, version and status."
    requests = CounterMetricFamily("boucle_requests", words, labels=names)
    errors = CounterMetricFamily("boucle_errors", "Inference requests that were not answered.", labels=names[:1])
    rows = CounterMetricFamily("boucle_rows", "Rows predicted.", labels=["endpoint", "version"])
    words = "From a request's last byte to its answer."
    latency = HistogramMetricFamily("boucle_latency_seconds", words, labels=names[:3])
    batches = HistogramMetricFamily("boucle_batch_questions", "Questions computed together.", labels=names[:1])
    batch_rows = CounterMetricFamily("boucle_batch_rows", "Rows computed in batches.", labels=names[:1])
    single = [
        (kind(f"boucle_{name}", words, labels=names[:1]), value)
        for kind, table in ((CounterMetricFamily, _COUNTERS), (GaugeMetricFamily, _GAUGES))
        for name, words, value in table
    ]
    for name, views in read:
        _add_requests(name, views, requests, errors, rows, latency)
        _add_batches(name, views, batches, batch_rows)
        for family, value in single:
            family.add_metric([name], value(views))
    yield from (requests, errors, rows, latency, batches, batch_rows, *(family for family, _ in single))
    yield from _processes({int(view[at.PID]) for _, views in read for view in views if lives(view)})


def _dropped(bounds: list[tuple[str, Bound]]) -> Any:
    """What the bound on the size of logs has cost: no worker counts it, since it is another process that takes away."""
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily("boucle_log_dropped_rows", "Rows beyond the bound of the log.", labels=["endpoint"])
    for name, bound in bounds:
        family.add_metric([name], bound.dropped_rows)
    return family


def _add_requests(name: str, views: list[View], requests: Any, errors: Any, rows: Any, latency: Any) -> None:
    summed: dict[Key, list[float]] = defaultdict(lambda: [0.0] * _BLOCK)
    for view in views:
        for key, place in _series(view):
            summed[key] = [one + more for one, more in zip(summed[key], view[place : place + _BLOCK], strict=True)]
    by_version: Counter[str] = Counter()
    for (door, number, status), block in sorted(summed.items()):
        version = str(number) if number else _ANY if status == 200 else ""
        requests.add_metric([name, door, version, str(status)], block[_REQUESTS])
        if status == 200:
            by_version[version] += int(block[_ROWS])
            buckets = _cumulated(BUCKETS_S, block[_FIRST_BUCKET : _FIRST_BUCKET + len(BUCKETS_S) + 1])
            latency.add_metric([name, door, version], buckets=buckets, sum_value=block[_SECONDS])
    for version, count in by_version.items():
        rows.add_metric([name, version], count)
    errors.add_metric([name], sum(block[_REQUESTS] for (_, _, status), block in summed.items() if status >= 400))


def _add_batches(name: str, views: list[View], batches: Any, batch_rows: Any) -> None:
    many = len(at.BATCH_BOUNDS)
    counts = [sum(view[at.BATCHES + place] for view in views) for place in range(many + 3)]
    batches.add_metric([name], buckets=_cumulated(at.BATCH_BOUNDS, counts[: many + 1]), sum_value=counts[many + 1])
    batch_rows.add_metric([name], counts[many + 2])


def _cumulated(bounds: tuple[float, ...], counts: list[float]) -> list[tuple[str, float]]:
    """Counts of what lies between bounds as Prometheus wants them: of what lies below each."""
    below, found = 0.0, []
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        below += count
        found.append((bound, below))
    return found


def _processes(pids: set[int]) -> Iterator[Any]:
    """Figures of the workers' processes, where the operating system tells."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    memory = GaugeMetricFamily("boucle_worker_resident_memory_bytes", "Resident memory.", labels=["pid"])
    seconds = CounterMetricFamily("boucle_worker_cpu_seconds", "Processor time.", labels=["pid"])
    files = GaugeMetricFamily("boucle_worker_open_files", "Open file descriptors.", labels=["pid"])
    labels = ["pid", "worker"]
    words = "Resident memory of the process of a model that is code."
    code_memory = GaugeMetricFamily("boucle_code_resident_memory_bytes", words, labels=labels)
    code_seconds = CounterMetricFamily("boucle_code_cpu_seconds", "Its processor time.", labels=labels)
    for pid in sorted(pids):
        try:
            resident_bytes, cpu_s = _use(pid)
            memory.add_metric([str(pid)], resident_bytes)
            seconds.add_metric([str(pid)], cpu_s)
            files.add_metric([str(pid)], sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()))
        except OSError:  # it ended
            continue
        for child in _children(pid):
            with suppress(OSError):
                resident_bytes, cpu_s = _use(child)
                code_memory.add_metric([str(child), str(pid)], resident_bytes)
                code_seconds.add_metric([str(child), str(pid)], cpu_s)
    yield from (memory, seconds, files, code_memory, code_seconds)


def _use(pid: int) -> tuple[int, float]:
    """Resident bytes and seconds of processor time of a process; OSError if it ended."""
    folder = Path("/proc") / str(pid)
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    resident_bytes = int((folder / "statm").read_text().split()[1]) * _PAGE_BYTES
    return resident_bytes, (int(fields[11]) + int(fields[12])) / _TICKS


def _children(pid: int) -> list[int]:
    """What a process started: a worker starts nothing but the processes of models that are code."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, thread.read_text().split())
    return sorted(found)


def _series(view: View) -> Iterator[tuple[Key, int]]:
    for place in range(at.SERIES, at.SERIES + _BLOCKS * _BLOCK, _BLOCK):
        if view[place] == 0.0:
            return
        yield (DOORS[int(view[place]) - 1], int(view[place + _NUMBER]), int(view[place + _STATUS])), place


def _sum(*indexes: int) -> Callable[[list[View]], float]:
    return lambda views: float(sum(view[index] for view in views for index in indexes))


def _largest(index: int) -> Callable[[list[View]], float]:
    return lambda views: max((float(view[index]) for view in views), default=0.0)


def _unsettled(views: list[View], *, living: bool) -> float:
    """What waits in living workers; what is lost with those that died, whether or not another one took their place."""
    return float(sum(at.unsettled(view) for view in views if lives(view) == living))


_lost: Final = _sum(at.LOST, at.TURNED_AWAY, at.TURNED_AWAY_ELSEWHERE)
_COUNTERS: Final = (
    ("log_accepted", "Predictions given to the log.", _sum(at.ACCEPTED, at.ACCEPTED_ELSEWHERE)),
    ("log_written", "Predictions in the log.", _sum(at.LOGGED)),
    (
        "log_lost",
        "Predictions that the log could not keep.",
        lambda views: _lost(views) + _unsettled(views, living=False),
    ),
)
_GAUGES: Final = (
    ("log_queued", "Predictions that wait to be logged.", lambda views: _unsettled(views, living=True)),
    ("rows_waiting", "Rows that wait for the model.", _sum(at.WAITING)),
    ("traffic_generation", "Generation of the served traffic file.", _largest(at.GENERATION)),
    ("model_version", "Number of the version in charge.", _largest(at.VERSION)),
    ("workers", "Processes that answer.", lambda views: float(sum(map(lives, views)))),
)
"""Metrics of one value: name, what it is, and the value by the counters of all workers."""
