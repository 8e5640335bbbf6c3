"""A failing step tells what was wrong, what is kept, and the command that goes on."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from boucle.kernel.errors import BoucleError, InvalidInput, Refused
from boucle.pipeline.api import Step, StepContext

if TYPE_CHECKING:
    from .conftest import Bench

CALLS: Counter[str] = Counter()
MEETING = threading.Barrier(2)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()
    MEETING.reset()


def data(_: StepContext) -> int:
    CALLS["data"] += 1
    return 4


def report(ctx: StepContext) -> str:
    CALLS["report"] += 1
    return f"{ctx.value('data', int)} rows"


def flow() -> list[Step[object]]:
    return [Step("data", data, int), Step("report", report, str, needs=("data",))]


def refuse(_: StepContext) -> None:
    raise Refused("auc_roc is 0.51, at least 0.62 is required", hint="add features", details={"auc_roc": 0.51})


def never(_: StepContext) -> None:
    CALLS["never"] += 1


def test_a_failed_step_tells_what_is_kept_and_how_to_go_on(bench: Bench) -> None:
    steps: list[Step[object]] = [
        *flow(),
        Step("gate", refuse, type(None), needs=("report",)),
        Step("register", never, type(None), needs=("gate",)),
    ]
    with pytest.raises(Refused) as caught:
        bench.run(steps)
    error = caught.value
    assert error.message == (
        "step 'gate' failed: auc_roc is 0.51, at least 0.62 is required. Done and kept: data, report. "
        "Not run: register."
    )
    assert error.hint == "add features; then `boucle run` goes on with step 'gate'"
    assert error.details["auc_roc"] == 0.51
    assert error.details["step"] == "gate"
    assert [step["state"] for step in error.details["steps"]] == ["done", "done", "failed", "skipped"]  # type: ignore[attr-defined]
    with pytest.raises(Refused, match="Done and kept: data, report"):
        bench.run(steps)
    assert CALLS == {"data": 1, "report": 1}


def test_errors_with_their_own_fields_keep_them(bench: Bench) -> None:
    with pytest.raises(InvalidInput) as caught:
        bench.run([Step("odd", raise_odd, type(None))])
    assert type(caught.value).__name__ == "OddError"
    assert getattr(caught.value, "column", None) == "temp"
    assert str(caught.value) == caught.value.message


class OddError(InvalidInput):
    def __init__(self, column: str) -> None:
        super().__init__(f"column {column!r} is odd", hint="run `boucle run --force`")
        self.column = column


def raise_odd(_: StepContext) -> None:
    raise OddError("temp")


def test_an_error_in_the_users_code_names_its_line(bench: Bench) -> None:
    bench.write("table.py", "def load(ctx):\n    rows = [1, 2]\n    return sorted(rows, key=lambda row: 1 / 0)\n")
    with pytest.raises(InvalidInput) as caught:
        bench.run([Step("data", bench.load("table").load, list)])
    assert "step 'data' failed: table.py:3 raised ZeroDivisionError: division by zero." in caught.value.message
    assert caught.value.hint == "correct table.py:3; then `boucle run` goes on with step 'data'"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def broken(_: StepContext) -> None:
    raise LookupError


def test_an_error_that_nobody_foresaw_is_internal(bench: Bench) -> None:
    with pytest.raises(BoucleError) as caught:
        bench.run([Step("train", broken, type(None))])
    assert type(caught.value) is BoucleError
    assert caught.value.message.startswith("step 'train' failed: LookupError (in test_failures.py:")
    assert caught.value.message.endswith("No step was done before it.")


def leave(_: StepContext) -> None:
    sys.exit(3)


def test_a_step_that_exits_fails_as_others_do(bench: Bench) -> None:
    with pytest.raises(BoucleError, match="step 'train' failed: SystemExit: 3"):
        bench.run([Step("train", leave, type(None))])


def meet_then_fail(_: StepContext) -> None:
    MEETING.wait(timeout=30)
    raise Refused("no")


def meet_then_work(_: StepContext) -> int:
    MEETING.wait(timeout=30)
    return 7


def test_steps_that_run_beside_a_failing_one_are_kept(bench: Bench) -> None:
    steps: list[Step[object]] = [
        Step("bad", meet_then_fail, type(None)),
        Step("good", meet_then_work, int),
        Step("later", never, type(None), needs=("good",)),
    ]
    with pytest.raises(Refused, match=r"Done and kept: good\. Not run: later\."):
        bench.run(steps)
    assert not CALLS["never"]
    assert bench.run([steps[1]]).cached


def test_two_failures_are_both_told(bench: Bench) -> None:
    steps: list[Step[object]] = [Step("a", meet_then_fail, type(None)), Step("b", meet_then_fail, type(None))]
    with pytest.raises(Refused, match=r"step '[ab]' failed: no\. Step '[ab]' failed as well: no\. No step was done"):
        bench.run(steps)
