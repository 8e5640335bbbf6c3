"""`boucle sync`: what dead programs left goes where it should, or the reason is told."""

import json
from pathlib import Path

import pytest

import boucle
from boucle.app.main import run_command
from boucle.kernel.store import Store
from boucle.runs.api import list_runs
from boucle.runs.client.destination import Destination
from boucle.runs.spool.records import ENCODER, Begin, Points
from boucle.runs.spool.spool import Spool


def left_behind(root: Path, where: Destination, number: int) -> None:
    """A spool whose process is gone."""
    begin = Begin(f"{number:032x}", "trees", "left", "ann", 1_700_000_000_000, {}, {}, True)
    spool = Spool(root, where.encoded(), ENCODER.encode(begin))
    spool.append(ENCODER.encode(Points(1_700_000_000_001, 0, {"loss": 0.5})))
    spool.leave(remove=False)


def test_what_was_left_is_sent_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, home = tmp_path / "spool", tmp_path / "home"
    monkeypatch.setenv("BOUCLE_SPOOL", str(root))
    left_behind(root, Destination(home=str(home)), 1)
    assert run_command(["sync", "--json"]) == 0
    assert [one["problem"] for one in json.loads(capsys.readouterr().out)] == [None]
    assert run_command(["sync"]) == 0
    assert "nothing waits" in capsys.readouterr().out
    with Store.open(home) as store:
        (run,) = list_runs(store, "default")
        assert (run.status, run.metrics) == ("interrupted", {"loss": 0.5})


def test_what_cannot_be_sent_is_kept_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "spool"
    monkeypatch.setenv("BOUCLE_SPOOL", str(root))
    left_behind(root, Destination(url="http://127.0.0.1:9"), 1)
    assert run_command(["sync"]) == 5
    assert "cannot be reached" in " ".join(capsys.readouterr().err.split())
    assert len(list(root.iterdir())) == 1


@pytest.mark.slow
def test_lineage_of_a_tracked_run_needs_no_project_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BOUCLE_SPOOL", str(tmp_path / "spool"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("a\n1\n")
    assert run_command(["lineage", "rows"]) == 2
    assert "nothing is stored yet" in capsys.readouterr().err
    with boucle.start_run("trees", "mine") as run:
        run.log_dataset("rows", "rows.csv")
    assert run_command(["lineage", run.id]) == 0
    assert "name rows" in capsys.readouterr().out
    assert run_command(["lineage", "rows", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["led_to"][0]["name"] == run.id
