"""A pipeline: steps that form a graph without cycles."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import Final

from boucle.kernel.errors import InvalidInput
from boucle.pipeline.step import Step

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")


class Pipeline:
    """Named steps, checked when it is made: names are unique, needs are known, nothing needs itself.

    `command` is what a user types to run it (again).
    """

    def __init__(self, name: str, steps: Sequence[Step[object]], *, command: str = "boucle run") -> None:
        self.name = name
        self.command = command
        self.steps = {step.name: step for step in steps}
        _check_names(name, [step.name for step in steps])
        _check_needs(self.steps)

    def sorter(self) -> TopologicalSorter[str]:
        """A prepared sorter over the steps' names."""
        sorter = TopologicalSorter({step.name: step.needs for step in self.steps.values()})
        sorter.prepare()
        return sorter


def _check_names(pipeline: str, names: list[str]) -> None:
    for name in names:
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                f"{name!r} cannot name a step of pipeline {pipeline!r}; allowed are lower-case letters, digits, '-' "
                "and '_', a letter first, at most 63"
            )
        if names.count(name) > 1:
            raise InvalidInput(
                f"pipeline {pipeline!r} has {names.count(name)} steps named {name!r}; names must be unique"
            )


def _check_needs(steps: dict[str, Step[object]]) -> None:
    for step in steps.values():
        for need in step.needs:
            if need not in steps:
                near = get_close_matches(need, steps, n=1)
                raise InvalidInput(
                    f"step {step.name!r} needs {need!r}, which is no step; the steps are {', '.join(steps)}",
                    hint=f"did you mean {near[0]!r}?" if near else None,
                )
    try:
        TopologicalSorter({step.name: step.needs for step in steps.values()}).prepare()
    except CycleError as error:
        cycle = " -> ".join(reversed(error.args[1]))
        raise InvalidInput(
            f"the steps {cycle} need each other in a circle; a step may need only earlier ones"
        ) from None
