"""The performance page says what was measured, and the benchmarks run."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_the_page_is_what_the_kept_figures_give(tmp_path: Path) -> None:
    page = importlib.import_module("page")
    page.write(ROOT / "benchmarks" / "results", tmp_path / "performance.md")
    assert (tmp_path / "performance.md").read_text() == (ROOT / "docs" / "performance.md").read_text()


def test_every_member_has_figures_of_itself_and_of_a_peer() -> None:
    for member in (ROOT / "benchmarks").glob("*/member.py"):
        kept = json.loads((ROOT / "benchmarks" / "results" / f"{member.parent.name}.json").read_text())
        assert "boucle" in kept["peers"]
        assert len(kept["peers"]) > 1
        assert all(one for peer in kept["peers"].values() for one in (peer.get("seconds") or peer["values"]).values())


@pytest.mark.long
def test_pipelines_are_measured_beside_every_peer() -> None:
    measured = importlib.import_module("pipelines.member").measure(rounds=1)
    assert {"boucle", "dvc", "hamilton", "kedro"} <= set(measured["peers"])
    assert all(peer["seconds"]["first"][0] > 0 for peer in measured["peers"].values())
