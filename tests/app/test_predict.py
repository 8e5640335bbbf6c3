"""`boucle predict`: the version in charge, another one, a bundle by its path; killed, it goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from msgspec.structs import replace

from boucle.app.main import run_command
from boucle.governance.api import policy_on, set_policy
from boucle.identity.api import GRANTS, Principal
from boucle.kernel import trees
from boucle.kernel.store import Store
from boucle.models.api import alias, get_version
from boucle.packaging.api import open_kept

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of the newest golden home, which has versions and one in charge."""
    folder = tmp_path_factory.mktemp("project")
    with tarfile.open(max(GOLDEN.glob("home-*.tar.xz"))) as tar:
        tar.extractall(folder, filter="tar")
    return folder


@pytest.mark.slow
def test_a_version_without_the_signature_that_its_policy_asks_for_is_not_loaded(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "project"
    shutil.copytree(project, home)
    ada = Principal("person:ada", "person", GRANTS["admin"], "admin")
    with Store.open(home / ".boucle") as store:
        found = policy_on(store, "orders", "orders")
        assert found is not None
        signed = replace(found.policy, require_signature=["0" * 64])
        set_policy(store, ada, project_id="orders", model="orders", policy=signed)
    table = home / "orders.parquet"
    out = str(tmp_path / "out")
    for words in (
        ["predict", str(table), "--out", f"{out}.csv"],
        ["predict", str(table), "--version", "1", "--out", f"{out}.csv"],
        ["package", "--wheel", out],
        ["package", "--version", "1", "--image", out],
    ):
        assert run_command([*words, "--project", str(home)]) == 3
        told = " ".join(capsys.readouterr().err.split())
        assert "must not be loaded: its policy asks for a signature" in told
        assert "next: boucle sign orders/" in told
    assert not list(tmp_path.glob("out*"))


@pytest.mark.slow
def test_the_version_in_charge_or_another_is_asked(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pl.DataFrame({"id": ["a", "b", "c"], "at": ["2024-01-09T00:00:00Z"] * 3, "x": [0.1, 9.0, None]})
    table = table.with_columns(z=pl.lit(1), kind=pl.lit("a"))
    table.write_parquet(tmp_path / "t.parquet")
    with Store.open(project / ".boucle") as store:
        champion = alias(store, "orders", "orders", "champion")
        assert champion is not None
        expected = {}
        for number in {1, champion.version}:
            predictor = open_kept(store, get_version(store, "orders", "orders", number).bundle_digest)
            expected[number] = predictor.predict({"x": [0.1, 9.0, None], "z": [1.0] * 3, "kind": ["a"] * 3})
    for words, number in (([], champion.version), (["--version", "1"], 1)):
        out = tmp_path / f"{number}.csv"
        words = ["predict", str(tmp_path / "t.parquet"), "--out", str(out), *words, "--project", str(project), "--json"]
        assert run_command(words) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["number"], report["rows"]) == (number, 3)
        found = pl.read_csv(out)
        assert found["id"].to_list() == ["a", "b", "c"]
        assert found["probability"].to_list() == list(expected[number]["probability"])


def test_a_bundle_is_asked_without_project_and_store(
    bundles: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = bundles.write_bundle(tmp_path / "bundle")
    Path("t.csv").write_text("carrier,temp\nUA,71\nAA,hot\n")
    assert run_command(["predict", "t.csv", "--bundle", "bundle"]) == 2
    said = capsys.readouterr().err
    assert "t.csv, line 3: input 'temp': 'hot' is not a number" in said
    assert "--skip-bad" in said
    assert run_command(["predict", "t.csv", "--bundle", "bundle", "--skip-bad"]) == 0
    assert "1 rows were left out" in capsys.readouterr().out
    assert pl.read_parquet("t.csv.predictions.parquet")["probability"].to_list() == [bundles.probability("UA", 71.0)]
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "bundle",
        "t.csv",
        "t.csv.predictions.parquet",
        "t.csv.predictions.parquet.left-out.jsonl",
    ]
    assert trees.digest_folder(bundle)
    assert run_command(["predict", "t.csv", "--bundle", "gone"]) == 2
    assert run_command(["predict", "t.csv", "--bundle", "bundle", "--version", "1"]) == 2


@pytest.mark.slow
def test_killed_it_goes_on_and_the_result_has_the_same_bytes(bundles: ModuleType, tmp_path: Path) -> None:
    bundles.write_bundle(tmp_path / "bundle")
    rows = 400_000
    table = pl.DataFrame({"temp": pl.Series(range(rows), dtype=pl.Float64) % 90, "carrier": ["UA", "AA"] * (rows // 2)})
    table.write_parquet(tmp_path / "t.parquet")

    def start(out: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "boucle", "predict", "t.parquet", "--bundle", "bundle", "--out", out]
        return subprocess.Popen(
            [*command, "--json", "--threads", "1"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    whole = start("whole.parquet")
    assert json.loads(whole.communicate()[0])["kept_pieces"] == 0
    killed = start("out.parquet")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.parquet.*/*.json")):
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "out.parquet").exists()
    again = start("out.parquet")
    assert json.loads(again.communicate()[0])["kept_pieces"] >= 1
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert not list(tmp_path.glob(".out*"))
