"""What two servers answered, call by call, and the list of differences that are meant."""

import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

LISTED = Path(__file__).with_name("differences.toml")


class Difference(NamedTuple):
    """One place where the answers differ: `scene/step`, the path within the answer, both values."""

    call: str
    at: str
    mlflow: Any
    boucle: Any


class Meant(NamedTuple):
    """A difference that is meant: patterns of the call and of the place, and why."""

    call: str
    at: str
    reason: str

    def covers(self, found: Difference) -> bool:
        """Whether this is the place."""
        return _matches(found.call, self.call) and _matches(found.at, self.at)


class Missing:
    """Stands where one of the two has nothing."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING = Missing()


def meant() -> list[Meant]:
    """The listed differences."""
    kept = tomllib.loads(LISTED.read_text())["difference"]
    return [
        Meant(call, one.get("at", "*"), one["reason"])
        for one in kept
        for call in ([one["call"]] if isinstance(one["call"], str) else one["call"])
    ]


def differences(mlflow: dict[str, dict[str, Any]], boucle: dict[str, dict[str, Any]]) -> Iterator[Difference]:
    """Every difference of two `{scene: {step: answer}}`, in MLflow's order."""
    for scene, steps in mlflow.items():
        ours = boucle.get(scene, {})
        for step in [*steps, *(step for step in ours if step not in steps)]:
            for at, left, right in _leaves("", steps.get(step, NOTHING), ours.get(step, NOTHING)):
                yield Difference(f"{scene}/{step}", at, left, right)


def told(found: Difference) -> str:
    """A difference as one line."""
    return f"{found.call} {found.at or '.'}: mlflow {_short(found.mlflow)} | boucle {_short(found.boucle)}"


def _leaves(path: str, left: Any, right: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(left, dict) and isinstance(right, dict):
        for key in [*left, *(key for key in right if key not in left)]:
            yield from _leaves(f"{path}.{key}", left.get(key, NOTHING), right.get(key, NOTHING))
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for number, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from _leaves(f"{path}.{number}", one, other)
    elif type(left) is not type(right) or left != right:
        yield path, left, right


def _matches(text: str, pattern: str) -> bool:
    # Only `*` is special: names of calls are full of brackets and question marks.
    return fnmatchcase(text, pattern.replace("[", "[[]").replace("?", "[?]"))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:157]}..."
