"""Steps run when they must, only then, side by side where they can, and values come back as they were."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec import Struct

from boucle.kernel.digests import digest_bytes
from boucle.kernel.errors import Damaged, InvalidInput, NotFound
from boucle.pipeline.api import Step, StepContext

if TYPE_CHECKING:
    from .conftest import Bench, Words

CALLS: Counter[str] = Counter()
MEETING = threading.Barrier(2)


class Table(Struct, frozen=True):
    rows: int


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()
    MEETING.reset()


def data(ctx: StepContext) -> Table:
    CALLS["data"] += 1
    return Table(len((ctx.project_root / "table.csv").read_text().splitlines()) - 1)


def halve(ctx: StepContext) -> int:
    CALLS["halve"] += 1
    (ctx.folder / "half.txt").write_text("half")
    return ctx.value("data", Table).rows // 2


def report(ctx: StepContext) -> str:
    CALLS["report"] += 1
    text = (ctx.folder_of("halve") / "half.txt").read_text()
    return f"{text} is {ctx.value('halve', int)}"


def flow() -> list[Step[object]]:
    return [
        Step("data", data, Table, sources=(Path("table.csv"),)),
        Step("halve", halve, int, needs=("data",)),
        Step("report", report, str, needs=("halve",)),
    ]


def test_a_second_run_takes_what_was_kept(bench: Bench) -> None:
    bench.write("table.csv", "x\n1\n2\n3\n4\n")
    first = bench.run(flow())
    second = bench.run(flow())
    assert bench.states(first) == {"data": "done", "halve": "done", "report": "done"}
    assert bench.states(second) == {"data": "cached", "halve": "cached", "report": "cached"}
    assert second.cached
    assert not first.cached
    assert CALLS == {"data": 1, "halve": 1, "report": 1}
    assert first.value("report", str) == second.value("report", str) == "half is 2"
    assert first.value("data", Table) == Table(4)
    assert [one.key for one in first.outcomes] == [two.key for two in second.outcomes]
    assert not bench.stores, "no step asked for the store, so no database was opened"
    assert not list((bench.home / "cache" / "work").iterdir())
    with pytest.raises(NotFound, match="has no step 'train'; its steps are data, halve, report"):
        first.outcome("train")


def test_force_runs_everything(bench: Bench) -> None:
    bench.write("table.csv", "x\n1\n")
    bench.run(flow())
    assert set(bench.states(bench.run(flow(), force=True)).values()) == {"done"}


def test_an_edited_source_runs_what_depends_on_it(bench: Bench) -> None:
    bench.write("table.csv", "x\n1\n2\n3\n4\n")
    bench.run(flow())
    bench.write("table.csv", "x\n1\n2\n3\n4\n5\n6\n")
    result = bench.run(flow())
    assert set(bench.states(result).values()) == {"done"}
    assert result.value("report", str) == "half is 3"


def test_an_equal_result_stops_the_wave(bench: Bench) -> None:
    bench.write("table.csv", "x\n1\n2\n3\n4\n")
    bench.run(flow())
    bench.write("table.csv", "x\n4\n3\n2\n1\n")
    assert bench.states(bench.run(flow())) == {"data": "done", "halve": "cached", "report": "cached"}


def test_another_environment_runs_everything(bench: Bench) -> None:
    bench.write("table.csv", "x\n1\n")
    bench.run(flow())
    bench.environment = digest_bytes(b"python 4")
    assert set(bench.states(bench.run(flow())).values()) == {"done"}


def test_editing_a_helper_two_imports_away_runs_the_step_again(bench: Bench) -> None:
    bench.write("steps.py", "from features import compute\n\ndef features(ctx):\n    return compute()\n")
    bench.write("features.py", "def compute():\n    from cleaning import units\n    return units.SCALE * 2\n")
    bench.write("cleaning/__init__.py", "")
    bench.write("cleaning/units.py", "SCALE = 10\n")
    bench.write("unrelated.py", "SCALE = 10\n")

    def steps() -> list[Step[object]]:
        return [Step("features", bench.load("steps").features, int)]

    assert bench.run(steps()).value("features", int) == 20
    bench.write("unrelated.py", "SCALE = 11\n")
    assert bench.run(steps()).cached
    bench.write("cleaning/units.py", "SCALE = 11\n")
    changed = bench.run(steps())
    assert bench.states(changed) == {"features": "done"}
    assert changed.value("features", int) == 22
    bench.write("cleaning/units.py", "SCALE = 10\n")
    back = bench.run(steps())
    assert back.cached, "the first result was never thrown away"
    assert back.value("features", int) == 20


def left(ctx: StepContext) -> str:
    MEETING.wait(timeout=30)
    return ctx.name


def right(ctx: StepContext) -> str:
    MEETING.wait(timeout=30)
    return ctx.name


def join(ctx: StepContext) -> list[str]:
    return [ctx.value("left", str), ctx.value("right", str)]


def diamond() -> list[Step[object]]:
    return [Step("join", join, list[str], needs=("left", "right")), Step("left", left, str), Step("right", right, str)]


def test_independent_steps_overlap(bench: Bench) -> None:
    # Each waits until the other has begun: one after the other, both would fail.
    result = bench.run(diamond(), threads=2)
    assert result.value("join", list[str]) == ["left", "right"]
    assert [outcome.name for outcome in result.outcomes] == ["join", "left", "right"]


def count_running(_: StepContext) -> int:
    CALLS["running"] += 1
    most = CALLS["running"]
    CALLS["running"] -= 1
    return most


def test_one_thread_runs_one_step_at_a_time(bench: Bench) -> None:
    steps: list[Step[object]] = [Step(f"s{number}", count_running, int) for number in range(5)]
    result = bench.run(steps, threads=1)
    assert [result.value(step.name, int) for step in steps] == [1] * 5
    with pytest.raises(InvalidInput, match="0 threads were asked for"):
        bench.run(steps, threads=0)


def use_store(ctx: StepContext) -> str:
    CALLS["use_store"] += 1
    return ctx.store.blobs.put(b"in the store")


def test_the_store_is_opened_once_and_only_if_needed(bench: Bench) -> None:
    steps: list[Step[object]] = [Step("a", use_store, str), Step("b", use_store, str)]
    bench.run(steps)
    assert len(bench.stores) == 1
    assert bench.run(steps).cached
    assert len(bench.stores) == 1
    bench.stores[0].close()
    for file in bench.home.glob("boucle.db*"):
        file.unlink()
    with pytest.raises(Damaged, match="what a step gave that wrote to it"):
        bench.run(steps)
    assert not (bench.home / "boucle.db").exists(), "what both had written is gone, and no new database hides that"


def nan(_: StepContext) -> float:
    return float("nan")


def wrong_type(_: StepContext) -> object:
    return (1, 2)


def unwritable(_: StepContext) -> object:
    return object()


@pytest.mark.parametrize(
    ("function", "returns", "message"),
    [
        (nan, float, "does not fit its `returns`"),
        (nan, object, "does not come back equal"),
        (wrong_type, list[int], "does not come back equal"),
        (wrong_type, str, "does not fit its `returns`: Expected `str`, got `array`"),
        (unwritable, object, "does not fit its `returns`"),
    ],
)
def test_a_value_that_would_change_in_the_cache_is_refused(
    bench: Bench, function: Callable[[StepContext], object], returns: type[object], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        bench.run([Step("odd", function, returns)])
    assert not list((bench.home / "cache").glob("*.json"))


def ask_stranger(ctx: StepContext) -> int:
    return ctx.value("data", int)


def ask_no_files(ctx: StepContext) -> None:
    ctx.folder_of("data")


def ask_params(ctx: StepContext) -> int:
    return ctx.params_as(Table).rows


def test_a_step_sees_only_what_it_declares(bench: Bench) -> None:
    bench.write("table.csv", "x\n")
    source: Step[object] = Step("data", data, Table, sources=(Path("table.csv"),))
    with pytest.raises(InvalidInput, match=r"asks for step 'data', which is not among its needs \(none\)"):
        bench.run([source, Step("odd", ask_stranger, int)])
    with pytest.raises(InvalidInput, match="asks for the files of step 'data', which wrote none"):
        bench.run([source, Step("odd", ask_no_files, type(None), needs=("data",))])
    with pytest.raises(InvalidInput, match="has params of type dict; its function expects Table"):
        bench.run([Step("odd", ask_params, int, params={"rows": 1})])
    assert bench.run([Step("fine", ask_params, int, params=Table(3))]).value("fine", int) == 3


def test_a_broken_manifest_runs_the_step_again(bench: Bench) -> None:
    bench.write("table.csv", "x\n1\n2\n")
    first = bench.run(flow())
    file = bench.home / "cache" / f"{first.outcome('halve').key}.json"
    file.write_bytes(file.read_bytes()[:-10])
    assert bench.states(bench.run(flow())) == {"data": "cached", "halve": "done", "report": "cached"}
    assert bench.run(flow()).cached


def test_lost_files_of_a_step_are_made_again(bench: Bench) -> None:
    bench.write("table.csv", "x\n1\n2\n")
    bench.run(flow())
    (bench.home / "blobs" / digest_bytes(b"half")[:2] / digest_bytes(b"half")).unlink()
    assert bench.states(bench.run(flow())) == {"data": "cached", "halve": "done", "report": "cached"}


def edit_own_source(ctx: StepContext) -> int:
    path = ctx.project_root / "table.csv"
    rows = len(path.read_text().splitlines())
    path.write_text("x\n1\n2\n3\n")
    return rows


def test_a_source_that_changes_under_a_step_is_not_kept(bench: Bench, words: Words) -> None:
    bench.write("table.csv", "x\n")
    steps: list[Step[object]] = [Step("data", edit_own_source, int, sources=(Path("table.csv"),))]
    assert bench.run(steps, progress=words).value("data", int) == 1
    assert "code or data of step 'data' changed while it ran; it will run again next time" in words.said
    bench.write("table.csv", "x\n")
    assert not bench.run(steps).cached


def break_own_source(ctx: StepContext) -> int:
    (ctx.project_root / "table.py").write_text("def (\n")
    return 1


def test_a_source_that_breaks_under_a_step_does_not_lose_the_result(bench: Bench, words: Words) -> None:
    bench.write("table.py", "")
    steps: list[Step[object]] = [Step("data", break_own_source, int, sources=(Path("table.py"),))]
    assert bench.run(steps, progress=words).value("data", int) == 1
    with pytest.raises(InvalidInput, match=r"table\.py:1 is no valid Python"):
        bench.run(steps)


def test_progress_counts_steps(bench: Bench, words: Words) -> None:
    bench.write("table.csv", "x\n1\n2\n")
    bench.run(flow()[:1], progress=words)
    bench.run(flow(), progress=words)
    assert words.said == ["test 1", "test 3"]
    assert words.notes == ["data", "data (cached)", "halve", "report"]


def test_the_pipeline_loads_no_heavy_package() -> None:
    heavy = "numpy polars pyarrow sklearn sqlalchemy alembic optuna altair"
    code = f"import sys, boucle.pipeline.api; print(*(set({heavy.split()}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "\n"
