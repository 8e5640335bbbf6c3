"""What Prometheus is told of the parts of `boucle up`, of the disk and of GPUs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from boucle.app.part_use import parts_use
from boucle.app.parts import read_parts


def parts(home: Path) -> Iterator[Any]:
    """Each part, its processes together."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    labels, use, state = ["part"], parts_use(home), read_parts(home)
    runs = GaugeMetricFamily("boucle_part_up", "Whether the part runs.", labels=labels)
    again = CounterMetricFamily("boucle_part_restarts", "How often the part was started again.", labels=labels)
    for one in state.parts if state else []:
        runs.add_metric([one.name], float(one.state == "running"))
        again.add_metric([one.name], one.restarts)
    seconds = CounterMetricFamily("boucle_part_cpu_seconds", "Processor time, ended children included.", labels=labels)
    memory = GaugeMetricFamily("boucle_part_resident_memory_bytes", "Resident memory.", labels=labels)
    for name, each in use.items():
        seconds.add_metric([name], each.cpu_s)
        memory.add_metric([name], each.memory_bytes)
    yield from (runs, again, seconds, memory)


def home(folder: Path) -> Iterator[Any]:
    """The file system of the home."""
    from prometheus_client.core import GaugeMetricFamily

    from boucle.monitoring.resources import disk_use

    use = disk_use(folder)
    yield GaugeMetricFamily("boucle_disk_total_bytes", "Of the file system of the home.", value=use.total_bytes)
    yield GaugeMetricFamily("boucle_disk_free_bytes", "Free on the file system of the home.", value=use.free_bytes)


def gpus() -> Iterator[Any]:
    """Each GPU, if there is one."""
    from prometheus_client.core import GaugeMetricFamily

    from boucle.monitoring.resources import gpu_use

    labels = ["gpu"]
    busy = GaugeMetricFamily("boucle_gpu_busy_ratio", "Share of the time in which it computed.", labels=labels)
    used = GaugeMetricFamily("boucle_gpu_memory_used_bytes", "Memory in use.", labels=labels)
    total = GaugeMetricFamily("boucle_gpu_memory_total_bytes", "Memory that it has.", labels=labels)
    for one in gpu_use():
        key = [str(one.index)]
        used.add_metric(key, one.memory_used_bytes)
        total.add_metric(key, one.memory_total_bytes)
        if one.busy_percent is not None:
            busy.add_metric(key, one.busy_percent / 100)
    yield from (busy, used, total)
