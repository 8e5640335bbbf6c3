"""The loop over a small world that changes: the real server in its own process, the real command line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

World = Callable[..., Path]

pytestmark = pytest.mark.slow


def boucle(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "boucle", "--project", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def facts(folder: Path, *arguments: str) -> Any:
    done = boucle(folder, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def told(replayed: Any) -> list[tuple[str, str, int | None, str]]:
    return [
        (one["day"], one["action"]["action"], one["version"], one["action"]["reason"]) for one in replayed["decisions"]
    ]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, world: World) -> Path:
    return world(tmp_path_factory.mktemp("orders"))


@pytest.fixture(scope="module")
def replayed(project: Path) -> Any:
    return facts(project, "replay")


def test_the_loop_adapts_when_the_world_changes(project: Path, replayed: Any) -> None:
    kinds = [kind for _, kind, _, _ in told(replayed)]
    assert "promote" in kinds
    report = facts(project, "report")
    assert report["mean_loop"] > report["mean_frozen"] + 0.1
    assert report["months"][-1]["loop"] > 0.75 > report["months"][-1]["frozen"]


def test_a_candidate_trained_on_shuffled_labels_is_refused_by_its_gate(replayed: Any) -> None:
    [drill] = [one for one in replayed["decisions"] if one["action"].get("trigger") == "drill"]
    [refusal] = [
        one
        for one in replayed["decisions"]
        if one["action"]["action"] == "refuse" and one["version"] == drill["version"]
    ]
    assert refusal["day"] == "2024-02-12"
    assert "auc_roc" in refusal["action"]["reason"]
    assert "at least 0.55 is required" in refusal["action"]["reason"]


@pytest.mark.usefixtures("replayed")
def test_each_column_of_a_window_has_its_verdict_and_what_matters_comes_first(project: Path) -> None:
    from boucle.kernel.store import Store
    from boucle.monitoring.api import ranked, windows

    with Store.open(project / ".boucle") as store:
        kept = windows(store, "orders", facts(project, "status")["stream"])
    [turned] = [window for window in kept if str(window.day) == "2024-02-10"]
    columns = {one.column: one for one in turned.drift}
    assert columns["x"].verdict == "drift"
    assert columns["z"].verdict == columns["kind"].verdict == "same"
    assert ranked(turned.drift)[0].column == "x"  # the label follows it
    weights = [columns[one].weight or 0.0 for one in ("x", "z", "kind")]
    assert weights[0] > 2 > max(weights[1:])
    quiet = [one for window in kept if window.day < turned.day and not window.quarantined for one in window.drift]
    assert {one.verdict for one in quiet} <= {"same", "slight"}


@pytest.mark.usefixtures("replayed")
def test_a_faulty_feed_is_named_quarantined_and_not_learned_from(project: Path) -> None:
    report = facts(project, "report")
    assert report["quarantined"] == ["2024-02-05", "2024-02-06"]
    on_the_day = [alert for alert in report["alerts"] if alert["opened_on"] == "2024-02-05"]
    assert {(alert["kind"], alert["subject"]) for alert in on_the_day} >= {("check", "z"), ("shift", "z")}
    from boucle.data.api import load
    from boucle.kernel.store import Store
    from boucle.models.api import list_versions

    with Store.open(project / ".boucle") as store:
        for version in list_versions(store, "orders", "orders"):
            assert load(store, version.dataset_digest)["z"].max() < 50  # type: ignore[operator]


@pytest.mark.usefixtures("replayed")
def test_each_window_shows_what_was_expected_beside_what_the_labels_said(project: Path) -> None:
    status = facts(project, "status")
    windows = status["quality"]
    assert [one["window"] for one in windows] == [f"2024-03-{day:02}" for day in range(4, 11)]
    for one in windows:
        assert one["metric"] == "auc_roc"
        assert one["estimated"]["low"] < one["estimated"]["value"] < one["estimated"]["high"]
        assert one["labelled"] == one["rows"] == 60
        assert one["realised"]["low"] <= one["realised"]["value"] <= one["realised"]["high"]
        assert abs(one["estimated"]["value"] - one["realised"]["value"]) < 0.25
    assert {(one["column"], one["value"]) for one in status["slices"]} == {("kind", "a"), ("kind", "b"), ("kind", "c")}
    shown = boucle(project, "status").stdout
    assert "estimated" in shown
    assert "by slice" in shown


@pytest.mark.usefixtures("replayed")
def test_labels_that_are_unknown_twice_corrected_or_nonsense_are_told(project: Path, tmp_path: Path) -> None:
    from boucle.kernel.store import Store
    from boucle.monitoring.api import keep_window, kept_window, labelled, profiles, windows

    folder = tmp_path / "live"
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns("*.sock"))
    with Store.open(folder / ".boucle") as store:
        # the newest replayed day, as if it had been answered live
        stream = facts(folder, "status")["stream"]
        window = windows(store, "orders", stream)[-1]
        kept = kept_window(store, "orders", stream, window.key)
        assert kept is not None
        profile = profiles(store, "orders", stream, window.day, window.day)[window.day]
        asked = {"project_id": "orders", "stream": "live"}
        keep_window(store, **asked, window=window, profile=profile, predictions=kept[1])
        first, second = kept[1].head(2).iter_rows(named=True)

        def bring(text: str) -> Any:
            (tmp_path / "arrived.csv").write_text(text)
            return facts(folder, "labels", str(tmp_path / "arrived.csv"))

        one, two = first["entity_key"], second["entity_key"]
        told = bring(f"id,late\n{one},0\n{one},1\n{two},maybe\n,1\nnobody,1\n")
        expected = {"rows": 5, "kept": 2, "incomplete": 1, "not_understood": 1, "repeated": 1, "corrected": 0}
        expected |= {"contradictory": 1, "known": 0, "odd_labels": ["maybe"]}
        assert told == expected | {"joined": 1, "waiting": 1, "waiting_ids": ["nobody"]}
        told = bring(f"request_id,row,label\n{first['request_id']},{first['row']},0\nnothing,0,1\n")
        expected = {"rows": 2, "kept": 2, "incomplete": 0, "not_understood": 0, "repeated": 0, "corrected": 1}
        expected |= {"contradictory": 0, "known": 0, "odd_labels": []}
        assert told == expected | {"joined": 1, "waiting": 1, "waiting_ids": ["nothing-0"]}

        def label() -> Any:
            rows = labelled(store, "orders", "live", include_quarantined=True)
            return dict(rows.select("entity_key", "label").iter_rows())[one]

        assert label() == "0"
        # what is told by the key after that counts again, though that very label had been told by the key before
        assert bring(f"id,late\n{one},1\n")["corrected"] == 1
        assert label() == "1"
        told = bring(f"id,late\n{one},1.0\n{two},True\n")  # as pandas writes them
        assert (told["kept"], told["known"], told["not_understood"]) == (2, 1, 0)
        (tmp_path / "arrived.csv").write_text(f"id,late\n{one},banana\n{two},2\n")
        wrong = boucle(folder, "labels", str(tmp_path / "arrived.csv"))
        assert (wrong.returncode, "0 labels kept of 2 rows" in wrong.stdout) == (2, True)
        assert "'banana', '2'" in wrong.stderr
    wrong = boucle(folder, "labels", str(folder / "boucle.yaml"))
    assert (wrong.returncode, "unknown kind" in wrong.stderr) == (2, True)
    (tmp_path / "arrived.csv").write_text("a,b\n1,2\n")
    wrong = boucle(folder, "labels", str(tmp_path / "arrived.csv"))
    assert (wrong.returncode, "need a column" in wrong.stderr) == (2, True)


def test_the_same_seed_in_another_home_decides_the_same(
    project: Path, replayed: Any, tmp_path: Path, world: World
) -> None:
    again = world(tmp_path / "elsewhere")
    assert told(facts(again, "replay")) == told(replayed)
    first, second = facts(project, "models", "list"), facts(again, "models", "list")
    assert [one["bundle_digest"] for one in first] == [one["bundle_digest"] for one in second]
    months = [facts(folder, "report")["months"] for folder in (project, again)]
    assert months[0] == months[1]


def test_every_decision_but_a_drill_is_explained_by_its_rules(project: Path, replayed: Any) -> None:
    for one in replayed["decisions"]:
        [explained] = facts(project, "loop", "explain", one["id"])
        if one["action"].get("trigger") == "drill":
            assert explained["why"] is None
            continue
        assert explained["why"]["action"] == one["action"]
        assert [rule["came"] for rule in explained["why"]["rules"]].count("applied") == 1
    day = next(one["day"] for one in replayed["decisions"] if one["action"].get("trigger") in ("decay", "drift"))
    shown = boucle(project, "loop", "explain", day)
    assert "Rules, in their order" in shown.stdout
    assert "nothing would have been done" in shown.stdout
    unknown = boucle(project, "loop", "explain", "2031-01-01")
    assert (unknown.returncode, "no decision '2031-01-01'" in unknown.stderr) == (2, True)


def test_a_simulation_shows_another_policy_beside_what_happened(project: Path, replayed: Any) -> None:
    told = facts(project, "loop", "simulate", "--set", "loop.retrain.cooldown_days=300")
    happened, same, other = told["outcomes"]
    kinds = [one["action"]["action"] for one in replayed["decisions"] if one["action"].get("trigger") != "drill"]
    assert happened["trainings"] == kinds.count("retrain")
    assert (other["trainings"], other["promotions"]) == (0, 0)
    assert same["promotions"] >= 1
    assert min(happened["quality"], same["quality"]) > other["quality"] + 0.1
    shown = boucle(project, "loop", "simulate", "--set", "loop.promote.margin=0.5")
    assert "nothing was trained" in shown.stdout
    wrong = boucle(project, "loop", "simulate", "--set", "loop.retrain.cooldown_days=0")
    assert (wrong.returncode, "cooldown_days" in wrong.stderr) == (2, True)
    for change, named in (
        ("loop.retrain.decay=abc", "loop.retrain.decay"),
        ("loop.retrain.decay=", "loop.retrain.decay"),
        ("loop.rollout={", "loop.rollout"),
        ("loop.promote.review.x=1", "loop.promote.review"),
    ):
        wrong = boucle(project, "loop", "simulate", "--made-up", "--set", change)
        assert (wrong.returncode, named in wrong.stderr) == (2, True), wrong.stderr
        assert "boucle check" not in wrong.stderr
    assert boucle(project, "loop", "simulate", "--set", "replay.first=1").returncode == 2
    assert boucle(project, "loop", "simulate").returncode == 2


def test_made_up_worlds_need_no_history(tmp_path: Path, world: World) -> None:
    told = facts(world(tmp_path), "loop", "simulate", "--made-up", "--set", "loop.retrain.decay=.01")
    now, other = told["outcomes"]
    assert other["trainings"] > now["trainings"]
    assert other["quality"] > now["quality"]


def test_a_second_run_replays_nothing(project: Path, replayed: Any) -> None:
    again = facts(project, "replay")
    assert again["already_complete"]
    assert told(again) == told(replayed)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_replay_that_was_stopped_goes_on_as_if_it_had_not(
    replayed: Any, tmp_path: Path, world: World, how: signal.Signals
) -> None:
    folder = world(tmp_path / "stopped")
    for wanted in ("2024-02-04", "2024-02-14"):
        command = [sys.executable, "-m", "boucle", "--project", str(folder), "replay"]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        _wait_for_day(folder, wanted, process)
        os.kill(process.pid, how)
        assert process.wait(timeout=60) in (-signal.SIGKILL, 130)
    resumed = facts(folder, "replay")
    assert resumed["resumed_after"] >= "2024-02-14"
    assert told(resumed) == told(replayed)
    assert boucle(folder, "audit", "verify").returncode == 0


def _wait_for_day(folder: Path, wanted: str, process: "subprocess.Popen[bytes]") -> None:
    from boucle.kernel.store import Store
    from boucle.loop.store import latest_stream

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / ".boucle" / "boucle.db").exists():
            with Store.open(folder / ".boucle") as store:
                stream = store.read(lambda conn: latest_stream(conn, "orders"))
            if stream is not None and stream.done_through is not None and str(stream.done_through) >= wanted:
                return
    pytest.fail(f"the replay did not reach {wanted}: status {process.poll()}")


def test_a_promotion_that_turns_out_worse_is_rolled_back(tmp_path: Path, misleading: Callable[[Path], Path]) -> None:
    folder = misleading(tmp_path / "orders")
    replayed = facts(folder, "replay")
    assert [kind for _, kind, _, _ in told(replayed)] == ["retrain", "promote", "rollback"]
    assert replayed["in_charge"] == 1
    history = facts(folder, "models", "history")
    assert [move["number"] for move in history] == [1, 1, 2, 1]
    assert "version 1 is better than version 2" in history[-1]["reason"]
    assert facts(folder, "models", "history", "--at", "2024-02-01")["version"] == 2


@pytest.fixture
def short(tmp_path: Path, world: World) -> Path:
    """Four replayed days, one of them without any row."""
    yaml_end = {"last: 2024-03-10": "last: 2024-02-03", "  drills:": "  drills: []"}
    drills = "\n    - {drill: corrupt, first: 2024-02-05, last: 2024-02-06, columns: {z: z + 100}}"
    other = "\n    - {drill: shuffled_labels, on: 2024-02-12}"
    folder = world(tmp_path / "orders", changes=yaml_end | {drills: "", other: ""}, days=34)
    table = pl.read_parquet(folder / "orders.parquet")
    table.filter(pl.col("at").dt.date() != date(2024, 2, 2)).write_parquet(folder / "orders.parquet")
    return folder


def test_a_day_without_rows_is_a_day(short: Path) -> None:
    assert facts(short, "replay")["rows"] == 3 * 60
    report = facts(short, "report")
    assert report["rows"] == 3 * 60
    assert facts(short, "status")["last_day"] == "2024-02-03"


def test_rows_that_were_answered_but_not_logged_stop_the_replay_until_there_is_room(short: Path) -> None:
    log = short / ".boucle" / "serving" / "orders" / "log"
    log.parent.mkdir(parents=True)
    log.write_text("in the way of the log")
    failed = boucle(short, "replay")
    assert failed.returncode == 5, failed.stderr
    assert "the prediction log holds 0 of the 60 rows" in failed.stderr
    log.unlink()
    assert facts(short, "replay")["rows"] == 3 * 60


def test_a_key_that_comes_twice_is_told_before_the_replay(short: Path) -> None:
    table = pl.read_parquet(short / "orders.parquet")
    pl.concat([table, table.tail(5)]).write_parquet(short / "orders.parquet")
    for verb in ("check", "replay"):
        failed = boucle(short, verb)
        assert failed.returncode == 2, failed.stderr
        assert "5 of 185 replayed rows repeat a `id`" in failed.stderr


def test_a_replay_goes_on_with_its_own_champion(tmp_path: Path, world: World) -> None:
    """While it rests, a run with other parameters takes charge; the replay that goes on puts its own version back."""
    folder = world(tmp_path / "orders")
    process = subprocess.Popen(
        [sys.executable, "-m", "boucle", "--project", str(folder), "replay"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _wait_for_day(folder, "2024-02-24", process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    left = facts(folder, "status")["in_charge"]
    text = (folder / "boucle.yaml").read_text()
    (folder / "boucle.yaml").write_text(text.replace("max_iter: 12", "max_iter: 11"))
    other = facts(folder, "run")
    assert other["in_charge"] == other["version"]["number"] != left
    (folder / "boucle.yaml").write_text(text)
    facts(folder, "replay")
    reasons = [move["reason"] for move in facts(folder, "models", "history")]
    assert any(reason.endswith("goes on") for reason in reasons)
