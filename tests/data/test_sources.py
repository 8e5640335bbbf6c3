import sys
from pathlib import Path

import polars as pl
import pytest

from boucle.data.sources import read_source
from boucle.kernel.errors import InvalidInput


def refused(source: str, folder: Path) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        read_source(source, folder)
    assert caught.value.hint
    return caught.value


def test_csv(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("origin,temp,note\nJFK,20.5,\nLGA,,a b\n")
    table = read_source("t.csv", tmp_path)
    assert table.to_dict(as_series=False) == {"origin": ["JFK", "LGA"], "temp": [20.5, None], "note": [None, "a b"]}


def test_csv_with_a_byte_order_mark_and_a_type_that_shows_late(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id\n" + "1\n" * 5000 + "x\n", encoding="utf-8-sig")
    assert read_source("t.csv", tmp_path)["id"][-1] == "x"


def test_parquet_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pl.DataFrame({"a": [1, 2]}).write_parquet(tmp_path / "data" / "t.parquet")
    assert read_source("data/t.parquet", tmp_path)["a"].to_list() == [1, 2]


def test_a_missing_file_names_the_one_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "flights.csv").write_text("a\n1\n")
    assert "flihgts.csv does not exist" in refused("flihgts.csv", tmp_path).message
    assert "there is flights.csv" in refused("flihgts.csv", tmp_path).message
    assert "there is" not in refused("other.parquet", tmp_path).message
    assert "does not exist" in refused("nowhere/flights.csv", tmp_path).message
    assert "does not exist" in refused("load.py:load", tmp_path).message


@pytest.mark.parametrize("source", ["../t.csv", "/etc/passwd.csv", "a/../../t.csv", "../evil.py:load", ""])
def test_files_outside_the_project_are_refused(source: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    folder = tmp_path / "project"
    folder.mkdir()
    refused(source, folder)


def test_a_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "t.csv").symlink_to(tmp_path / "t.csv")
    refused("t.csv", folder)


@pytest.mark.parametrize("source", ["t.xlsx", "t", "t.csv:load", "https://example.org/t.csv?x"])
def test_an_unknown_type_is_refused(source: str, tmp_path: Path) -> None:
    assert "unknown type" in refused(source, tmp_path).message


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").mkdir()
    assert "is a folder" in refused("t.csv", tmp_path).message


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_an_empty_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert f"{name} is empty" in refused(name, tmp_path).message


@pytest.mark.parametrize("text", ["a,b\n", "a,b", "\n", "\n\n\n", "\ufeff"])
def test_a_table_without_rows(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    refused("t.csv", tmp_path)


def test_text_that_is_not_utf8_is_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"city\nParis\n" + "Besançon\n".encode("latin-1"))
    error = refused("t.csv", tmp_path)
    assert "t.csv, line 3: byte 0xe7" in error.message
    assert error.hint == "set data.csv: {encoding: windows-1252} in boucle.yaml, then: boucle check"


def test_text_that_is_not_utf8_far_down_is_named_by_line(tmp_path: Path) -> None:
    # The two bytes of the é lie across the border of the first mebibyte that is read.
    good = b"a\n" * ((1 << 19) - 1) + b"x" + "é\n".encode()
    (tmp_path / "good.csv").write_bytes(b"h\n" + good[2:])
    assert read_source("good.csv", tmp_path).height == (1 << 19) - 1
    (tmp_path / "bad.csv").write_bytes(good + b"\xff\n")
    assert f"line {(1 << 19) + 1}: byte 0xff" in refused("bad.csv", tmp_path).message


def test_a_file_cut_within_a_character(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a\n\xc3")
    assert "line 2: byte 0xc3" in refused("t.csv", tmp_path).message


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,temp,temp\n1,2,3\n")
    assert "line 1: column `temp` stands there 2 times" in refused("t.csv", tmp_path).message


def test_rows_longer_than_the_header(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n1,2,3\n")
    assert "t.csv, line 3: no valid CSV: 3 cells, but 2 names" in refused("t.csv", tmp_path).message


def test_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and then nothing")
    assert "t.parquet is no valid Parquet file" in refused("t.parquet", tmp_path).message
    pl.DataFrame({"a": range(1000)}).write_parquet(tmp_path / "whole.parquet")
    (tmp_path / "t.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-10])
    assert "t.parquet is no valid Parquet file" in refused("t.parquet", tmp_path).message


# --- python ------------------------------------------------------------------------------------------------------


def test_python_with_a_neighbour_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "rows_of_mine.py").write_text("ROWS = [1, 2]\n")
    (tmp_path / "load.py").write_text(
        "from dataclasses import dataclass\n\nimport polars as pl\n\nfrom rows_of_mine import ROWS\n\n\n"
        "@dataclass\nclass Kept:\n    rows: 'list[int]'\n\n\n"
        "def load():\n    return pl.DataFrame({'a': Kept(ROWS).rows})\n"
    )
    path, modules = list(sys.path), set(sys.modules)
    assert read_source("load.py:load", tmp_path)["a"].to_list() == [1, 2]
    (tmp_path / "rows_of_mine.py").write_text("ROWS = [3, 4, 5]\n")
    assert read_source("load.py:load", tmp_path)["a"].to_list() == [3, 4, 5]
    assert sys.path == path
    assert not {"rows_of_mine", "boucle_source"} & (set(sys.modules) - modules)
    assert not list(tmp_path.rglob("__pycache__"))


def test_python_may_return_a_lazy_frame(tmp_path: Path) -> None:
    (tmp_path / "load.py").write_text("import polars as pl\nload = lambda: pl.LazyFrame({'a': [1]})\n")
    assert read_source("load.py:load", tmp_path).height == 1


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def load():\n    rows = []\n    return rows[0]\n", "load.py:load() failed at {}:3: IndexError: list index"),
        ("import nosuchmodule\n", "load.py can't be imported at {}:1: ModuleNotFoundError: No module named"),
        ("def load(:\n", "load.py can't be imported at {}:1: SyntaxError"),
        ("def load():\n    raise SystemExit(3)\n", "load.py:load() failed at {}:2: SystemExit: 3"),
        ("def load():\n    raise ValueError\n", "load.py:load() failed at {}:2: ValueError"),
        ("import json\ndef load():\n    json.loads('x')\n", "load.py:load() failed at {}:3: JSONDecodeError"),
        (
            "import polars as pl\ndef load():\n    return pl.LazyFrame({'a': [1]}).select('b')\n",
            "ColumnNotFoundError",
        ),
        ("def load():\n    return [1]\n", "load.py:load() returned a list; a polars.DataFrame is needed"),
        ("def load():\n    pass\n", "returned a NoneType"),
        ("def load(path, n=1):\n    pass\n", "load.py:load needs the arguments path"),
        ("def load_all():\n    pass\n", "load.py has no function `load`; it has load_all"),
        ("load = 3\n", "load.py has no function `load`; it has none"),
        ("import polars as pl\ndef load():\n    return pl.DataFrame({'a': []})\n", "and no rows"),
    ],
)
def test_python_that_is_wrong_is_named_by_its_line(code: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "load.py"
    file.write_text(code)
    error = refused("load.py:load", tmp_path)
    assert expected.format(file) in error.message
    assert "Traceback" not in error.message


def test_an_interruption_is_no_mistake_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "load.py").write_text("def load():\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        read_source("load.py:load", tmp_path)


def test_an_error_in_a_neighbour_is_named_there(tmp_path: Path) -> None:
    (tmp_path / "near.py").write_text("def fail():\n    return 1 / 0\n")
    (tmp_path / "load.py").write_text("import near\n\ndef load():\n    return near.fail()\n")
    assert f"{tmp_path / 'near.py'}:2: ZeroDivisionError" in refused("load.py:load", tmp_path).message
