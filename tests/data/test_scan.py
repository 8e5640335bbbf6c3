"""A file whose name holds signs of a pattern is that file and no other."""

import ast
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import boucle
from boucle.data.csv_sniff import sniff_csv
from boucle.data.scan import scan_file
from boucle.data.sources import read_source
from boucle.data.table_file import look, pieces, typed
from boucle.kernel.progress import Silent
from boucle.loop.labelling import read_labels

WRITERS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    "csv": lambda table, path: table.write_csv(path),
    "parquet": lambda table, path: table.write_parquet(path),
    "arrow": lambda table, path: table.write_ipc(path),
    "jsonl": lambda table, path: table.write_ndjson(path),
}


def profiled(path: Path) -> pl.DataFrame:
    file = look(path)
    return pl.concat(pieces(*typed(file, Silent())))


@pytest.mark.parametrize("name", ["d[1]", "d*", "d?"])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_name_is_no_pattern(kind: str, name: str, tmp_path: Path) -> None:
    for one, value in (("d1", 1), (name, 7)):
        WRITERS[kind](pl.DataFrame({"key": [value], "label": [value]}), tmp_path / f"{one}.{kind}")
    path = tmp_path / f"{name}.{kind}"
    assert profiled(path)["key"].cast(int).to_list() == [7]
    assert read_labels(path)["key"].cast(int).to_list() == [7]
    if kind in ("csv", "parquet"):
        assert read_source(path.name, tmp_path)["key"].to_list() == [7]


def test_a_format_is_sniffed_of_the_file_itself(tmp_path: Path) -> None:
    (tmp_path / "d1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "d[1].csv").write_text("a;b\n1,5;2\n")
    assert sniff_csv(tmp_path / "d[1].csv").decimal == ","


@pytest.mark.parametrize("kind", ["parquet", "ipc"])
def test_a_folder_that_looks_like_a_partition_adds_no_column(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "month=3" / "[x]"
    folder.mkdir(parents=True)
    table = pl.DataFrame({"a": [1]})
    WRITERS["parquet" if kind == "parquet" else "arrow"](table, folder / "t")
    assert scan_file(folder / "t", "parquet" if kind == "parquet" else "ipc").collect().equals(table)


@pytest.mark.slow
def test_no_reader_in_the_package_takes_a_path_for_a_pattern() -> None:
    """Those that can be told not to are; the others get bytes."""
    told, globbing = 0, []
    for file in Path(boucle.__file__).parent.rglob("*.py"):
        tree = ast.parse(file.read_text())
        fine = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_fine(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in READERS and ast.unparse(node.value) in ("pl", "polars"):
                told += 1
                globbing += [f"{file}:{node.lineno}"] if id(node) not in fine else []
    assert told > 10
    assert not globbing


READERS = {f"{verb}_{kind}" for verb in ("read", "scan") for kind in ("csv", "parquet", "ipc", "ndjson")}
READERS |= {"read_parquet_schema", "read_parquet_metadata", "read_ipc_schema"}


def _is_fine(call: ast.Call) -> bool:
    """Whether a call has `glob=False`, or its source is made of bytes on the spot."""
    source = ast.unparse(call.args[0]) if call.args else ""
    return any(one.arg == "glob" and ast.unparse(one.value) == "False" for one in call.keywords) or any(
        sign in source for sign in ("BytesIO(", "read_bytes(", "blobs.get(", "utf8")
    )
