"""How fast two tables are compared, by rows and by kept profiles, and in how much memory."""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from environments import surroundings

HERE = Path(__file__).parent
COLUMNS = 20
CASES = {
    "tables s": ("two tables of Parquet, every column: distances and verdicts", "s", "less"),
    "tables cpu": ("the same, processor time", "s", "less"),
    "tables mb": ("the same, peak memory", "MB", "less"),
    "profiles s": ("the same by profiles, read in pieces", "s", "less"),
    "profiles cpu": ("the same, processor time", "s", "less"),
    "profiles mb": ("the same, peak memory", "MB", "less"),
    "more mb": ("a profile of four times the rows, peak memory", "MB", "less"),
    "kept ms": ("two kept profiles of 50 columns: read, compared, judged", "ms", "less"),
    "kept cpu": ("the same, processor time", "s", "less"),
}
ONE_THREAD = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def make(folder: Path, rows: int) -> None:
    """Reference and current, 16 columns of numbers and 4 of texts; four times the rows; 50 columns' kept profiles."""
    for seed, name in enumerate(("reference", "current")):
        table(rows, seed).write_parquet(folder / f"{name}.parquet")
    pl.concat(table(rows, seed) for seed in range(4)).write_parquet(folder / "more.parquet")
    for name in ("reference", "current"):
        narrow = pl.scan_parquet(folder / f"{name}.parquet").head(rows // 4).collect()
        names = [narrow.columns[at % COLUMNS] for at in range(50)]
        wide = narrow.select(pl.col(one).alias(f"{one}_{at}") for at, one in enumerate(names))
        wide.write_parquet(folder / f"wide.{name}.parquet")
        program = Path(sys.executable).with_name("boucle")
        command = [program, "profile", f"wide.{name}.parquet", "-o", f"wide.{name}.profile"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


def table(rows: int, seed: int) -> pl.DataFrame:
    """Normal, skewed, uniform and whole numbers, texts of few and of many values; the second seed's moved a little."""
    noise = np.random.default_rng(seed)
    kinds = [
        lambda: np.round(noise.normal(0.01 * seed, 1, rows), 4),
        lambda: np.round(noise.lognormal(0.01 * seed, 1, rows), 3),
        lambda: noise.random(rows),
        lambda: noise.poisson(20, rows).astype(float),
    ]
    columns: dict[str, object] = {f"x{at}": kinds[at % 4]() for at in range(COLUMNS - 4)}
    names = np.array([f"value {at}" for at in range(5_000)])
    texts = {f"t{at}": names[noise.integers(0, most, rows)] for at, most in enumerate((3, 20, 400, 5_000))}
    return pl.DataFrame(columns).with_columns(pl.Series(name, values) for name, values in texts.items())


def measure(folder: Path, peers: Mapping[str, Path], rounds: int, rows: int) -> dict[str, dict[str, list[float]]]:
    """Every case; the peers take turns, and those that take long are asked once."""
    make(folder, rows)
    values: dict[str, dict[str, list[float]]] = {one: defaultdict(list) for one in ("boucle", *peers, "by_hand")}
    for turn in range(rounds):
        for part in ("tables", "profiles", *(("more",) if not turn else ()), "kept", "by_hand"):
            found = _run(Path(sys.executable), "speed_boucle.py", part, str(folder))
            if part == "by_hand":
                _keep(values["by_hand"], "tables", found)
                _keep(values["by_hand"], "profiles", found)
            else:
                _keep(values["boucle"], part, found)
        for name, programs in () if turn else peers.items():
            _keep(values[name], "tables", _run(programs / "python", f"speed_{name}.py", str(folder)))
    return {name: dict(found) for name, found in values.items()}


def _keep(values: dict[str, list[float]], part: str, found: Mapping[str, float]) -> None:
    values[f"{part} ms"].append(found["s"] * 1000)
    for figure in ("s", "cpu", "mb"):
        values[f"{part} {figure}"].append(found[figure])


def _run(python: Path, script: str, *words: str) -> dict[str, float]:
    around = {**surroundings(python.parent), **ONE_THREAD, "NML_DISABLE_USAGE_LOGGING": "1"}
    done = subprocess.run([python, HERE / script, *words], env=around, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{script} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    sys.stderr.write(f"{script} {' '.join(words[:-1])}: done\n")
    return json.loads(done.stdout.splitlines()[-1])
