"""Whole processes by the clock on the wall, and the machine that ran them."""

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def seconds(command: Sequence[str], folder: Path, surroundings: Mapping[str, str]) -> float:
    """How long a program takes from start to end; CalledProcessError, with what it said, if it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True)
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return took


def machine() -> dict[str, str]:
    """Processor, cores, memory, system and Python, for people to judge the figures by."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
