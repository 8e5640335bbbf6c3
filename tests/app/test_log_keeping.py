"""A server compacts its log by a process beside it; `boucle compact` does it where no server runs."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from boucle.app.commands.gc import collect
from boucle.app.limits import log_of
from boucle.app.log_keeping import keeping_logs
from boucle.app.main import run_command
from boucle.kernel.digests import Digest
from boucle.kernel.errors import InvalidInput
from boucle.kernel.progress import Silent
from boucle.kernel.store import Store
from boucle.serving.api import hold, log_folder, read_frames
from boucle.serving.compaction import compact
from boucle.serving.log_parts import parts, read_bound
from boucle.serving.log_rules import keep_rules, rules_of
from boucle.serving.owner import log_rules
from boucle.serving.prediction_log import PredictionLog
from boucle.serving.records import Deployment, LogSection, PredictionFrame, Traffic
from boucle.serving.traffic import write_traffic


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def fill(home: Path, endpoint: str = "flights") -> Path:
    folder = log_folder(home, endpoint)
    log = PredictionLog(folder, segment_bytes=1000)
    for number in range(50):
        assert log.append(
            PredictionFrame(
                request_id=f"q{number}",
                endpoint=endpoint,
                number=1,
                bundle_digest=Digest("a" * 64),
                served_at=1_772_000_000.0,
                latency_ms=1.0,
                rows=1,
                inputs={"temp": [1.0]},
                outputs={"value": [2.0]},
            )
        )
    log.close()
    return folder


@pytest.mark.slow
def test_the_log_is_compacted_while_it_is_kept(tmp_path: Path) -> None:
    folder = fill(tmp_path)
    deadline = time.monotonic() + 60
    with keeping_logs(tmp_path, lambda: ["flights"], lambda _: LogSection(drop=["temp"]), look_s=0.01):
        while len(list(folder.glob("segment-*.log"))) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    table = pl.read_parquet(parts(folder))
    assert table.height >= 40
    assert "in.temp" not in table.columns


def test_a_log_that_nobody_asks_to_keep_is_left_alone(tmp_path: Path) -> None:
    folder = fill(tmp_path)
    with keeping_logs(tmp_path, lambda: ["flights"], None):
        pass
    assert not parts(folder)


def test_compact_leaves_served_endpoints_to_their_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / ".boucle"
    Store.open(home).close()
    folder = fill(home)
    keep_rules(home, "flights", LogSection())
    words = ["compact", "--home", str(home)]
    with hold(home, "flights"):
        assert run_command(words) == 0
        assert "its server does it" in capsys.readouterr().out
        assert not parts(folder)
    assert run_command([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["compacted"]["flights"]
    assert told["rows"] == pl.read_parquet(parts(folder)).height > 40
    assert run_command(["fsck", "--home", str(home)]) == 0
    assert run_command(["backup", str(tmp_path / "b.tar"), "--home", str(home)]) == 0
    assert run_command(["restore", str(tmp_path / "b.tar"), "--home", str(tmp_path / "again")]) == 0
    assert [one.name for one in parts(log_folder(tmp_path / "again", "flights"))] == [one.name for one in parts(folder)]


@pytest.fixture
def two_projects(tmp_path: Path) -> Path:
    """A home with an endpoint of each of two projects, `a` and `b`; of the second one's log the temperature goes."""
    home = tmp_path / "home"
    with Store.open(home) as store:
        digest = store.blobs.put(b"model")
    for name in ("a", "b"):
        fill(home, name)
        deployment = Deployment(number=1, bundle_digest=digest, path="bundles/none")
        write_traffic(home, Traffic(endpoint=name, generation=1, champion=deployment, project=name))
    keep_rules(home, "b", LogSection(drop=["temp"]))
    return home


@pytest.mark.parametrize("among", ["", "a"], ids=["without a project", "of the other project"])
def test_a_log_is_kept_as_its_own_project_says_from_whatever_folder(
    among: str, two_projects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    if among:
        Path("boucle.yaml").write_text(
            f"project: {among}\ndata: {{source: t.csv, target: y, features: {{numeric: [temp]}}}}\n"
            "serving: {log: {drop: [value]}}\n"
        )
    assert run_command(["compact", "--home", str(two_projects), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["compacted"]) == {"b", *among}
    assert told["unknown"] == ([] if among else ["a"])
    columns = {
        name: pl.read_parquet(found).columns for name in "ab" if (found := parts(log_folder(two_projects, name)))
    }
    assert "in.temp" not in columns["b"]
    assert "out.value" in columns["b"]
    if among:
        assert "out.value" not in columns["a"], "what its own project says now counts, and is said from now on"
        assert rules_of(two_projects, "a") == LogSection(drop=["value"])
    else:
        assert len(list(log_folder(two_projects, "a").glob("segment-*.log"))) > 1


def test_a_server_keeps_each_log_as_its_own_project_says(two_projects: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(two_projects, "c")
    mine = LogSection(redact=["temp"])
    rules = partial(log_rules, two_projects, "a", mine)
    assert [rules(name) for name in "abc"] == [mine, LogSection(drop=["temp"]), None]
    (two_projects / "serving" / "b" / "log.json").write_text("{")
    with keeping_logs(two_projects, lambda: ["b", "c"], rules, look_s=0.01):
        wait_until(lambda: len(caplog.records) >= 2)
    first, second = (one.getMessage() for one in caplog.records)
    assert "log of b is left as it is" in first
    assert "log of c is left as it is: its project has not said" in second
    assert not any(parts(log_folder(two_projects, name)) for name in "bc")


def test_what_one_project_keeps_no_longer_takes_nothing_from_another(two_projects: Path) -> None:
    for name in ("a", "b"):
        compact(two_projects, name, LogSection())
    with Store.open(two_projects) as store:
        collect(store, "a", keep_days=1, delete=True, grace_s=0.0, cache_s=0.0, deleted_days=30, shown=Silent())
    assert not parts(log_folder(two_projects, "a"))
    assert parts(log_folder(two_projects, "b"))


def test_without_polars_the_oldest_segments_go_beyond_the_bound(tmp_path: Path) -> None:
    folder = log_folder(tmp_path, "flights")
    log = PredictionLog(folder, segment_bytes=1_000_000)
    text = "x" * 100_000
    for number in range(40):
        assert log.append(
            PredictionFrame(
                request_id=f"q{number}",
                endpoint="flights",
                number=1,
                bundle_digest=Digest("a" * 64),
                served_at=1_772_000_000.0,
                latency_ms=1.0,
                rows=3,
                inputs={"note": [text] * 3},
                outputs={"value": [2.0] * 3},
            )
        )
    log.close()
    killed = (
        "import os, sys; from pathlib import Path; from boucle.kernel import points\n"
        "from boucle.serving.log_bound import drop_oldest\n"
        "points.listen(lambda point: point == sys.argv[2] and os._exit(9))\n"
        "drop_oldest(Path(sys.argv[1]), 'flights', 2)\n"
        "assert 'polars' not in sys.modules\n"
    )
    ends = [
        subprocess.run([sys.executable, "-c", killed, tmp_path, point], check=False).returncode
        for point in ("log.segment_counted", "log.segment_dropped", "none")
    ]
    assert ends == [9, 9, 0]
    assert sum(file.stat().st_size for file in folder.glob("segment-*.log")) <= 2_000_000
    left = [frame.request_id for frame, _ in read_frames(folder)]
    assert left[-1] == "q39"
    assert read_bound(folder).dropped_rows == 3 * (40 - len(left)) > 0


def test_what_is_kept_of_a_log_is_said_by_an_option() -> None:
    section = log_of(["max_mb=5", "sample=0.5", "redact=a,b"], LogSection(drop=["c"]))
    assert section == LogSection(max_mb=5, sample=0.5, redact=["a", "b"], drop=["c"])
    for wrong in ("max_mb=0", "max_mb=x", "sample=2", "sample=nan", "what=1"):
        with pytest.raises(InvalidInput):
            log_of([wrong])
