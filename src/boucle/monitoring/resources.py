"""What processes, the disk and the GPUs of a machine use, as the operating system tells. No table is loaded here.

Processes are read from `/proc` (Linux), GPUs from `nvidia-smi` where there is one.
"""

import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_ASK_GPU: Final = (
    "nvidia-smi",
    "--query-gpu=index,name,utilization.gpu,memory.used,memory.total",
    "--format=csv,noheader,nounits",
)
_GPU_S: Final = 5.0


class ProcessUse(Struct, frozen=True, kw_only=True):
    """A process with all that descend from it."""

    processes: int
    cpu_s: float
    """Processor time since each began, that of ended children included: it grows as long as the first one lives."""
    memory_bytes: int
    """Resident; what processes share counts for each of them."""


class DiskUse(Struct, frozen=True, kw_only=True):
    """The file system that a folder is on."""

    total_bytes: int
    used_bytes: int
    free_bytes: int
    """What may be written by who is not root."""


class GpuUse(Struct, frozen=True, kw_only=True):
    """One GPU."""

    index: int
    name: str
    busy_percent: float | None
    """None where the driver does not tell."""
    memory_used_bytes: int
    memory_total_bytes: int


class Prices(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What running costs, in whatever currency: the `monitoring.cost` section of boucle.yaml."""

    per_cpu_hour: float = 0.0
    """An hour of one core, as far as it was used."""
    per_gb_hour: float = 0.0
    """A gigabyte of resident memory for an hour."""
    per_hour: float = 0.0
    """An hour of the whole, however much is used: a machine that is rented."""

    @property
    def is_set(self) -> bool:
        """Whether anything costs."""
        return bool(self.per_cpu_hour or self.per_gb_hour or self.per_hour)


def cost(prices: Prices, *, hours: float, cpu_s: float, memory_gb_s: float) -> float:
    """What some hours cost in which so much was used.

    >>> cost(Prices(per_cpu_hour=0.04, per_gb_hour=0.005, per_hour=0.1), hours=10, cpu_s=3600, memory_gb_s=7200)
    1.05
    """
    return prices.per_hour * hours + prices.per_cpu_hour * cpu_s / 3600 + prices.per_gb_hour * memory_gb_s / 3600


def processes(proc: Path = Path("/proc")) -> dict[int, tuple[int, float, int]]:
    """Every process there is: its parent, seconds of processor time and resident bytes. What ends meanwhile is left
    out."""
    found = {}
    for folder in proc.iterdir() if proc.is_dir() else ():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                pages = int((folder / "statm").read_text().split()[1])
            except (OSError, IndexError):
                continue
            ticks = sum(int(one) for one in fields[11:15])  # utime, stime and those of children that were waited for
            found[int(folder.name)] = (int(fields[1]), ticks / _TICKS, pages * _PAGE_BYTES)
    return found


def use_of(pid: int, table: Mapping[int, tuple[int, float, int]], without: Iterable[int] = ()) -> ProcessUse:
    """A process and its descendants, but for some and theirs.

    >>> table = {1: (0, 1.0, 10), 2: (1, 2.0, 20), 3: (2, 4.0, 40)}
    >>> use_of(1, table), use_of(1, table, without=[2]).processes
    (ProcessUse(processes=3, cpu_s=7.0, memory_bytes=70), 1)
    """
    children = defaultdict(list)
    for one, (parent, _, _) in table.items():
        children[parent].append(one)
    left, tree = [pid] if pid in table else [], []
    while left:
        tree.append(left.pop())
        left += [one for one in children[tree[-1]] if one not in without]
    return ProcessUse(
        processes=len(tree),
        cpu_s=sum(table[one][1] for one in tree),
        memory_bytes=sum(table[one][2] for one in tree),
    )


def disk_use(folder: Path) -> DiskUse:
    """The file system of a folder."""
    found = shutil.disk_usage(folder)
    return DiskUse(total_bytes=found.total, used_bytes=found.used, free_bytes=found.free)


def folder_bytes(folder: Path) -> int:
    """What the files below a folder take on the disk; what goes meanwhile is left out."""
    total = 0
    for above, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(above, name)).st_blocks * 512  # noqa: PTH118 - of thousands of files
            except OSError:
                continue
    return total


def gpu_use() -> list[GpuUse]:
    """The GPUs that NVIDIA's driver sees; none where its program is not there or says nothing."""
    program = shutil.which(_ASK_GPU[0])
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, *_ASK_GPU[1:]],
            capture_output=True,
            text=True,
            timeout=_GPU_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return parsed_gpus(done.stdout)


def parsed_gpus(text: str) -> list[GpuUse]:
    """What `nvidia-smi` says, a line each.

    >>> parsed_gpus("0, NVIDIA H100 80GB HBM3, 37, 1024, 81559")[0].memory_used_bytes
    1073741824
    """
    found = []
    for line in text.splitlines():
        index, name, busy, used, total = ([part.strip() for part in line.split(",")] + [""] * 5)[:5]
        try:
            memory = int(used) << 20, int(total) << 20
            number = int(index)
        except ValueError:  # `[N/A]`, or a warning
            continue
        told = float(busy) if busy.replace(".", "", 1).isdecimal() else None
        found.append(
            GpuUse(
                index=number, name=name, busy_percent=told, memory_used_bytes=memory[0], memory_total_bytes=memory[1]
            )
        )
    return found
