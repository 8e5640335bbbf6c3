"""What is logged to a run in one request: metrics, params and tags, checked before anything is written."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec import Struct, field

from boucle.kernel.errors import InvalidInput
from boucle.runs.limits import (
    MAX_INT64,
    MAX_NAME,
    MAX_PARAM,
    MAX_TAG,
    MIN_INT64,
    check_length,
    check_moment,
    check_name,
    check_step,
    check_text,
    check_title,
    cut,
)
from boucle.runs.records import RunId

NAME_TAG: Final = "mlflow.runName"
"""The tag that is the run's name: whoever sets one sets the other."""


class Point(NamedTuple):
    """One value of a metric, as it is stored: a NaN has the value 0 and says so."""

    name: str
    step: int
    at_ms: int
    value: float
    is_nan: bool


class ModelPoint(NamedTuple):
    """One value of a metric of a logged model."""

    model_id: str
    point: Point
    dataset_name: str | None
    dataset_fingerprint: str | None


class Batch(Struct, frozen=True, kw_only=True):
    """What goes to one run, all of it or nothing."""

    project_id: str
    run_id: RunId
    points: list[Point] = field(default_factory=list)
    params: list[tuple[str, str, str]] = field(default_factory=list)
    """Name, text, kind (`run_params.kind`)."""
    tags: list[tuple[str, str]] = field(default_factory=list)
    model_points: list[ModelPoint] = field(default_factory=list)


_known: Final[set[str]] = set()
"""Names that were found good: the same few come again and again, and a look is cheaper than a pattern."""
_MOST_KNOWN: Final = 100_000


def good_name(name: str, where: str) -> None:
    """`check_name`, which is not asked twice for one name."""
    if name in _known:
        return
    check_name(name, where)
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    _known.add(name)


def point(name: str, value: float, step: int, at_ms: int, where: str = "") -> Point:
    """A point of a metric; InvalidInput if its name or one of its numbers is not allowed.

    >>> point("loss", float("nan"), 3, 1000)
    Point(name='loss', step=3, at_ms=1000, value=0.0, is_nan=True)
    """
    if name not in _known:
        good_name(name, f"{where}key")
    if not (0 <= at_ms <= MAX_INT64 and MIN_INT64 <= step <= MAX_INT64):
        check_moment(at_ms, f"{where}timestamp")
        check_step(step, f"{where}step")
    if value != value:  # NaN; `math.isnan` costs more, and this runs for every point
        return Point(name, step, at_ms, 0.0, True)
    return Point(name, step, at_ms, value, False)


def param(name: str, value: str, where: str = "") -> tuple[str, str, str]:
    """A param that came as text; a long one is cut off."""
    good_name(name, f"{where}key")
    check_text(value, f"{where}value")
    return name, cut(value, MAX_PARAM), "s"


def tag(name: str, value: str, where: str = "") -> tuple[str, str]:
    """A tag; a long value is cut off, but that of a run's name is refused."""
    good_name(name, f"{where}key")
    check_text(value, f"{where}value")
    if name == NAME_TAG:
        check_length(value, MAX_NAME, f"{where}value")
        check_title(value, f"{where}value")
    return name, cut(value, MAX_TAG)


def check_unique(params: Sequence[tuple[str, str, str]]) -> None:
    """Raise InvalidInput if a batch gives one param twice."""
    names = [name for name, _, _ in params]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InvalidInput(
            f"Duplicate parameter keys have been submitted: {twice[:10]}; a request gives each param one value"
        )
