"""What a training program may log, looked at when it says so: wrong input is the programmer's mistake, told at once."""

import operator
import re
from collections.abc import Mapping
from typing import Final, SupportsFloat, SupportsIndex

from boucle.kernel.errors import InvalidInput
from boucle.runs import limits
from boucle.runs.artifact_paths import checked
from boucle.runs.spool.records import ParamValue

LARGEST_STEP: Final = 2**53
MOST_AT_ONCE: Final = 10_000
_NO_TEXT: Final = re.compile("[\0\ud800-\udfff]")
"""What no store keeps in a text: a null character, and half of a surrogate pair."""


def as_metrics(metrics: Mapping[str, SupportsFloat] | str, value: SupportsFloat | None) -> dict[str, SupportsFloat]:
    """What `run.log` was given, as names with values."""
    if isinstance(metrics, str):
        if value is None:
            raise InvalidInput(f"metric {metrics!r} has no value", hint=f'run.log("{metrics}", 0.5, step=1)')
        return {metrics: value}
    if not isinstance(metrics, Mapping):
        raise InvalidInput(
            f"metrics are {metrics!r}; allowed are names with numbers", hint='run.log({"loss": 0.5}, step=1)'
        )
    return dict(metrics)


def checked_step(step: SupportsIndex) -> int:
    """A step as a plain whole number."""
    try:
        number = operator.index(step)
    except TypeError as error:
        raise InvalidInput(f"step is {step!r}; allowed are whole numbers") from error
    if abs(number) > LARGEST_STEP:
        raise InvalidInput(f"step has {number.bit_length()} bits; allowed are -2**53 to 2**53")
    return number


def checked_moment(at_ms: SupportsIndex) -> int:
    """Milliseconds since 1970 as a plain whole number."""
    try:
        number = operator.index(at_ms)
    except TypeError as error:
        raise InvalidInput(f"at_ms is {at_ms!r}; allowed are whole milliseconds since 1970") from error
    if not 0 <= number <= limits.MAX_INT64:
        raise InvalidInput("at_ms is out of range; allowed are milliseconds since 1970, 0 to 2**63 - 1")
    return number


def storable(value: object) -> ParamValue:
    """An argument of a call as a param that a store takes: long texts are cut, what no text holds becomes a `?`.

    >>> storable("a\\0b"), len(str(storable("x" * 7000)))
    ('a?b', 6000)
    """
    plain = _plain(value)
    return _NO_TEXT.sub("?", plain)[: limits.MAX_PARAM] if isinstance(plain, str) else plain


def check_text(what: str, text: str, longest: int) -> None:
    """Raise InvalidInput for text that no store takes."""
    try:
        text.encode()
    except (UnicodeEncodeError, AttributeError) as error:
        raise InvalidInput(f"{what} is {text!r}; allowed is text") from error
    if len(text) > longest or "\0" in text:
        raise InvalidInput(f"{what} is {text[:60]!r}, {len(text)} characters; allowed are {longest}, without NUL")


def check_name(name: str) -> None:
    """Raise InvalidInput for what cannot name a metric, param or tag."""
    if not isinstance(name, str):
        raise InvalidInput(f"{name!r} cannot name anything in a run; allowed is text")
    if not name:
        raise InvalidInput("a name is empty; allowed are letters, digits and _ - . : / and space")
    limits.check_name(name, "name")
    limits.check_text(name, "name")


def checked_params(params: Mapping[str, object]) -> dict[str, ParamValue]:
    """Params as records hold them; other values become text."""
    found: dict[str, ParamValue] = {}
    if not isinstance(params, Mapping):
        raise InvalidInput(f"params are {params!r}; allowed are names with values", hint='run.log_params({"depth": 3})')
    for name, value in params.items():
        check_name(name)
        plain = _plain(value)
        if isinstance(plain, str):
            check_text(f"param {name!r}", plain, limits.MAX_PARAM)
        found[name] = plain
    return found


def _plain(value: object) -> ParamValue:
    """A value as a param; those of NumPy and of classes of one's own as what they stand for."""
    if isinstance(value, bool | None):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else _digits(value)
    if isinstance(value, float):
        return float(value)
    return str.__str__(value) if isinstance(value, str) else str(value)


def _digits(number: int) -> str:
    try:
        return str(int(number))
    except ValueError:  # Python writes no number of so many digits
        return hex(number)


def checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as records hold them."""
    found = {}
    if not isinstance(tags, Mapping):
        raise InvalidInput(f"tags are {tags!r}; allowed are names with texts", hint='run.set_tags({"team": "trees"})')
    for name, value in tags.items():
        check_name(name)
        found[name] = str(value)
        check_text(f"tag {name!r}", found[name], 8000)
    return found


def artifact_name(name: str) -> str:
    """A name of an artifact that stays within the run."""
    if not isinstance(name, str):
        raise InvalidInput(f"artifact name is {name!r}; allowed is text")
    return checked(name)


def seed_facts(seed: object, params: Mapping[str, object]) -> tuple[dict[str, ParamValue], dict[str, str]]:
    """The seed of a run as a param and as a tag.

    >>> seed_facts(7, {"depth": 3})
    ({'seed': 7}, {'boucle.seed': '7'})
    """
    if seed is None:
        return {}, {}
    try:
        number = _plain(operator.index(seed))  # type: ignore[arg-type]  # that is the question
    except TypeError as error:
        raise InvalidInput(f"seed is {seed!r}; allowed are whole numbers") from error
    if params.get("seed", number) != number:
        raise InvalidInput(f"seed is {number}, and params say {params['seed']!r}; say it once")
    return {"seed": number}, {"boucle.seed": str(number)}
