"""What an endpoint counts about itself, for Prometheus."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Meter:
    """Counts requests since the worker started. Safe for threads.

    >>> meter = Meter("flights")
    >>> meter.count("v2", 200, seconds=0.004, rows=256)
    >>> meter.count("v2", 400, seconds=0.0001, rows=0)
    >>> print(meter.exposition().decode().splitlines()[2])
    boucle_requests_total{door="v2",endpoint="flights",status="200"} 1.0
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._registry = registry = CollectorRegistry()
        by, status = ["endpoint"], ["door", "endpoint", "status"]
        self._requests = Counter(
            "boucle_requests", "Inference requests by protocol and HTTP status.", status, registry=registry
        )
        errors = Counter("boucle_errors", "Inference requests that were not answered.", by, registry=registry)
        rows = Counter("boucle_rows", "Rows predicted.", by, registry=registry)
        words = "From a request's last byte to its answer."
        latency = Histogram("boucle_latency_seconds", words, by, registry=registry, buckets=BUCKETS_S)
        lost = Gauge("boucle_lost_frames", "Predictions that the log could not keep.", by, registry=registry)
        generation = Gauge("boucle_traffic_generation", "Generation of the served traffic file.", by, registry=registry)
        version = Gauge("boucle_model_version", "Number of the version that answers.", by, registry=registry)
        self._errors, self._rows, self._latency = (
            errors.labels(endpoint),
            rows.labels(endpoint),
            latency.labels(endpoint),
        )
        self._lost, self._generation = lost.labels(endpoint), generation.labels(endpoint)
        self._version = version.labels(endpoint)

    def count(self, door: str, status: int, *, seconds: float, rows: int) -> None:
        """Count one inference request; the latency of failed ones is left out."""
        self._requests.labels(door, self._endpoint, str(status)).inc()
        if status >= 400:
            self._errors.inc()
            return
        self._latency.observe(seconds)
        self._rows.inc(rows)

    def exposition(self, *, lost_frames: int = 0, generation: int = 0, number: int = 0) -> bytes:
        """All of it in the text format, https://prometheus.io/docs/instrumenting/exposition_formats/."""
        self._lost.set(lost_frames)
        self._generation.set(generation)
        self._version.set(number)
        return generate_latest(self._registry)
