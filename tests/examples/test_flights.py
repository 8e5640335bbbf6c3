"""The flights year as a user runs it: the command line on the example, and once more in a home of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights"
KINDS = ("loop", "frozen", "oracle")


def copy_example(folder: Path) -> Path:
    folder.mkdir()
    for name in ("boucle.yaml", "flights.py"):
        shutil.copy(EXAMPLE / name, folder / name)
    return folder


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "boucle", "--project", str(folder), *arguments]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def facts(folder: Path, *arguments: str, status: int = 0) -> Any:
    out, err = (process := start(folder, *arguments, "--json")).communicate(timeout=600)
    assert process.returncode == status, err
    return json.loads(out)


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in a folder of its own, replayed from nothing."""
    return replayed(tmp_path_factory.mktemp("year"))


@pytest.fixture(scope="module")
def march(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the first month, before any drill."""
    folder = tmp_path_factory.mktemp("march")
    file = copy_example(folder / "flights") / "boucle.yaml"
    text, _, _ = file.read_text().partition("  drills:\n")
    file.write_text(text.replace("  last: 2013-12-31\n", "  last: 2013-03-31\n"))
    return replayed(folder)


def replayed(folder: Path) -> Path:
    project = folder / "flights"
    if not project.exists():
        copy_example(project)
    out, err = (process := start(project, "replay", "--json")).communicate(timeout=840)
    assert process.returncode == 0, err
    (folder / "replay.json").write_text(out)
    return project


@pytest.fixture(scope="module")
def report(year: Path) -> Any:
    return facts(year, "report")


def decisions(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder.parent / "replay.json").read_text())["decisions"]
    return found


@pytest.mark.slow
def test_a_month_is_retrained_once_and_told(march: Path) -> None:
    [month] = facts(march, "report")["months"]
    assert (month["month"], month["rows"]) == ("2013-03", 27_954)
    assert month["auc_loop"] > 0.65
    assert [one["action"]["action"] for one in decisions(march) if one["action"]["action"] != "hold"][:2] == [
        "retrain",
        "promote",
    ]


@pytest.mark.long
def test_the_loop_beats_the_model_left_alone_and_comes_near_the_oracle(report: Any) -> None:
    months = report["months"]
    assert [month["month"] for month in months] == [f"2013-{month:02}" for month in range(3, 13)]
    loop, frozen, oracle = (fmean(month[f"auc_{kind}"] for month in months) for kind in KINDS)
    assert loop >= 0.700
    assert loop >= frozen + 0.025
    assert (loop - frozen) / (oracle - frozen) >= 0.75
    assert report["rows"] == sum(month["rows"] for month in months) > 270_000
    assert (report["mean_loop"], report["mean_frozen"]) == (pytest.approx(loop), pytest.approx(frozen))


@pytest.mark.long
def test_two_years_with_one_seed_decide_the_same(year: Path, report: Any, tmp_path: Path) -> None:
    years = [year, replayed(tmp_path)]
    first, second = ([one | {"outcome": None} for one in decisions(folder)] for folder in years)
    assert first == second
    bundles = [[one["bundle_digest"] for one in facts(folder, "models", "list")] for folder in years]
    assert bundles[0] == bundles[1]
    again = facts(years[1], "report")
    for one, other in zip(report["months"], again["months"], strict=True):
        assert {key: value for key, value in one.items() if not key.startswith(("auc", "alerts", *KINDS))} == {
            key: value for key, value in other.items() if not key.startswith(("auc", "alerts", *KINDS))
        }
        for kind in KINDS:
            assert one[f"auc_{kind}"] == pytest.approx(other[f"auc_{kind}"], abs=1e-6)


@pytest.mark.long
def test_the_celsius_feed_is_caught_named_and_kept_out(year: Path, report: Any) -> None:
    faulty = ["2013-07-15", "2013-07-16", "2013-07-17"]
    assert [day for day in report["quarantined"] if day.startswith("2013-07")] == faulty
    found = {(alert["kind"], alert["subject"]) for alert in report["alerts"] if alert["opened_on"] == faulty[0]}
    assert found >= {("check", "temp"), ("check", "dewp"), ("shift", "temp"), ("shift", "dewp")}
    from datetime import date

    import polars as pl

    from boucle.data.api import load
    from boucle.kernel.store import Store
    from boucle.models.api import list_versions

    with Store.open(year / ".boucle") as store:
        newest = list_versions(store, "flights", "flights")[-1]
        days = load(store, newest.dataset_digest)["scheduled_at"].dt.date()
        assert days.max() > date(2013, 8, 1)  # type: ignore[operator]
        assert not days.is_in(pl.Series([date.fromisoformat(day) for day in faulty]).implode()).any()


@pytest.mark.long
def test_the_candidate_trained_on_shuffled_labels_is_refused(year: Path) -> None:
    [drill] = [one for one in decisions(year) if one["action"].get("trigger") == "drill"]
    [refusal] = [
        one for one in decisions(year) if one["action"]["action"] == "refuse" and one["version"] == drill["version"]
    ]
    assert refusal["day"] == drill["day"] == "2013-05-20"
    assert "fails its gates: auc_roc 0.5" in refusal["action"]["reason"]


@pytest.mark.slow
def test_a_second_run_takes_everything_from_the_cache(march: Path) -> None:
    run = facts(march, "run")
    assert {step["state"] for step in run["steps"]} == {"cached"}
    assert facts(march, "replay")["already_complete"]


@pytest.mark.slow
def test_the_audit_log_holds(march: Path) -> None:
    assert facts(march, "audit", "verify")["problems"] == []


@pytest.mark.slow
@pytest.mark.parametrize("leak", ["dep_delay", "dep_time", "arr_time", "arr_delay", "air_time"])
def test_a_declared_leak_is_refused_with_its_line(tmp_path: Path, leak: str) -> None:
    folder = with_feature(tmp_path / "flights", leak)
    error = facts(folder, "check", status=2)["error"]
    assert f"`{leak}` is in data.known_later" in error["message"]
    assert error["details"]["problems"][0]["line"] == 1 + (folder / "boucle.yaml").read_text().split("\n").index(
        f"      - {leak}"
    )


@pytest.mark.slow
@pytest.mark.parametrize("leak", ["dep_delay", "dep_time", "arr_time", "arr_delay"])
def test_a_leak_that_nobody_declared_is_found(tmp_path: Path, leak: str) -> None:
    """Air time is not among them: alone it says little about being late, which is why the project declares it."""
    folder = with_feature(tmp_path / "flights", leak)
    text = (folder / "boucle.yaml").read_text()
    (folder / "boucle.yaml").write_text("\n".join(line for line in text.split("\n") if "known_later:" not in line))
    found = facts(folder, "check", status=3)["data"]["findings"]
    assert [leak] in [one["columns"] for one in found if not one["passed"] and one["on_fail"] == "block"]


def with_feature(folder: Path, name: str) -> Path:
    copy_example(folder)
    text = (folder / "boucle.yaml").read_text()
    (folder / "boucle.yaml").write_text(
        text.replace("      - departs_minute\n", f"      - departs_minute\n      - {name}\n")
    )
    return folder
