"""A file of columns by its path as it is written: Polars takes `[`, `*` and `?` in a path for a pattern otherwise."""

from pathlib import Path

import polars as pl

from boucle.data.records import FileKind


def scan_file(path: Path, kind: FileKind) -> pl.LazyFrame:
    """A Parquet or Arrow file, of which nothing is read yet."""
    return pl.scan_parquet(path, glob=False) if kind == "parquet" else pl.scan_ipc(path, glob=False)
