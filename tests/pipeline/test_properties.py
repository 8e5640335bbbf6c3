"""Whatever the graph and the number of threads, a pipeline computes what its steps compute one after the other."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boucle.kernel.digests import digest_bytes
from boucle.kernel.progress import Silent
from boucle.kernel.store import Store
from boucle.pipeline.api import Pipeline, PipelineResult, Step, StepContext, run


def summing(number: int, needs: tuple[str, ...]) -> Callable[[StepContext], int]:
    def step(ctx: StepContext) -> int:
        return number + sum(ctx.value(need, int) for need in needs)

    return step


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """For each step the earlier steps that it needs."""
    size = draw(st.integers(1, 7))
    earlier = [st.sets(st.integers(0, at - 1)) if at else st.just(set[int]()) for at in range(size)]
    return [tuple(sorted(draw(one))) for one in earlier]


def no_store() -> Store:
    raise AssertionError("no step asks for the store")


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(graph=graphs(), threads=st.integers(1, 4), edited=st.integers(0, 6), data=st.data())
def test_any_graph(graph: list[tuple[int, ...]], threads: int, edited: int, data: st.DataObject) -> None:
    numbers = list(range(1, len(graph) + 1))
    order = data.draw(st.permutations(range(len(graph))))

    def execute(home: Path) -> PipelineResult:
        steps: list[Step[object]] = []
        for at in order:
            needs = tuple(f"s{need}" for need in graph[at])
            steps.append(Step(f"s{at}", summing(numbers[at], needs), int, needs=needs))
        return run(
            Pipeline("any", steps),
            home,
            no_store,
            project_root=home,
            environment=digest_bytes(b""),
            progress=Silent(),
            threads=threads,
        )

    def expected() -> list[int]:
        values: list[int] = []
        for at, needs in enumerate(graph):
            values.append(numbers[at] + sum(values[need] for need in needs))
        return values

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        first = execute(home)
        assert [first.value(f"s{at}", int) for at in range(len(graph))] == expected()
        assert [outcome.name for outcome in first.outcomes] == [f"s{at}" for at in order]
        assert execute(home).cached
        changed = edited % len(graph)
        numbers[changed] += 1000
        after = execute(home)
        assert [after.value(f"s{at}", int) for at in range(len(graph))] == expected()
        downstream = {changed}
        for at, needs in enumerate(graph):
            if downstream & set(needs):
                downstream.add(at)
        ran = {at for at in range(len(graph)) if after.outcome(f"s{at}").state == "done"}
        assert ran == downstream
