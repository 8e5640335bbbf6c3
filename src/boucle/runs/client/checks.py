"""What a training program may log, looked at when it says so: wrong input is the programmer's mistake, told at once."""

import operator
import re
from collections.abc import Mapping
from typing import Final, SupportsFloat, SupportsIndex

from boucle.kernel.errors import InvalidInput
from boucle.runs import limits
from boucle.runs.spool.records import ParamValue

LARGEST_STEP: Final = 2**53
MOST_AT_ONCE: Final = 10_000
_BAD_PATH: Final = re.compile(r"[\0-\x1f\x7f\\]")


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
        raise InvalidInput(f"step is {number}; allowed are -2**53 to 2**53")
    return number


def shortened(params: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
    """Params whose texts are cut to what a store takes."""
    return {name: value[:500] if isinstance(value, str) else value for name, value in params.items()}


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
        plain = value if isinstance(value, str | int | float | bool | None) else str(value)
        if isinstance(plain, int) and not -(2**63) <= plain < 2**63:
            plain = str(plain)
        if isinstance(plain, str):
            check_text(f"param {name!r}", plain, 6000)
        found[name] = plain
    return found


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
    parts = name.split("/")
    if not name or len(name) > 500 or _BAD_PATH.search(name) or any(one in ("", ".", "..") for one in parts):
        raise InvalidInput(
            f"artifact name {name!r} is no relative path; allowed are names such as plots/roc.png, without . and .."
        )
    check_text("artifact name", name, 500)
    return name


def seed_facts(seed: object, params: Mapping[str, object]) -> tuple[dict[str, int], dict[str, str]]:
    """The seed of a run as a param and as a tag.

    >>> seed_facts(7, {"depth": 3})
    ({'seed': 7}, {'boucle.seed': '7'})
    """
    if seed is None:
        return {}, {}
    try:
        number = operator.index(seed)  # type: ignore[arg-type]  # that is the question
    except TypeError as error:
        raise InvalidInput(f"seed is {seed!r}; allowed are whole numbers") from error
    if params.get("seed", number) != number:
        raise InvalidInput(f"seed is {number}, and params say {params['seed']!r}; say it once")
    return {"seed": number}, {"boucle.seed": str(number)}
