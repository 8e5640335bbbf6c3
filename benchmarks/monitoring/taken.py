"""What one piece of work takes, told as a line of JSON by the program that did it."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path


def tell(work: Callable[[], object], times: int = 1) -> None:
    """Seconds of the clock and of the processor (the median of `times`), and the program's peak memory."""
    clocks, processors = [], []
    for _ in range(times):
        clock, processor = time.perf_counter(), time.process_time()
        work()
        clocks.append(time.perf_counter() - clock)
        processors.append(time.process_time() - processor)
    found = {"s": sorted(clocks)[times // 2], "cpu": sorted(processors)[times // 2], "mb": peak_mb()}
    sys.stdout.write(f"\n{json.dumps(found)}\n")


def peak_mb() -> float:
    """This program's own peak; what getrusage tells begins with that of the program that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
