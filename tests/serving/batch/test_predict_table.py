"""Tables of every kind are predicted as the endpoint would, in pieces, and the same bytes come whichever way."""

import fcntl
import os
import resource
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json
from msgspec.structs import replace

from boucle.data.lines import LineEnd, cut, first_record
from boucle.data.records import CsvFormat
from boucle.kernel import trees
from boucle.kernel.digests import canonical_json
from boucle.kernel.errors import BoucleError, Conflict, InvalidInput, NotFound, Unavailable
from boucle.kernel.progress import Silent
from boucle.packaging.api import read_manifest
from boucle.serving.batch.records import BatchReport
from boucle.serving.batch.run import predict_table

Predicted = Callable[..., BatchReport]
Table = Callable[[int], pl.DataFrame]

WRITERS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    "csv": lambda table, path: table.write_csv(path),
    "tsv": lambda table, path: table.write_csv(path, separator="\t"),
    "jsonl": lambda table, path: table.write_ndjson(path),
    "parquet": lambda table, path: table.write_parquet(path, row_group_size=10),
    "arrow": lambda table, path: table.write_ipc(path),
    "feather": lambda table, path: table.write_ipc(path, compression="zstd"),
}


def written(table: pl.DataFrame, path: Path) -> Path:
    WRITERS[path.suffix[1:]](table, path)
    return path


@pytest.mark.parametrize("kind", WRITERS)
def test_a_table_of_any_kind_is_answered_as_by_hand(
    kind: str, predicted: Predicted, table: Table, tmp_path: Path, bundles: ModuleType
) -> None:
    rows = table(50)
    report = predicted(written(rows, tmp_path / f"t.{kind}"), piece_rows=16, piece_bytes=700)
    assert Path(report.out) == tmp_path / f"t.{kind}.predictions.parquet"
    assert report.pieces > 3
    found = pl.read_parquet(report.out)
    assert found.columns == ["flight_id", "scheduled_at", "probability", "label", "prediction_id"]
    assert found["flight_id"].to_list() == rows["flight_id"].to_list()
    assert found["scheduled_at"].dtype == pl.Datetime("us", "UTC")
    expected = [bundles.probability(*row) for row in rows.select("carrier", "temp").iter_rows()]
    assert found["probability"].to_list() == pytest.approx(expected, abs=1e-15)
    assert found["label"].to_list() == ["late" if one >= 0.5 else "on time" for one in expected]
    assert found["prediction_id"].n_unique() == 50
    assert found["prediction_id"][0] == f"{report.batch}/0-0"


def test_a_bundle_whose_key_would_be_hidden_is_refused(bundles: ModuleType, table: Table, tmp_path: Path) -> None:
    """Such were made once."""
    folder = bundles.write_bundle(tmp_path / "bundle")
    manifest = read_manifest(folder)
    manifest = replace(manifest, signature=replace(manifest.signature, key="prediction_id"))
    (folder / "boucle.json").write_bytes(canonical_json(manifest))
    rows = written(table(5).rename({"flight_id": "prediction_id"}), tmp_path / "t.csv")
    with pytest.raises(InvalidInput, match="column 'prediction_id' is a column that predictions have of their own"):
        predict_table(rows, folder, trees.digest_folder(folder), progress=Silent())


@pytest.mark.parametrize("kind", WRITERS)
def test_a_path_is_no_pattern(kind: str, predicted: Predicted, table: Table, tmp_path: Path) -> None:
    folder = tmp_path / "a[1]*?"
    folder.mkdir()
    written(table(3), folder / f"d1.{kind}")
    source = written(table(7), folder / f"d[1].{kind}")
    for out in ("o[1]*?.parquet", "o[1]*?.csv"):
        assert predicted(source, out=folder / out, piece_rows=4).rows == 7
        assert (folder / out).exists()
    assert len(pl.read_parquet(folder / "o[1]*?.parquet", glob=False)) == 7


@pytest.mark.slow
def test_processes_and_pieces_do_not_change_a_byte(predicted: Predicted, table: Table, tmp_path: Path) -> None:
    source = written(table(300), tmp_path / "t.csv")
    alone = predicted(source, out=tmp_path / "alone.parquet", piece_bytes=4000)
    several = predicted(source, out=tmp_path / "several.parquet", piece_bytes=4000, jobs=2)
    assert alone.pieces > 3
    assert Path(alone.out).read_bytes() == Path(several.out).read_bytes()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["alone.parquet", "several.parquet", "t.csv"]


@pytest.mark.parametrize("without", ["a", "b"])
def test_files_of_which_only_some_have_key_and_time_make_one_result(
    predicted: Predicted, table: Table, tmp_path: Path, without: str
) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    for name in ("a", "b"):
        rows = table(3)
        written(rows.drop("flight_id", "scheduled_at") if name == without else rows, folder / f"{name}.csv")
    for out in ("all.parquet", "all.csv"):
        report = predicted(folder, out=tmp_path / out)
        found = pl.read_csv(report.out) if out.endswith("csv") else pl.read_parquet(report.out)
        assert found.columns == ["file", "flight_id", "scheduled_at", "probability", "label", "prediction_id"]
        nobody = found.filter(pl.col("file") == f"{without}.csv")
        assert (len(found), nobody["flight_id"].null_count(), nobody["scheduled_at"].null_count()) == (6, 3, 3)
        assert found["flight_id"].null_count() == 3


class Stopping(Silent):
    """Ends the work after so many pieces, as a signal would."""

    def __init__(self, pieces: int) -> None:
        self._left = pieces

    def task(self, description: str, total: int | None, *, even: bool = False) -> Any:
        task = super().task(description, total, even=even)
        if description == "predict":
            task.advance = self._advance  # type: ignore[attr-defined]
        return task

    def _advance(self, n: int = 1, note: str | None = None) -> None:
        if note is not None:
            self._left -= n
            if self._left == 0:
                raise KeyboardInterrupt


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(
    suffix: str, predicted: Predicted, table: Table, tmp_path: Path
) -> None:
    source = written(table(100), tmp_path / "t.jsonl")
    whole = predicted(source, out=tmp_path / f"whole.{suffix}", piece_bytes=1000)
    out = tmp_path / f"out.{suffix}"
    with pytest.raises(KeyboardInterrupt):
        predicted(source, out=out, piece_bytes=1000, progress=Stopping(3))
    assert not out.exists()
    again = predicted(source, out=out, piece_bytes=1000)
    assert again.kept_pieces == 3
    assert out.read_bytes() == Path(whole.out).read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_another_table_begins_anew(predicted: Predicted, table: Table, tmp_path: Path) -> None:
    source = written(table(100), tmp_path / "t.csv")
    with pytest.raises(KeyboardInterrupt):
        predicted(source, piece_bytes=1000, progress=Stopping(2))
    written(table(101), source)
    report = predicted(source, piece_bytes=1000)
    assert report.kept_pieces == 0
    assert report.rows == 101
    assert not list(tmp_path.glob(".*"))


def test_two_at_once_do_not_write_one_result(predicted: Predicted, table: Table, tmp_path: Path) -> None:
    source = written(table(20), tmp_path / "t.csv")
    with pytest.raises(KeyboardInterrupt):
        predicted(source, piece_bytes=500, progress=Stopping(1))
    (folder,) = tmp_path.glob(".t.csv.predictions*")
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="another process predicts into"):
            predicted(source, piece_bytes=500)
    finally:
        os.close(descriptor)
    assert predicted(source, piece_bytes=500).kept_pieces == 1


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_without_room_it_says_so_and_goes_on_when_there_is(
    suffix: str, predicted: Predicted, table: Table, tmp_path: Path
) -> None:
    source, out = written(table(2000), tmp_path / "t.csv"), tmp_path / f"out.{suffix}"
    whole = Path(predicted(source, out=tmp_path / f"whole.{suffix}", piece_bytes=10_000).out)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole.stat().st_size - 1, before[1]))
    try:
        with pytest.raises(Unavailable, match="File too large"):
            predicted(source, out=out, piece_bytes=10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not out.exists()
    again = predicted(source, out=out, piece_bytes=10_000)
    assert again.kept_pieces == again.pieces > 3
    assert out.read_bytes() == whole.read_bytes()


def test_a_folder_is_one_table_that_names_its_files(predicted: Predicted, table: Table, tmp_path: Path) -> None:
    folder = tmp_path / "year"
    (folder / "q2").mkdir(parents=True)
    written(table(10), folder / "b.parquet")
    written(table(20), folder / "a.csv")
    written(table(5), folder / "q2" / "c.jsonl")
    written(table(5), folder / ".hidden.csv")
    (folder / "README.md").write_text("no table")
    report = predicted(folder)
    found = pl.read_parquet(tmp_path / "year.predictions.parquet")
    assert report.files == 3
    assert found["file"].to_list() == ["a.csv"] * 20 + ["b.parquet"] * 10 + ["q2/c.jsonl"] * 5
    with pytest.raises(InvalidInput, match="is a part of the table itself"):
        predicted(folder, out=folder / "out.parquet")


# --- rows that cannot be predicted -----------------------------------------------------------------------------------

CSV = """flight_id,temp,carrier,scheduled_at

f0,70,AA,2013-01-01T00:00:00Z
f1,warm,AA,2013-01-01T00:00:00Z
f2,,UA,yesterday
f3, 71 ,"U
A",2013-01-01
,inf,AA,2013-01-01T00:00:00Z
"""
BAD = [
    ("line 4", "'warm' is not a number; null means missing"),
    ("line 5", "'yesterday' is no moment"),
    ("line 8", "inf is not finite"),
]


def test_bad_rows_are_named_by_file_and_line(predicted: Predicted, tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_text(CSV)
    with pytest.raises(InvalidInput) as refused:
        predicted(source)
    for where, reason in BAD:
        assert f"t.csv, {where}: " in refused.value.message
        assert reason in refused.value.message
    assert refused.value.hint is not None
    assert "--skip-bad" in refused.value.hint
    assert sorted(one.name for one in tmp_path.iterdir()) == ["t.csv"]


def test_bad_rows_are_left_out_and_listed(predicted: Predicted, tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_text(CSV)
    report = predicted(source, skip_bad=True, out=tmp_path / "out.csv")
    assert (report.rows, report.left_out) == (2, 3)
    assert pl.read_csv(report.out)["flight_id"].to_list() == ["f0", "f3"]
    assert report.bad_rows is not None
    listed = [json.decode(line) for line in Path(report.bad_rows).read_bytes().splitlines()]
    assert [one["where"] for one in listed] == [where for where, _ in BAD]
    assert all(reason in one["reason"] for one, (_, reason) in zip(listed, BAD, strict=True))
    small = predicted(source, skip_bad=True, out=tmp_path / "small.csv", piece_bytes=80)
    assert small.bad_rows is not None
    assert Path(small.bad_rows).read_bytes() == Path(report.bad_rows).read_bytes()
    source.write_text("temp,carrier\n1,AA\n")
    assert predicted(source, out=tmp_path / "out.csv").bad_rows is None
    assert Path(report.bad_rows).read_bytes() == b""


@pytest.mark.parametrize("piece_bytes", [20, 1 << 20])
def test_rows_that_the_model_refuses_are_bad_rows(piece_bytes: int, tmp_path: Path, bundles: ModuleType) -> None:
    carrier, temp = bundles.SIGNATURE.inputs
    signature = replace(bundles.SIGNATURE, inputs=[replace(carrier, closed=True), replace(temp, limit=1000.0)])
    bundle = bundles.write_bundle(tmp_path / "bundle", signature=signature, unseen=-1.0)
    source = tmp_path / "t.csv"
    source.write_text("temp,carrier\n1,AA\n2,ZZ\n3,UA\n-1e4,UA\nwarm,AA\n,\n6,\n")

    def predict(*, skip_bad: bool) -> BatchReport:
        digest = trees.digest_folder(bundle)
        return predict_table(source, bundle, digest, skip_bad=skip_bad, piece_bytes=piece_bytes, progress=Silent())

    with pytest.raises(InvalidInput, match=r"t\.csv, line 3: column 'carrier': 'ZZ' is not answered; allowed are 'AA'"):
        predict(skip_bad=False)
    report = predict(skip_bad=True)
    assert (report.rows, report.left_out) == (3, 3)
    listed = [json.decode(line) for line in Path(str(report.bad_rows)).read_bytes().splitlines()]
    assert [(one["where"], one["reason"]) for one in listed] == [
        ("line 3", "column 'carrier': 'ZZ' is not answered; allowed are 'AA', 'UA'"),
        ("line 5", "column 'temp': -10000.0 is not answered; allowed are numbers from -1000 to 1000"),
        ("line 6", "input 'temp': 'warm' is not a number; null means missing"),
    ]
    found = pl.read_parquet(report.out)["probability"].to_list()
    assert found == [bundles.probability(*row) for row in (("AA", 1.0), ("UA", 3.0), (None, 6.0))]


@pytest.mark.slow
def test_many_bad_rows_are_listed_without_being_kept_in_memory(predicted: Predicted, tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    peaks = []
    for rows in (500, 500, 8_000):  # once for what is loaded only once
        source.write_text("temp,carrier\n" + f"1,AA\n{'w' * 90},AA\n" * rows)
        tracemalloc.start()
        report = predicted(source, skip_bad=True, piece_bytes=8_000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (report.rows, report.left_out) == (rows, rows)
    listed = Path(str(report.bad_rows))
    lines = [json.decode(line)["where"] for line in listed.read_bytes().splitlines()]
    assert lines == [f"line {line:,}" for line in range(3, 16_003, 2)]
    assert listed.stat().st_mode & 0o777 == 0o600
    assert peaks[2] - peaks[1] < listed.stat().st_size / 4


def test_a_stopped_run_lists_the_same_rows(predicted: Predicted, tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_text("temp,carrier\n" + "1,AA\nwarm,AA\n" * 100)
    whole = predicted(source, skip_bad=True, piece_bytes=100, out=tmp_path / "whole.parquet")
    with pytest.raises(KeyboardInterrupt):
        predicted(source, skip_bad=True, piece_bytes=100, progress=Stopping(5))
    again = predicted(source, skip_bad=True, piece_bytes=100)
    assert (again.kept_pieces, again.left_out) == (5, 100)
    assert Path(str(again.bad_rows)).read_bytes() == Path(str(whole.bad_rows)).read_bytes()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("piece_bytes", [10, 1 << 20])
def test_a_table_of_bad_rows_alone_has_no_result(piece_bytes: int, predicted: Predicted, tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_text("temp,carrier\n" + "warm,AA\n" * 30)
    with pytest.raises(
        InvalidInput, match=r"all rows of t\.csv cannot be predicted, here the first of them:\n"
    ) as refused:
        predicted(source, skip_bad=True, piece_bytes=piece_bytes)
    assert len(refused.value.message.splitlines()) == 21
    assert [one.name for one in tmp_path.iterdir()] == ["t.csv"]


class Changing(Silent):
    """Does something when the first piece is predicted."""

    def __init__(self, change: Callable[[], object]) -> None:
        self._change = change

    def task(self, description: str, total: int | None, *, even: bool = False) -> Any:
        task = super().task(description, total, even=even)
        if description == "predict":
            task.advance = self._advance  # type: ignore[attr-defined]
        return task

    def _advance(self, _n: int = 1, note: str | None = None) -> None:
        if note is not None:
            self._change()


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("change", ["longer", "cut", "gone"])
def test_a_table_that_changes_meanwhile_has_no_result(
    kind: str, change: str, predicted: Predicted, table: Table, tmp_path: Path
) -> None:
    source = written(table(100), tmp_path / f"t.{kind}")
    whole = source.read_bytes()
    new = {"longer": whole + whole[-50:], "cut": whole[:50]}

    def changed() -> None:
        source.unlink()  # as who writes to it whole: a file that is read stays
        if change in new:
            source.write_bytes(new[change])

    with pytest.raises(Conflict, match=rf"t\.{kind} changed while it was predicted"):
        predicted(source, piece_rows=10, piece_bytes=1000, progress=Changing(changed))
    assert not list(tmp_path.glob("t.*.predictions*"))


def test_no_result_takes_the_place_of_what_is_read(predicted: Predicted, table: Table, tmp_path: Path) -> None:
    source = written(table(5), tmp_path / "t.parquet")
    before = source.read_bytes()
    (tmp_path / "link.parquet").symlink_to(source)
    (tmp_path / "hard.parquet").hardlink_to(source)
    for out in ("t.parquet", "link.parquet", "hard.parquet"):
        with pytest.raises(InvalidInput, match="is a part of the table itself"):
            predicted(source, out=tmp_path / out)
    left_out = written(table(5), tmp_path / "out.csv.left-out.jsonl")
    with pytest.raises(InvalidInput, match="is a part of the table itself"):
        predicted(left_out, out=tmp_path / "out.csv")
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "a.parquet").symlink_to(source)
    with pytest.raises(InvalidInput, match="is a part of the table itself"):
        predicted(folder, out=source)
    assert source.read_bytes() == before


def test_a_bad_row_of_a_file_of_columns_is_named_by_its_number(predicted: Predicted, tmp_path: Path) -> None:
    table = pl.DataFrame({"temp": [1.0, 2.0, float("inf")], "carrier": ["AA", None, "UA"]})
    with pytest.raises(InvalidInput, match=r"t\.parquet, row 3: input 'temp': inf is not finite"):
        predicted(written(table, tmp_path / "t.parquet"), piece_rows=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "temp\n1\n", "has no column 'carrier', which the model needs; it has temp"),
        ("t.csv", "temp,carrier\n1,AA\n2,AA,3\n", "t.csv, line 3: 3 cells, but 2 names in the first line"),
        ("t.csv", "temp,carrier\n1,AA\n\n2\n", "t.csv, line 4: 1 cells, but 2 names in the first line"),
        ("t.csv", 'temp,carrier\n1,"A\nA"\n2\n', "t.csv, line 4: 1 cells, but 2 names in the first line"),
        ("t.csv", "temp,temp\n1,2\n", "t.csv, line 1: column 'temp' stands there 2 times"),
        ("t.csv", b"temp,carrier\n1,\xff\n", "t.csv, line 2: byte 0xff is no utf-8"),
        ("t.csv", "", "t.csv has no first line"),
        ("t.csv", 'temp,"carrier\n1,AA\n', "t.csv, line 1: a quote is opened here and never closed"),
        ("t.csv", 'temp,car"rier\n1,AA\n2,A"A\n3,AA\n', "t.csv, line 1: a quote within a name is not closed"),
        ("t.csv", "x" * (17 << 20), "t.csv, line 1: a quote is opened here and never closed, or it has more than 16,"),
        ("t.csv", "temp,carrier\n", "t.csv has no rows"),
        ("t.csv", "temp,carrier\n\n ,\n", "t.csv has no rows"),
        ("t.jsonl", '{"temp": 1, "carrier": "A"}\n\n{"temp": 1,\n', "t.jsonl, line 3: no JSON object"),
        (
            "t.jsonl",
            '{"temp": 1}\n',
            "t.jsonl has no member 'carrier' in any line, which the model needs; the first has temp",
        ),
        (
            "t.jsonl",
            "{}\n",
            "t.jsonl has no member 'carrier', 'temp' in any line, which the model needs; the first has none",
        ),
        ("t.jsonl", "", "t.jsonl has no rows"),
        ("t.jsonl", '{"temp": "1", "carrier": "A"}\n', "t.jsonl, line 1: input 'temp': '1' is not a number"),
        ("t.jsonl", '{"temp": 1, "carrier": ["A"]}\n', "t.jsonl, line 1: input 'carrier': ['A'] is not text"),
        ("t.parquet", "PAR1", "t.parquet is no valid Parquet file"),
        ("t.feather", "", "t.feather is no valid Arrow file"),
        ("t.xlsx", "", "'t.xlsx' is of an unknown kind; allowed are files that end with .csv"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(
    name: str, text: str | bytes, message: str, predicted: Predicted, tmp_path: Path
) -> None:
    source = tmp_path / name
    source.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidInput) as refused:
        predicted(source)
    assert message in refused.value.message
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_tables_of_one_name_have_a_result_each(predicted: Predicted, tmp_path: Path) -> None:
    table = pl.DataFrame({"temp": [1.0], "carrier": ["AA"]})
    (tmp_path / "t").mkdir()
    tables = [tmp_path / "t.parquet", tmp_path / "t.arrow", tmp_path / "t" / "one.parquet"]
    results = [
        predicted(written(table, path) if path.parent == tmp_path else written(table, path).parent) for path in tables
    ]
    assert [Path(one.out).name for one in results] == [
        "t.parquet.predictions.parquet",
        "t.arrow.predictions.parquet",
        "t.predictions.parquet",
    ]


@pytest.mark.parametrize("piece_bytes", [60, 1 << 20])
def test_a_member_that_only_some_lines_have_is_missing_in_the_others(
    piece_bytes: int, predicted: Predicted, tmp_path: Path
) -> None:
    source = tmp_path / "t.jsonl"
    first = [f'{{"temp": {row}, "scheduled_at": "2013-01-01T00:00:00Z"}}\n' for row in range(20)]
    last = '{"temp": 1, "\\u0063arrier": "UA", "scheduled_at": "2013-01-01T00:00:00Z"}'
    for lines in ([*first, last], [last + "\n", *first], ["\n", *first[:9], last + "\n", *first[9:]]):
        source.write_text("".join(lines))
        report = predicted(source, piece_bytes=piece_bytes)
        assert report.rows == 21
        assert pl.read_parquet(report.out)["probability"].max() == pytest.approx(0.8807970779778823)


@pytest.mark.parametrize("piece_bytes", [60, 1 << 20])
def test_a_key_that_only_some_lines_have_is_wanted_of_all(
    piece_bytes: int, predicted: Predicted, tmp_path: Path
) -> None:
    source = tmp_path / "t.jsonl"
    source.write_text('{"temp": 1, "carrier": "UA"}\n' * 6 + '{"temp": 1, "carrier": "UA", "flight_id": "a"}\n')
    report = predicted(source, piece_bytes=piece_bytes, skip_bad=True)
    assert (report.rows, report.left_out) == (1, 6)


def test_files_of_lines_in_a_folder_have_their_members_together(predicted: Predicted, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"temp": 1}\n')
    (folder / "b.jsonl").write_text('{"temp": 1, "carrier": "UA"}\n')
    (folder / "c.jsonl").write_text("")
    assert predicted(folder).rows == 2
    (folder / "b.jsonl").write_text('{"temp": 1, "carier": "UA"}\n')
    with pytest.raises(InvalidInput, match=r"a\.jsonl has no member 'carrier' in any line"):
        predicted(folder)


def test_a_file_that_was_copied_in_part_is_refused_by_its_last_line(predicted: Predicted, tmp_path: Path) -> None:
    rows = [f"{row},{'AA' if row % 3 else ''}" for row in range(1, 400)]
    source = tmp_path / "t.csv"
    source.write_text("temp,carrier\n" + "\n".join(rows))
    assert predicted(source, piece_bytes=300).rows == 399
    source.write_text("temp,carrier\n" + "\n".join([*rows, "4"]))
    with pytest.raises(InvalidInput, match=r"t\.csv, line 401: 1 cells, but 2 names in the first line"):
        predicted(source, piece_bytes=300)


def test_a_column_of_another_type_is_refused_as_a_whole(predicted: Predicted, tmp_path: Path) -> None:
    table = pl.DataFrame({"temp": ["1"], "carrier": ["AA"]})
    with pytest.raises(InvalidInput, match=r"t\.arrow, column 'temp' has the type String; the model needs numbers"):
        predicted(written(table, tmp_path / "t.arrow"))


def test_what_is_not_there_is_not_found(predicted: Predicted, tmp_path: Path) -> None:
    errors: list[BoucleError] = []
    for path in (tmp_path, tmp_path / "t.csv"):
        with pytest.raises(NotFound) as missing:
            predicted(path)
        errors.append(missing.value)
    assert all(error.message for error in errors)


def test_lines_that_end_with_a_carriage_return_are_all_read(predicted: Predicted, tmp_path: Path) -> None:
    rows = [f"f{row},{row % 90},{('AA', 'UA')[row % 2]}" for row in range(120_000)]
    source = tmp_path / "t.csv"
    source.write_text("flight_id,temp,carrier\r" + "\r".join(rows), newline="")
    old = pl.read_parquet(predicted(source, piece_bytes=100_000).out)
    source.write_text("flight_id,temp,carrier\n" + "\n".join(rows), newline="")
    new = pl.read_parquet(predicted(source).out)
    assert old.height == 120_000
    assert old.drop("prediction_id").equals(new.drop("prediction_id"))


@pytest.mark.parametrize("piece_bytes", [20, 1 << 20])
def test_rows_of_such_lines_are_named_by_their_line(piece_bytes: int, predicted: Predicted, tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_text('temp,carrier,note\r1,AA,"two\nlines"\r2,UA,"and\rthree"\r\rwarm,AA,\r', newline="")
    report = predicted(source, skip_bad=True, piece_bytes=piece_bytes)
    assert (report.rows, report.left_out) == (2, 1)
    assert json.decode(Path(str(report.bad_rows)).read_bytes())["where"] == "line 7"


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_first_line_may_be_long(line_end: str, predicted: Predicted, tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    for padding in (1 << 20, (1 << 20) - len(f"temp,carrier,{line_end}")):
        head = f"temp,carrier,{'n' * padding}"
        source.write_text(head + line_end + f"1,AA,{line_end}" * 5, newline="")
        assert predicted(source).rows == 5


def test_a_csv_is_read_in_the_format_of_the_project(predicted: Predicted, tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_bytes("temp;carrier;flight_id\n70,5;UA;é\nNA;AA;b\n".encode("latin-1"))
    report = predicted(source, csv_format=CsvFormat(separator=";", encoding="latin-1", decimal=",", nulls=["", "NA"]))
    found = pl.read_parquet(report.out)
    assert found["flight_id"].to_list() == ["é", "b"]
    assert found["probability"].to_list() == pytest.approx([0.9525741268224334, 0.2689414213699951])


@given(
    cells=st.lists(st.text(alphabet='ab",\n\r', max_size=6), min_size=1, max_size=30),
    piece_bytes=st.integers(1, 40),
    line_end=st.sampled_from(["\n", "\r"]),
)
def test_a_file_is_cut_between_records_only(
    cells: list[str], piece_bytes: int, line_end: LineEnd, tmp_path_factory: pytest.TempPathFactory
) -> None:
    records = ['"' + cell.replace('"', '""') + f'"{line_end}' for cell in cells]
    path = tmp_path_factory.mktemp("cut") / "t.csv"
    path.write_text(f"head{line_end}" + "".join(records), newline="")
    assert first_record(path) == (f"head{line_end}".encode(), 5, line_end)
    pieces, _ = cut(path, begin=5, quotes=True, line_end=line_end, piece_bytes=piece_bytes)
    ends, at = set(), 5
    for record in records:
        at += len(record)
        ends.add(at)
    assert [first for first, _ in pieces] == [5, *(last for _, last in pieces[:-1])]
    assert {last for _, last in pieces} <= ends
    assert pieces[-1][1] == at
