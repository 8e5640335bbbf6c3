"""A pipeline that cannot work is refused when it is made, with the reason."""

from itertools import pairwise

import pytest

from boucle.kernel.errors import InvalidInput
from boucle.pipeline.api import Pipeline, Step, StepContext


def nothing(_: StepContext) -> None:
    return None


def step(name: str, *needs: str) -> Step[object]:
    return Step(name, nothing, type(None), needs=needs)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([step("a"), step("a")], "has 2 steps named 'a'"),
        ([step("data"), step("train", "dta")], "step 'train' needs 'dta', which is no step; the steps are data, train"),
        ([step("a", "b"), step("b", "c"), step("c", "a")], "need each other in a circle"),
        ([step("a", "a")], "the steps a -> a need each other"),
        ([step("../a")], "'../a' cannot name a step"),
    ],
)
def test_a_graph_that_cannot_work(steps: list[Step[object]], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Pipeline("test", steps)


def test_a_circle_is_told_in_the_order_of_needs() -> None:
    with pytest.raises(InvalidInput) as caught:
        Pipeline("test", [step("a", "b"), step("b", "c"), step("c", "a")])
    circle = caught.value.message.removeprefix("the steps ").partition(" need")[0].split(" -> ")
    needs = {"a": "b", "b": "c", "c": "a"}
    assert all(needs[one] == other for one, other in pairwise(circle))


def test_the_nearest_name_is_meant() -> None:
    with pytest.raises(InvalidInput) as caught:
        Pipeline("test", [step("data"), step("train", "dta")])
    assert caught.value.hint == "did you mean 'data'?"
