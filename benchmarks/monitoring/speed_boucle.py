"""Boucle's part of the speed, and the same distances by hand: run by speed.py, each in a process of its own."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
from taken import tell


def by_hand(folder: Path) -> list[tuple[float, ...]]:
    """KS, Wasserstein, PSI and JS of every column of numbers, PSI and JS of texts, exact: numpy and polars alone."""
    found = []
    a, b = (pl.read_parquet(folder / f"{part}.parquet") for part in ("reference", "current"))
    for name in a.columns:
        if a[name].dtype == pl.String:
            counts = a[name].value_counts(name="n").join(b[name].value_counts(name="m"), on=name, how="full")
            found.append(_binned(counts["n"].fill_null(0).to_numpy(), counts["m"].fill_null(0).to_numpy()))
            continue
        x, y = np.sort(a[name].to_numpy()), np.sort(b[name].to_numpy())
        both = np.sort(np.concatenate([x, y]))
        p, q = np.searchsorted(x, both, "right") / len(x), np.searchsorted(y, both, "right") / len(y)
        far, edges = np.abs(p - q), np.quantile(x, np.linspace(0, 1, 11)[1:-1])
        bins = [np.diff(np.searchsorted(one, edges), prepend=0, append=len(one)) for one in (x, y)]
        found.append((far.max(), float(np.sum(far[:-1] * np.diff(both))), *_binned(bins[0], bins[1])))
    return found


def _binned(reference: np.ndarray, window: np.ndarray) -> tuple[float, float]:
    x, y = reference / reference.sum() + 1e-9, window / window.sum() + 1e-9
    middle = (x + y) / 2
    js = (np.sum(x * np.log2(x / middle)) + np.sum(y * np.log2(y / middle))) / 2
    return float(np.sum((y - x) * np.log(y / x))), float(np.sqrt(max(js, 0.0)))


def main(part: str, folder: Path) -> None:
    """Do one part and tell what it took."""
    if part == "by_hand":
        tell(lambda: by_hand(folder))
        return
    from boucle.data.profile_file import SUFFIX, profile_file
    from boucle.monitoring.tables import compare_files, compare_profiles
    from boucle.monitoring.verdict import judged

    reference, current = folder / "reference.parquet", folder / "current.parquet"
    if part == "tables":
        tell(lambda: compare_files(reference, current))
    elif part == "profiles":
        tell(lambda: judged([one for one, _ in compare_profiles(profile_file(reference), profile_file(current))]))
    elif part == "more":
        tell(lambda: profile_file(folder / "more.parquet"))
    elif part == "kept":
        kept = [folder / f"wide.{name}{SUFFIX}" for name in ("reference", "current")]
        compare_files(*kept)
        tell(lambda: compare_files(*kept), times=50)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
