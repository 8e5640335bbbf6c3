"""Five steps that do nothing."""

from itertools import pairwise

from kedro.pipeline import Pipeline, node


def begin() -> int:
    return 0


def nothing(before: int) -> int:
    return before


def register_pipelines() -> dict[str, Pipeline]:
    names = ["one", "two", "three", "four", "five"]
    later = [node(nothing, before, name, name=name) for before, name in pairwise(names)]
    return {"__default__": Pipeline([node(begin, None, "one", name="one"), *later])}
