"""Which columns of an unknown table give the target away, and the limit that a leakage check can have."""

import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from boucle.data.leakage import copies, find_leaks
from boucle.data.proposal import Proposal
from boucle.data.records import Features, Task
from boucle.data.schema import as_text, counted

LEAK = 0.995
"""Score from which a column is taken for the answer itself, written down in other words."""
SUSPECT = 0.9
"""Score from which a person should ask when a column becomes known."""
_STEPS = (0.85, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
_ADDED = 0.05
"""What a column that only gives away together with others must add to them."""
_CLASSES = 5
_FEW_VALUES = 50


class LeakFacts(Struct, frozen=True, kw_only=True):
    """What every feature alone knows of the target, and what follows from it."""

    leaks: dict[str, str]
    """Columns that give the target away, each with the reason in words."""
    suspects: dict[str, str]
    """Columns that know much; a person decides."""
    at_most: float | None
    """The limit for a leakage check without the leaks; None if the others part a class perfectly, too."""


def look_for_leaks(table: pl.DataFrame, features: Features, target: str, task: Task, *, time: str | None) -> LeakFacts:
    """Look at a normalised table whose target is in every row.

    Where many columns know the answer it is an easy question, not a leak: a quarter of the features at most, or three,
    are taken for leaks. An exact copy of the target always is.
    """
    names = [*features.categorical, *features.numeric]
    many, score = task == "multiclass", "rank correlation" if task == "regression" else "AUC"
    copied = {name for name, _ in copies(table, names, [target], target)}
    alone = _alone_of_every_class(table, features, target) if many else _alone(table, features, target, task)
    strong = {name for name, value in alone.items() if value > LEAK}
    if len(strong - copied) > max(3, len(names) // 4):
        strong = set()
    leaks = {name: "the target in other words" for name in names if name in copied}
    leaks |= {name: f"tells the target alone: {score} {alone[name]:.3f}" for name in names if name in strong - copied}
    rest = _without(features, leaks)
    if not many:
        for leak in find_leaks(table, rest, target, task=task, time=time, at_most=LEAK):
            if leak.together is not None and leak.without is not None and leak.together - leak.without > _ADDED:
                leaks[leak.column] = (
                    f"tells the target beside the others: {score} {leak.together:.3f}, {leak.without:.3f} without it"
                )
        rest = _without(features, leaks)
    suspects = {
        name: f"knows much alone: {score} {alone[name]:.3f}"
        for name in names
        if name not in leaks and alone.get(name, 0) > SUSPECT
    }
    return LeakFacts(leaks=leaks, suspects=suspects, at_most=_limit(table, rest, target, task, time))


def mark_leaks(proposals: list[Proposal], found: LeakFacts) -> list[Proposal]:
    """The proposals with what was found: leaks become `known_later`, suspects stay and are loud."""

    def marked(one: Proposal) -> Proposal:
        name = one.column.name
        if name in found.leaks:
            return replace(one, role="known_later", why=found.leaks[name], loud=True)
        if name in found.suspects:
            return replace(one, why=found.suspects[name], loud=True)
        return one

    return [marked(one) for one in proposals]


def _without(features: Features, leaks: dict[str, str]) -> Features:
    return Features(
        numeric=[name for name in features.numeric if name not in leaks],
        categorical=[name for name in features.categorical if name not in leaks],
    )


def _alone(table: pl.DataFrame, features: Features, target: str, task: Task) -> dict[str, float]:
    # Below every score each feature is a leak by itself, and no joint model is fitted.
    found = find_leaks(table, features, target, task=task, time=None, at_most=-1)
    return {leak.column: leak.alone for leak in found if leak.alone is not None}


def _alone_of_every_class(table: pl.DataFrame, features: Features, target: str) -> dict[str, float]:
    """What a column tells of the class that it knows least of: many a measure parts one class from the rest."""
    few = [name for name in features.numeric if table[name].n_unique() <= _FEW_VALUES]
    asked = Features(
        categorical=[*features.categorical, *few], numeric=[name for name in features.numeric if name not in few]
    )
    table = table.with_columns(as_text(table[name]).alias(name) for name in few)
    classes = counted(table[target]).sort("n", descending=True, maintain_order=True)["value"].head(_CLASSES)
    scores = [_alone(table.with_columns(table[target] == one), asked, target, "binary") for one in classes]
    return {name: min(one.get(name, 0.0) for one in scores) for name in (*asked.categorical, *asked.numeric)}


def _limit(table: pl.DataFrame, features: Features, target: str, task: Task, time: str | None) -> float | None:
    highest = max(_alone(table, features, target, task).values(), default=0.0)
    for step in _STEPS:
        if highest < step - 0.002 and not find_leaks(table, features, target, task=task, time=time, at_most=step):
            return step
    return None
