"""What profiles cost: made in memory and of a file, merged, kept, read; beside exact distances by numpy.

    .venv/bin/python benchmarks/monitoring/profiles.py [ROWS]

Each figure is taken in a process of its own with one thread: seconds of processor time and of the clock, peak memory.
Reference and current are two tables of 20 columns, of normal, lognormal, uniform and gamma numbers.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ONE_THREAD = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
PARTS = ("numpy", "memory", "memory_full", "files_full", "kept")
COLUMNS = 20


def make(folder: Path, rows: int) -> None:
    import numpy as np
    import polars as pl

    for seed, name in enumerate(("reference", "current")):
        rng = np.random.default_rng(seed)
        kinds = [rng.normal, rng.lognormal, rng.random, partial(rng.gamma, 2.0)]
        table = pl.DataFrame({f"x{i}": np.round(kinds[i % 4](size=rows), 3 + i) + 0.01 * seed for i in range(COLUMNS)})
        table.write_parquet(folder / f"{name}.parquet")


def numpy_exact(a: "np.ndarray", b: "np.ndarray") -> tuple[float, float, float, float]:  # noqa: F821
    """KS, Wasserstein, PSI and JS of two columns, exact."""
    import numpy as np

    a, b = np.sort(a), np.sort(b)
    both = np.sort(np.concatenate([a, b]))
    p, q = np.searchsorted(a, both, "right") / len(a), np.searchsorted(b, both, "right") / len(b)
    far = np.abs(p - q)
    edges = np.quantile(a, np.linspace(0, 1, 11)[1:-1])
    x, y = (np.diff(np.searchsorted(one, edges), prepend=0, append=len(one)) / len(one) + 1e-9 for one in (a, b))
    middle = (x + y) / 2
    js = (np.sum(x * np.log2(x / middle)) + np.sum(y * np.log2(y / middle))) / 2
    return far.max(), float(np.sum(far[:-1] * np.diff(both))), float(np.sum((y - x) * np.log(y / x))), float(js)


def work(part: str, folder: Path) -> tuple[Callable[[], object], dict[str, int]]:
    """What is timed, after everything is loaded that it needs."""
    import polars as pl

    from boucle.data.profile_file import ProfiledTable, from_bytes, profile_file, to_bytes
    from boucle.data.profiles import profile

    paths = [folder / "reference.parquet", folder / "current.parquet"]
    if part == "files_full":
        return (lambda: [profile_file(path) for path in paths]), {}
    tables = [pl.read_parquet(path) for path in paths]
    if part == "numpy":
        a, b = tables
        return (lambda: [numpy_exact(a[name].to_numpy(), b[name].to_numpy()) for name in a.columns]), {}
    if part == "kept":
        wide = tables[0][:100_000].select(pl.col(f"x{i % COLUMNS}").alias(f"c{i}") for i in range(50))
        shapes = dict.fromkeys(wide.columns, "number")
        data = to_bytes(ProfiledTable(source="t", columns=shapes, profile=profile(wide, full=True)))  # type: ignore[arg-type]
        return (lambda: [from_bytes(data), from_bytes(data)]), {"bytes_of_50_columns": len(data)}
    return (lambda: [profile(table, full=part == "memory_full") for table in tables]), {}


def peak_mb() -> int:
    """This program's own peak: ru_maxrss begins with that of the program that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def measure(part: str, folder: Path) -> dict[str, float]:
    todo, facts = work(part, folder)
    todo() if part == "kept" else None
    processor, clock = time.process_time(), time.perf_counter()
    todo()
    return {
        "processor_s": round(time.process_time() - processor, 3),
        "clock_s": round(time.perf_counter() - clock, 3),
        "peak_mb": peak_mb(),
        **facts,
    }


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), rows)
        for part in PARTS:
            command = [sys.executable, __file__, "--part", part, name]
            done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=True)
            sys.stdout.write(f"{part:12} {done.stdout}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        sys.stdout.write(json.dumps(measure(sys.argv[2], Path(sys.argv[3]))) + "\n")
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
