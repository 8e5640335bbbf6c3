"""The environment of a process as one document: the same environment is the same bytes, kept once."""

import functools
import os
import platform
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

from boucle.kernel.digests import canonical_json, digest_bytes

_TIMEOUT_S: Final = 5.0


@functools.cache
def environment_document() -> tuple[str, str]:
    """The environment as JSON, and its digest. Slow the first time; nothing in it changes with the moment."""
    document = canonical_json(
        {
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "system": platform.system(),
            "release": platform.release(),
            "machine": platform.machine(),
            "cpu": _cpu(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_bytes": _memory_bytes(),
            "gpus": _gpus(),
            "hash_seed": os.environ.get("PYTHONHASHSEED"),
            "prefix": sys.prefix,
            "packages": _packages(),
        }
    )
    return document.decode(), digest_bytes(document)


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for one in distributions():
        name = one.metadata["Name"]
        if name:
            found.setdefault(name.lower().replace("_", "-"), one.version or "")
    return dict(sorted(found.items()))


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _gpus() -> list[str]:
    """Names, memory and drivers, as nvidia-smi tells them; none without it."""
    query = "--query-gpu=name,memory.total,driver_version"
    try:
        done = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.strip().splitlines() if done.returncode == 0 else []
