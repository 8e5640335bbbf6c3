"""`boucle drift` in any folder: verdicts, exit codes, profiles, the page, mistakes."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from msgspec.structs import replace

from boucle.app.drift_page import page
from boucle.app.main import run_command
from boucle.data import lines, table_file
from boucle.data.api import profile
from boucle.data.profile_file import ProfiledTable, from_bytes, profile_file, sample_file, to_bytes
from boucle.monitoring.tables import compare_files, compare_profiles, reference_noise, with_together
from boucle.monitoring.verdict import judged

EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


def orders(noise: np.random.Generator, rows: int, shift: float = 0.0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "price": noise.lognormal(shift, 1, rows),
            "hour": noise.integers(0, 24, rows),
            "shop": [f"s{value}" for value in noise.poisson(5, rows)],
            "at": [f"2024-01-{1 + value:02}" for value in noise.integers(0, 28, rows)],
        }
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a project: January, another January, and July, when prices are higher."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(1)
    orders(noise, 3_000).write_csv("january.csv")
    orders(noise, 2_000).write_parquet("again.parquet")
    orders(noise, 2_000, 0.5).write_ipc("july.arrow")
    return tmp_path


def test_a_table_that_drifted_ends_with_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pl.read_ipc((folder / "july.arrow").read_bytes()).with_columns(pl.col("at").str.to_date()).write_ipc("july.arrow")
    assert run_command(["drift", "january.csv", "july.arrow"]) == 3
    told = capsys.readouterr().out
    assert "2,000 rows beside 3,000 of the reference, 4 columns: 1 drifted, 3 the same" in told
    assert "price" in told
    assert "hour" not in told
    assert run_command(["drift", "january.csv", "july.arrow", "--fail-on", "never", "--all"]) == 0
    assert "hour" in capsys.readouterr().out
    assert run_command(["drift", "january.csv", "july.arrow", "--at-least", "0.9"]) == 0
    assert run_command(["drift", "january.csv", "july.arrow", "--at-least", "0.9", "--fail-on", "any"]) == 3
    assert "slight" in capsys.readouterr().out
    assert {one.name for one in folder.iterdir()} == {"january.csv", "again.parquet", "july.arrow"}


def test_a_table_that_did_not_ends_with_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = pl.read_parquet(folder / "again.parquet")
    again.write_csv("again.csv")
    assert run_command(["drift", "january.csv", "again.csv", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["drifted"], told["reference_rows"], told["window_rows"]) == (False, 3_000, 2_000)
    [price] = [one for one in told["columns"] if one["column"] == "price"]
    assert set(price["thresholds"]) == {"psi", "js", "hellinger", "wasserstein"}
    assert price["distances"]["psi"] < price["thresholds"]["psi"]


def test_kept_profiles_stand_for_their_tables(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pl.read_ipc((folder / "july.arrow").read_bytes()).write_csv("july.csv")
    for name in ("january", "july"):
        assert run_command(["profile", f"{name}.csv", "-o", f"{name}.profile"]) == 0
    capsys.readouterr()
    found = {}
    for pair in (("january.csv", "july.csv"), ("january.profile", "july.csv"), ("january.profile", "july.profile")):
        assert run_command(["drift", *pair, "--json"]) == 3
        told = json.loads(capsys.readouterr().out)
        found[pair] = {one["column"]: one["distances"]["psi"] for one in told["columns"]}
        assert told["columns"][0]["thresholds"]["wasserstein"] > 0
    first, *others = found.values()
    assert all(one == pytest.approx(first, rel=0.02) for one in others)


def test_what_matters_ranks_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pl.read_csv("january.csv")
    table.with_columns(pl.col("hour") + 9, pl.col("price") * 2).write_csv("moved.csv")
    (folder / "weights.json").write_text('{"price": 0.9, "hour": 0.1}')
    orders_of = []
    for more in ([], ["--weights", "weights.json"]):
        run_command(["drift", "january.csv", "moved.csv", "--json", *more])
        orders_of.append([one["column"] for one in json.loads(capsys.readouterr().out)["columns"]][:2])
    assert orders_of == [["hour", "price"], ["price", "hour"]]


def test_bad_columns_are_told_and_the_others_judged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    january = pl.read_csv(folder / "january.csv", try_parse_dates=True)
    odd = january.select(
        pl.lit(7).alias("price"), pl.col("hour").cast(pl.String) + "h", pl.lit(None).alias("shop"), tags=[["x"]] * 3_000
    )
    january.write_parquet("was.parquet")
    odd.write_parquet("odd.parquet")
    assert run_command(["drift", "was.parquet", "odd.parquet", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)["columns"]
    assert {one["column"]: (one["verdict"], one["distances"]["note"]) for one in told} == {
        "at": ("vanished", "the current table lacks it"),
        "hour": ("type", "was numbers, is text"),
        "price": ("drift", "constant now"),
        "shop": ("drift", "no values in the current table"),
    }
    january.clear().write_parquet("none.parquet")
    assert run_command(["drift", "was.parquet", "none.parquet"]) == 3
    assert "4 without rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["january.csv", "none.csv"], "there is no file 'none.csv'"),
        (["january.csv", "none.profile"], "there is no profile"),
        (["january.csv", "again.parquet", "--rate", "0"], "--rate is 0"),
        (["january.csv", "again.parquet", "--at-least", "2"], "--at-least is 2"),
        (["january.csv", "again.parquet", "--html", "january.csv"], "would be overwritten"),
        (["january.csv", "again.parquet", "--html", "no/where.html"], "there is no folder no"),
        (["january.csv", "again.parquet", "--weights", "january.csv"], "holds no weights"),
        (["january.csv", "again.parquet", "--weights", "weights.json"], "'prize', which is no column"),
    ],
)
def test_mistakes_are_told(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    (folder / "weights.json").write_text('{"prize": 1.0}')
    assert run_command(["drift", *arguments]) == 2
    assert said in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "arrow"])
@pytest.mark.parametrize("pieces", [False, True])
def test_columns_of_any_name_are_columns(
    ending: str, pieces: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polars takes `*`, and what is between `^` and `$`, for patterns."""
    if pieces:
        monkeypatch.setattr(table_file, "PIECE_BYTES", 20_000)
        monkeypatch.setattr(table_file, "cut", lambda path, **words: lines.cut(path, **words, piece_bytes=20_000))
    noise = np.random.default_rng(1)
    named = {"price": "^p.*$", "hour": "*", "shop": "^.*$", "at": "plain"}
    write = {"csv": "write_csv", "jsonl": "write_ndjson", "parquet": "write_parquet", "arrow": "write_ipc"}[ending]
    tables = {"was": orders(noise, 2_000), "now": orders(noise, 1_500, 0.5)}
    found, rows = {}, {}
    for way in ("plain", "odd"):
        files = [tmp_path / f"{name}-{way}.{ending}" for name in tables]
        for table, path in zip(tables.values(), files, strict=True):
            getattr(table.rename(named) if way == "odd" else table, write)(path)
        found[way] = {one.column: one for one in compare_files(files[0], files[1]).columns}
        found_together = with_together(compare_files(files[0], files[1]), files[0], files[1]).together
        assert found_together is not None
        assert len(found_together.columns) == 4
        rows[way] = profile_file(files[0]).profile.rows, sample_file(files[0]).rows
    assert {plain: found["odd"][odd].distances for plain, odd in named.items()} == {
        name: replace(one.distances, column=named[name]) for name, one in found["plain"].items()
    }
    assert rows["odd"] == rows["plain"] == (2_000, 2_000)


@pytest.mark.parametrize("damaged", ["reference", "current"])
def test_a_parquet_file_whose_values_are_damaged_is_named(
    damaged: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "bad.parquet"
    pl.read_parquet(folder / "again.parquet").write_parquet(path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[200:4_000] = bytes(3_800)
    path.write_bytes(data)
    files = ["bad.parquet", "again.parquet"]
    assert run_command(["drift", *(files if damaged == "reference" else files[::-1])]) == 2
    assert "bad.parquet is no valid Parquet file" in capsys.readouterr().err


@pytest.mark.slow
def test_the_page_fetches_nothing_and_every_text_is_escaped(folder: Path) -> None:
    for name, value in (("one.csv", EVIL), ("two.csv", "plain")):
        pl.DataFrame({EVIL: [value] * 100, "x": [1.0, 2.0] * 50}).write_csv(name)
    html = page(compare_files(folder / "one.csv", folder / "two.csv"), EVIL, "two.csv")
    assert EVIL not in html
    assert "<img src=x" not in html
    assert html.count("</script>") == 3
    assert run_command(["drift", "one.csv", "two.csv", "--html", "page.html"]) == 3
    assert (folder / "page.html").read_text().startswith("<!doctype html>")


def test_two_kept_profiles_of_fifty_columns() -> None:
    noise = np.random.default_rng(3)
    tables = [pl.DataFrame({f"x{i}": noise.normal(0, 1, rows) for i in range(50)}) for rows in (6_000, 5_000)]
    kept = []
    for table in tables:
        made = ProfiledTable(source="x", columns=dict.fromkeys(table.columns, "number"), profile=profile(table))
        kept.append(ProfiledTable(
            source="x", columns=made.columns, profile=made.profile, noise=reference_noise(made)
        ))  # fmt: skip
    ours, theirs = (from_bytes(to_bytes(one)) for one in kept)
    found = compare_profiles(ours, theirs)
    verdict = judged([one for one, _ in found], noise={one.column: noise for one, noise in found})
    assert not verdict.drifted
    assert all(one.thresholds for one in verdict.columns)


@pytest.mark.usefixtures("folder")
def test_columns_that_come_apart_end_with_3_only_where_it_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(5).normal(size=(2, 500))
    pl.DataFrame({"a": x[0], "b": x[0] * 2}).write_csv("linked.csv")
    pl.DataFrame({"a": x[0], "b": x[0][::-1] * 2}).write_csv("apart.csv")
    assert run_command(["drift", "linked.csv", "apart.csv"]) == 0
    assert run_command(["drift", "linked.csv", "apart.csv", "--together"]) == 3
    assert "a, b no longer go together" in capsys.readouterr().out
    assert run_command(["profile", "linked.csv", "-o", "linked.profile"]) == 0
    assert run_command(["drift", "linked.profile", "apart.csv", "--together"]) == 2
    assert "boucle profile TABLE --rows 1000 -o linked.profile" in capsys.readouterr().err
    assert run_command(["profile", "linked.csv", "-o", "linked.profile", "--rows", "1000"]) == 0
    capsys.readouterr()
    assert run_command(["drift", "linked.profile", "apart.csv", "--together", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["together"]["drifted"] is True
    assert run_command(["drift", "linked.csv", "linked.csv", "--together"]) == 0
