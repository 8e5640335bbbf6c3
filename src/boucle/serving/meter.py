"""What an endpoint counts about itself, and its text for Prometheus."""

import threading
from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import Final

BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Meter:
    """Counts answered requests since the worker started. Safe for threads.

    >>> meter = Meter()
    >>> meter.count(200, seconds=0.004, rows=256)
    >>> meter.count(400, seconds=0.0001, rows=0)
    >>> print(meter.exposition("flights").splitlines()[2])
    boucle_requests_total{endpoint="flights",status="200"} 1
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statuses: Counter[int] = Counter()
        self._buckets = [0] * (len(BUCKETS_S) + 1)
        self._seconds = 0.0
        self._rows = 0

    def count(self, status: int, *, seconds: float, rows: int) -> None:
        """Count one inference request; the latency of failed ones is left out."""
        with self._lock:
            self._statuses[status] += 1
            if status < 400:
                self._buckets[bisect_left(BUCKETS_S, seconds)] += 1
                self._seconds += seconds
                self._rows += rows

    def exposition(self, endpoint: str, *, lost_frames: int = 0, generation: int = 0, number: int = 0) -> str:
        """The text format 0.0.4, https://prometheus.io/docs/instrumenting/exposition_formats/."""
        with self._lock:
            statuses, buckets, seconds, rows = dict(self._statuses), list(self._buckets), self._seconds, self._rows
        name = f'endpoint="{_escaped(endpoint)}"'
        lines = [
            *_head("boucle_requests_total", "counter", "Inference requests by HTTP status."),
            *(f'boucle_requests_total{{{name},status="{code}"}} {n}' for code, n in sorted(statuses.items())),
            *_head("boucle_errors_total", "counter", "Inference requests that were not answered."),
            f"boucle_errors_total{{{name}}} {sum(n for code, n in statuses.items() if code >= 400)}",
            *_head("boucle_rows_total", "counter", "Rows predicted."),
            f"boucle_rows_total{{{name}}} {rows}",
            *_head("boucle_latency_seconds", "histogram", "From a request's last byte to its answer."),
        ]
        bounds = [*(f"{bound:g}" for bound in BUCKETS_S), "+Inf"]
        for bound, total in zip(bounds, accumulate(buckets), strict=True):
            lines.append(f'boucle_latency_seconds_bucket{{{name},le="{bound}"}} {total}')
        lines += [
            f"boucle_latency_seconds_sum{{{name}}} {seconds:.9g}",
            f"boucle_latency_seconds_count{{{name}}} {sum(buckets)}",
            *_head("boucle_lost_frames_total", "counter", "Predictions that the prediction log could not keep."),
            f"boucle_lost_frames_total{{{name}}} {lost_frames}",
            *_head("boucle_traffic_generation", "gauge", "Generation of the traffic file that is served."),
            f"boucle_traffic_generation{{{name}}} {generation}",
            *_head("boucle_model_version", "gauge", "Number of the model version that answers."),
            f"boucle_model_version{{{name}}} {number}",
        ]
        return "\n".join(lines) + "\n"


def _head(metric: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {metric} {text}", f"# TYPE {metric} {kind}"


def _escaped(value: str) -> str:
    r"""A label's value.

    >>> _escaped('a"b')
    'a\\"b'
    """
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
