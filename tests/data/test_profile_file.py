import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date, datetime
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from boucle.data import lines, table_file
from boucle.data.profile_facts import facts
from boucle.data.profile_file import FORMAT, ProfiledTable, from_bytes, load, profile_file, to_bytes
from boucle.data.profiles import merged, profile
from boucle.kernel.errors import InvalidInput, NotFound

rng = np.random.default_rng(2)


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    n = 5000
    return pl.DataFrame(
        {
            "amount": np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(3, 1, n)),
            "items": rng.integers(1, 9, n),
            "city": rng.choice(["Bern", "Genève", "Zug", 'a "quoted", one'], n),
            "customer": [f"c{i % 1700}" for i in range(n)],
            "paid": rng.random(n) < 0.7,
            "at": pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 1, 4, 59), "100s", eager=True)
            .extend_constant(datetime(2024, 2, 1), n)
            .head(n),
            "nothing": pl.Series([None] * n, dtype=pl.String),
        }
    ).with_columns(pl.col("amount").fill_nan(None))


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(table_file, "PIECE_BYTES", 20_000)
    monkeypatch.setattr(table_file, "PIECE_CELLS", 7_000)
    monkeypatch.setattr(table_file, "_PIECE_ROWS", (700, 1000))
    monkeypatch.setattr(table_file, "cut", lambda path, **words: lines.cut(path, **words, piece_bytes=20_000))
    return


@pytest.mark.usefixtures("small_pieces")
def test_a_large_file_whose_lines_end_with_a_carriage_return_is_read_whole(table: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(table.select("items", "city").write_csv().encode().replace(b"\n", b"\r"))
    assert len(table_file.look(path).pieces) > 2
    assert profile_file(path).profile == profile(table.select("items", "city"), full=True)


LATE = {
    "a mark among numbers": (",", ["1.5"], "NA"),
    "two marks among numbers": (",", ["1.5", "-7"], "-"),
    "a mark among times": (",", ["2024-01-01"], "None"),
    "a mark among booleans": (",", ["true", "false"], "n/a"),
    "a decimal comma": (";", ["1", "12"], "1,5"),
    "a word": (",", ["1.5"], "none of these"),
    "a mark in a text that is sure": (",", ["a", "b"], "NULL"),
    "a mark in a text that may be a word": (",", ["a", "b"], "NA"),
}


@pytest.mark.parametrize("late", [0, 1, 2], ids=["first", "in the middle", "last"])
@pytest.mark.parametrize(("separator", "cells", "odd"), LATE.values(), ids=list(LATE))
def test_a_column_of_csv_is_what_it_is_in_a_small_file(
    separator: str, cells: list[str], odd: str, late: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the first mark for a missing value, or decimal comma, stands."""
    rows = [[f"{place}", cells[place % len(cells)]] for place in range(12_000)]
    for place in range(20):
        rows[min((0, 6_000, 11_999)[late] + place, 11_999)][1] = odd
    path = tmp_path / "t.csv"
    path.write_text("\n".join(separator.join(one) for one in [["n", "value"], *rows]))
    small = profile_file(path)
    monkeypatch.setattr(table_file, "PIECE_BYTES", 20_000)
    monkeypatch.setattr(table_file, "_HEAD_BYTES", 8_000)
    monkeypatch.setattr(table_file, "cut", lambda path, **words: lines.cut(path, **words, piece_bytes=20_000))
    large = profile_file(path)
    assert len(table_file.look(path).pieces) > 4
    assert (large.columns, large.profile) == (small.columns, small.profile)


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "arrow", "jsonl"])
@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.usefixtures("small_pieces")
def test_a_file_of_any_kind_has_the_profile_of_its_table(
    ending: str, jobs: int, table: pl.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / f"orders.{ending}"
    write = {
        "csv": lambda: table.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%S"),
        "tsv": lambda: table.write_csv(path, separator="\t", datetime_format="%Y-%m-%dT%H:%M:%S"),
        "parquet": lambda: table.write_parquet(path),
        "arrow": lambda: table.write_ipc(path),
        "jsonl": lambda: table.with_columns(pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S")).write_ndjson(path),
    }
    write[ending]()
    made = profile_file(path, jobs=jobs)
    assert len(table_file.look(path).pieces) > 4
    assert made.columns == dict(
        zip(table.columns, ["number", "number", "text", "text", "boolean", "time", "text"], strict=True)
    )
    whole = profile(table, full=True)
    assert made.profile.numeric == whole.numeric
    assert made.profile.products == whole.products
    for found, expected in zip(made.profile.categories, whole.categories, strict=True):
        assert (found.nulls, found.values, found.registers, found.lengths) == (
            expected.nulls,
            expected.values,
            expected.registers,
            expected.lengths,
        )


@pytest.mark.slow
def test_processes_that_share_a_file_make_the_same_profile(table: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    table.drop("customer").write_parquet(path)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        shares = [pl.read_parquet(path).slice(first, 1250) for first in (3750, 0, 2500, 1250)]
        parts = [pool.submit(profile, share, full=True) for share in shares]
        assert merged([part.result() for part in parts]) == profile_file(path).profile


@pytest.mark.usefixtures("small_pieces")
def test_a_column_is_what_all_its_lines_are(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    rows = [f"{i},{i},{'' if i < 5000 else i},{'' if i < 5000 else 'x'},007,2024-01-01" for i in range(5000)]
    path.write_text(
        "\n".join(["code,number,late,word,agent,day", *rows, "A1,1.5,6,x,9,soon", " A1 , 2,7,x,9,later", ""])
    )
    made = profile_file(path)
    assert list(made.columns.values()) == ["text", "number", "number", "text", "number", "text"]
    by_name = {one.column: one for one in facts(made).columns}
    assert by_name["code"].top[0].value == "A1"
    assert (by_name["late"].missing, by_name["late"].maximum) == (5000, 7)
    assert by_name["word"].top[0].rows == 2
    lines_of_json = tmp_path / "grows.jsonl"
    lines_of_json.write_text("".join(f'{{"a": {i}}}\n' for i in range(5000)) + '{"a": 1, "b": "new", "c": [1]}\n')
    grown = profile_file(lines_of_json)
    assert grown.columns == {"a": "number", "b": "text", "c": "other"}
    assert grown.profile.categories[0].nulls == 5000
    assert facts(grown).left_out == ["c"]


def test_a_kept_profile_is_read_again_and_small(table: pl.DataFrame, tmp_path: Path) -> None:
    columns = {f"x{i}": rng.normal(size=20_000) * 10 + i for i in range(20)}
    pl.DataFrame(columns).write_parquet(tmp_path / "t.parquet")
    kept = to_bytes(profile_file(tmp_path / "t.parquet"))
    assert len(kept) < 20 * 16_000
    (tmp_path / "t.profile").write_bytes(kept)
    assert load(tmp_path / "t.profile") == profile_file(tmp_path / "t.parquet")
    mixed = ProfiledTable(source="t", columns={}, profile=profile(table, full=True))
    assert from_bytes(to_bytes(mixed)) == mixed
    assert len(to_bytes(mixed)) < 80_000


@pytest.mark.parametrize("values", [[], [0.0], [-1.7e308, 1.7e308], [-5e-324, 0.0, 5e-324], list(range(5000))])
def test_any_numbers_are_kept(values: list[float]) -> None:
    table = pl.DataFrame({"x": values}, {"x": pl.Float64})
    made = ProfiledTable(source="t", columns={"x": "number"}, profile=profile(table, full=True))
    assert from_bytes(to_bytes(made)) == made


def test_what_is_no_kept_profile_is_told(table: pl.DataFrame, tmp_path: Path) -> None:
    made = to_bytes(ProfiledTable(source="t", columns={}, profile=profile(table[:50])))
    with pytest.raises(InvalidInput, match="is no profile that Boucle kept"):
        from_bytes(b"a,b\n1,2\n")
    with pytest.raises(InvalidInput, match=f"has format {FORMAT + 1}; this Boucle reads up to {FORMAT}"):
        from_bytes(made.replace(b"profile 1", b"profile 2", 1))
    for cut in (16, 40, len(made) // 2, len(made) - 1):
        with pytest.raises(InvalidInput, match="is damaged"):
            from_bytes(made[:cut])
    with pytest.raises(NotFound, match="there is no profile"):
        load(tmp_path / "none.profile")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", b"", "is empty"),
        ("head.csv", b"a,b\n", "no rows"),
        ("long.csv", b"a,b\n1,2\n1,2,3\n", "line 3: no valid CSV: 3 cells, but 2 names"),
        ("not.parquet", b"PAR1 and no more", "no valid Parquet file"),
        ("not.arrow", b"nothing", "no valid Arrow file"),
        ("not.jsonl", b"{a\n", "no valid JSON lines file"),
        ("picture.png", b"PNG", "unknown kind; allowed are"),
        ("zero.csv", b"\0\0\0\0", "zero bytes"),
    ],
)
def test_what_is_no_table_is_told(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput) as told:
        profile_file(tmp_path / name)
    assert said in told.value.message


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("a\n1\n")
    with pytest.raises(NotFound, match=r"there is orders\.csv"):
        profile_file(tmp_path / "order.csv")
    with pytest.raises(NotFound, match="is a folder"):
        profile_file(tmp_path)
    pl.DataFrame().write_parquet(tmp_path / "none.parquet")
    with pytest.raises(InvalidInput, match="no columns"):
        profile_file(tmp_path / "none.parquet")
    pl.DataFrame({"x": []}).write_parquet(tmp_path / "no_rows.parquet")
    with pytest.raises(InvalidInput, match="no rows"):
        profile_file(tmp_path / "no_rows.parquet")


def test_columns_with_nothing_to_tell_are_told_as_such(tmp_path: Path) -> None:
    n = 300
    table = pl.DataFrame(
        {
            "constant": [0.1] * n,
            "nulls": pl.Series([None] * n, dtype=pl.Float64),
            "nan": [float("nan")] * n,
            "infinite": [float("inf"), 1.0, 2.0] * 100,
            "day": [date(2024, 2, 29)] * n,
            "list": [[1]] * n,
            "huge": [1.7e308, -1.7e308, 0.0] * 100,
        }
    )
    table.write_parquet(tmp_path / "odd.parquet")
    told = {one.column: one for one in facts(profile_file(tmp_path / "odd.parquet")).columns}
    assert (told["constant"].distinct, told["constant"].deviation, told["constant"].mean) == (1, 0.0, 0.1)
    assert (told["nulls"].missing, told["nulls"].distinct, told["nulls"].mean) == (n, 0, None)
    assert told["nan"].missing == n
    assert (told["infinite"].missing, told["infinite"].maximum) == (100, 2.0)
    assert told["day"].minimum == "2024-02-29"
    assert sum(bar.share for bar in told["huge"].bars) == pytest.approx(1)
    assert "list" not in told


def test_bars_hold_all_values_but_far_tails(tmp_path: Path) -> None:
    x = np.concatenate([rng.normal(size=20_000), [1e6]])
    pl.DataFrame({"x": x, "whole": rng.integers(0, 12, len(x))}).write_parquet(tmp_path / "t.parquet")
    first, whole = facts(profile_file(tmp_path / "t.parquet")).columns
    assert sum(bar.share for bar in first.bars) == pytest.approx(0.99, abs=0.005)
    edges = [float(bar.low) for bar in first.bars] + [float(first.bars[-1].high)]
    expected = np.histogram(x, edges)[0] / len(x)
    assert [bar.share for bar in first.bars] == pytest.approx(expected.tolist(), abs=0.004)
    assert len(whole.bars) == 12
    assert sum(bar.share for bar in whole.bars) == pytest.approx(1)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from boucle.data.profile_file import profile_file;"
        "profile_file(Path(sys.argv[1]));"
        # Not of getrusage, which counts what the parent had when it started this.
        "print(int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) // 1024)"
    )
    table = pl.DataFrame({f"x{i}": rng.normal(size=250_000) for i in range(20)})
    found = []
    for times in (1, 5):
        path = tmp_path / f"{times}.parquet"
        pl.concat([table] * times).write_parquet(path)
        done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
        found.append(int(json.loads(done.stdout)))
    assert found[1] < 300
    assert found[1] - found[0] < 60


@pytest.mark.parametrize(("characters", "most"), [(20, 40_000), (200, 170_000)])
def test_a_kept_profile_of_texts_is_as_small_as_documented(characters: int, most: int, tmp_path: Path) -> None:
    shares = 1 / np.arange(1, 5_001)
    names = [f"{place:05}".ljust(characters, "x") for place in range(5_000)]
    drawn = np.random.default_rng(2).choice(names, 100_000, p=shares / shares.sum())
    pl.DataFrame({"name": drawn}).write_parquet(tmp_path / "names.parquet")
    assert len(to_bytes(profile_file(tmp_path / "names.parquet"))) <= most
