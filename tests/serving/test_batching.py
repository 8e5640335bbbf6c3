"""Alone at once, together under load, never beyond what is allowed."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from boucle.kernel.errors import Busy, Late, Unavailable
from boucle.serving.batching import Batcher, Limits, Matrix, Outputs

Timer = Callable[[], float]


class Model:
    """Doubles its rows, notes its batches, and takes as long as it is told, by the clock that it moves."""

    def __init__(self, row_s: float = 0.0) -> None:
        self.batches: list[int] = []
        self.row_s = row_s
        self.now = 100.0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, matrix: Matrix) -> Outputs:
        assert self.gate.wait(10)
        self.batches.append(len(matrix))
        self.now += self.row_s * len(matrix)
        return {"twice": matrix[:, 0] * 2, "name": [f"row {value:g}" for value in matrix[:, 0]]}

    def timer(self) -> float:
        return self.now


def batcher(model: Model, **limits: Any) -> Batcher:
    return Batcher(Limits(**limits), timer=model.timer)


async def answer(made: Batcher, model: Model, *values: float, deadline: float | None = None, alone: bool = True) -> Any:
    block = [values[0]] if len(values) == 1 else np.array([[value] for value in values])
    outputs = made.asked(model, block, len(values), deadline, alone=alone)
    return outputs if isinstance(outputs, dict) else await outputs


def test_who_comes_alone_is_answered_at_once() -> None:
    model = Model()
    made = batcher(model)
    outputs = made.asked(model, [3.0], 1)  # no loop runs: nothing waits for one
    assert isinstance(outputs, dict)
    assert outputs["twice"].tolist() == [6.0]  # type: ignore[union-attr]


def test_while_others_are_on_their_way_questions_are_gathered() -> None:
    model = Model()
    made = batcher(model)

    async def ask() -> list[Any]:
        blocks = ([1.0], [2.0, 3.0], [4.0], [5.0])
        return await asyncio.gather(*(answer(made, model, *one, alone=False) for one in blocks))

    found = asyncio.run(ask())
    assert model.batches == [5]
    assert [outputs["twice"].tolist() for outputs in found] == [[2.0], [4.0, 6.0], [8.0], [10.0]]
    assert [outputs["name"] for outputs in found] == [["row 1"], ["row 2", "row 3"], ["row 4"], ["row 5"]]


def test_what_comes_while_the_model_computes_is_the_next_batch() -> None:
    model = Model(row_s=0.002)
    made = batcher(model, budget_s=1.0, patience_s=10.0)

    async def ask() -> None:
        await answer(made, model, 0.0)  # now it is known how long a row takes: too long for the loop
        model.gate.clear()
        first = asyncio.ensure_future(answer(made, model, 1.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        later = [asyncio.ensure_future(answer(made, model, float(value))) for value in range(2, 9)]
        await asyncio.sleep(0)
        assert made.waiting_rows == 8
        model.gate.set()
        await asyncio.gather(first, *later)

    asyncio.run(ask())
    assert model.batches == [1, 1, 7]


def test_a_batch_is_bounded_by_rows_and_by_work() -> None:
    for limits, expected in (({"max_rows": 3}, [1, 3, 3, 1]), ({"budget_s": 0.008, "patience_s": 9.0}, [1, 4, 3])):
        model = Model(row_s=0.002)
        made = batcher(model, **limits)

        async def ask(made: Batcher = made, model: Model = model) -> None:
            await answer(made, model, 0.0)
            await asyncio.gather(*(answer(made, model, float(value), alone=False) for value in range(7)))

        asyncio.run(ask())
        assert model.batches == expected


def test_who_would_wait_too_long_is_turned_away_and_told_when_to_come_again() -> None:
    model = Model(row_s=0.5)
    made = batcher(model, patience_s=1.0)

    async def ask() -> None:
        await answer(made, model, 0.0)
        model.gate.clear()
        taken = [asyncio.ensure_future(answer(made, model, float(value))) for value in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match=r"3 rows wait already, about 1.5 s of work; allowed are 1 s") as told:
            await answer(made, model, 9.0)
        assert told.value.retry_after_s == pytest.approx(1.5)
        model.gate.set()
        await asyncio.gather(*taken)
        await answer(made, model, 9.0)

    asyncio.run(ask())


def test_a_question_is_not_computed_past_its_deadline() -> None:
    model = Model(row_s=0.5)
    made = batcher(model, patience_s=100.0, budget_s=0.5)

    async def ask() -> None:
        await answer(made, model, 0.0)
        with pytest.raises(Late, match="would be over before"):
            await answer(made, model, 1.0, deadline=model.now - 0.1)
        model.gate.clear()
        first = asyncio.ensure_future(answer(made, model, 2.0))
        await asyncio.sleep(0)
        model.row_s = 5.0  # it takes longer than it did
        late = asyncio.ensure_future(answer(made, model, 3.0, deadline=model.now + 2.0))
        await asyncio.sleep(0)
        model.gate.set()
        await first
        with pytest.raises(Late, match="was over before"):
            await late

    asyncio.run(ask())
    assert model.batches == [1, 1]


@pytest.mark.slow
def test_a_deadline_ends_the_wait_while_the_model_is_busy_and_frees_the_place() -> None:
    model = Model(row_s=0.5)
    made = batcher(model, patience_s=100.0, max_waiting=1)

    async def ask() -> None:
        await answer(made, model, 0.0)
        model.gate.clear()
        first = asyncio.ensure_future(answer(made, model, 1.0, deadline=model.now + 0.6))
        await asyncio.sleep(0)
        waits = asyncio.ensure_future(answer(made, model, 2.0, 3.0, deadline=model.now + 2.0 + 0.01))
        await asyncio.sleep(0)
        assert made.waiting_rows == 3
        with pytest.raises(Busy):
            await answer(made, model, 4.0)
        for late in (first, waits):  # the gate stays closed
            with pytest.raises(Late, match="was over before"):
                await late
        assert made.waiting_rows == 1  # the one that the model is at
        last = asyncio.ensure_future(answer(made, model, 5.0))
        await asyncio.sleep(0)
        model.gate.set()
        assert (await last)["twice"].tolist() == [10.0]

    asyncio.run(ask())
    assert model.batches == [1, 1, 1]


def test_a_model_that_fails_fails_its_batch_and_no_other() -> None:
    model = Model()
    made = batcher(model)

    def broken(_: Matrix) -> Outputs:
        raise ValueError("broken")

    async def ask() -> None:
        futures = [made.asked(broken, [value], 1, alone=False) for value in (1.0, 2.0)]
        for future in futures:
            with pytest.raises(ValueError, match="broken"):
                await future  # type: ignore[misc]
        assert (await answer(made, model, 1.0))["twice"].tolist() == [2.0]

    asyncio.run(ask())


def test_ending_turns_away_who_still_waits() -> None:
    model = Model()
    made = batcher(model)

    async def ask() -> None:
        future = made.asked(model, [1.0], 1, alone=False)
        made.close()
        with pytest.raises(Unavailable, match="the server ends"):
            await future  # type: ignore[misc]

    asyncio.run(ask())


def test_columns_are_asked_alone_and_in_the_thread() -> None:
    asked: list[tuple[dict[str, Any], str]] = []

    def model(columns: dict[str, Any]) -> Outputs:
        asked.append((columns, threading.current_thread().name.partition("_")[0]))
        return {"twice": np.array(columns["a"]) * 2}

    made = Batcher(Limits(max_questions=1, inline_s=-1.0))
    questions = [{"a": [1.0]}, {"a": []}, {"a": [3.0, 4.0]}]

    async def ask() -> Any:
        futures = [made.asked(model, one, len(one["a"])) for one in questions]
        assert all(isinstance(one, asyncio.Future) for one in futures)
        return await asyncio.gather(*futures)  # type: ignore[arg-type] # they are

    found = asyncio.run(ask())
    assert asked == [(one, "model") for one in questions]
    assert [outputs["twice"].tolist() for outputs in found] == [[2.0], [], [6.0, 8.0]]
