"""What may be logged: names, lengths and numbers. MLflow's limits, so that what its clients send is taken or refused
alike (https://github.com/mlflow/mlflow, `mlflow/utils/validation.py`).
"""

import posixpath
import re
from collections.abc import Iterable
from typing import Final, Protocol

from boucle.kernel.errors import InvalidInput

MAX_NAME: Final = 250
MAX_PARAM: Final = 6_000
MAX_TAG: Final = 8_000
MAX_EXPERIMENT_NAME: Final = 500
MAX_EXPERIMENT_TAG: Final = 20_000
MAX_BATCH_METRICS: Final = 1_000
MAX_BATCH_PARAMS: Final = 100
MAX_BATCH_TAGS: Final = 100
MAX_BATCH: Final = 1_000
MAX_BATCH_BYTES: Final = 1_000_000
MAX_ENTRIES: Final = 1_000
"""Of any other list in a request: no writer waits for long while it is kept."""
MAX_DATASET_NAME: Final = 500
MAX_DATASET_FINGERPRINT: Final = 36
MAX_DATASET_SOURCE: Final = (1 << 16) - 1
MAX_DATASET_SCHEMA: Final = (1 << 20) - 1
MAX_DATASET_PROFILE: Final = (1 << 24) - 1
MAX_INPUT_TAG_NAME: Final = 255
MAX_INPUT_TAG: Final = 500
MAX_INT64: Final = (1 << 63) - 1
MIN_INT64: Final = -(1 << 63)

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What moves a terminal's cursor or breaks a line; in a name it would forge what is shown."""
_CHARACTERS: Final = re.compile(r"[/\w.\- :]*")
_SHOWN: Final = 100
_FLOAT_BITS: Final = 1023
"""Whole numbers of so many bits are floats, too."""
MAX_EXPERIMENTS: Final = 10_000
"""That one search may name."""


def check_name(name: str, where: str) -> None:
    """Raise InvalidInput unless a metric, param or tag may be called so; `where` is the field, such as `key`.

    >>> check_name("val/loss (best)", "key")
    Traceback (most recent call last):
    ...
    boucle.kernel.errors.InvalidInput: key is 'val/loss (best)'; allowed are letters, digits and _ - . : / and space
    """
    if not name:
        raise InvalidInput(f"Missing value for required parameter {where!r}.")
    if _CHARACTERS.fullmatch(name) is None:
        raise InvalidInput(f"{where} is {name[:_SHOWN]!r}; allowed are letters, digits and _ - . : / and space")
    normal = posixpath.normpath(name)
    if normal != name or normal == "." or normal.startswith(("..", "/")):
        raise InvalidInput(
            f"{where} is {name[:_SHOWN]!r}, which as a path would be {normal[:_SHOWN]!r}; allowed are names that stay "
            "the same as a path"
        )
    check_length(name, MAX_NAME, where)


def check_length(text: str, limit: int, where: str) -> None:
    """Raise InvalidInput for a text of more than `limit` characters."""
    if len(text) > limit:
        raise InvalidInput(f"{where} has {len(text):,} characters and exceeds the maximum length of {limit:,}")


def cut(text: str, limit: int) -> str:
    """A text cut off at `limit` characters, as MLflow's server does with values of params and tags.

    >>> cut("abcdef", 4)
    'abcd'
    """
    return text if len(text) <= limit else text[:limit]


def check_text(text: str, where: str) -> None:
    """Raise InvalidInput for text that no database keeps: a null character or half of a surrogate pair."""
    if "\0" in text:
        raise InvalidInput(f"{where} has a null character, which cannot be kept")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(f"{where} is no valid Unicode text: {error.reason}") from error


def check_title(text: str, where: str) -> None:
    """Raise InvalidInput for a name that cannot be shown on one line as it is; `check_text` is in it.

    >>> check_title("a\\tb", "name")
    Traceback (most recent call last):
    ...
    boucle.kernel.errors.InvalidInput: name is 'a\\tb', with a control character; allowed is one line of text
    """
    check_text(text, where)
    if _CONTROL.search(text):
        raise InvalidInput(f"{where} is {text[:_SHOWN]!r}, with a control character; allowed is one line of text")


def shown(number: int) -> str:
    """A whole number as a message tells it, however many digits it has.

    >>> shown(-5), shown(10**30), shown(-(10**400))
    ('-5', '1e+30', '-1e+308 or less')
    """
    if number.bit_length() <= _FLOAT_BITS:
        return f"{number:.6g}"
    return "1e+308 or more" if number > 0 else "-1e+308 or less"


def check_moment(milliseconds: int, where: str) -> None:
    """Raise InvalidInput for a moment before 1970 or past 64 bits."""
    if not 0 <= milliseconds <= MAX_INT64:
        raise InvalidInput(f"{where} is {shown(milliseconds)}; allowed are milliseconds since 1970, 0 to 2**63 - 1")


def check_step(step: int, where: str) -> None:
    """Raise InvalidInput for a step that does not fit 64 bits."""
    if not MIN_INT64 <= step <= MAX_INT64:
        raise InvalidInput(f"{where} is {shown(step)}; allowed are -2**63 to 2**63 - 1")


def distinct_experiments(ids: Iterable[int]) -> list[int]:
    """The experiments that a search names, each once, in order; InvalidInput for too many, or what can be no id."""
    found = sorted(set(ids))
    for one in found[:1] + found[-1:]:
        if not MIN_INT64 <= one <= MAX_INT64:
            raise InvalidInput(f"experiment_ids names {shown(one)}; ids are at most 2**63 - 1")
    if len(found) > MAX_EXPERIMENTS:
        raise InvalidInput(
            f"experiment_ids names {len(found):,} experiments; allowed are at most {MAX_EXPERIMENTS:,}",
            hint="search them in several requests",
        )
    return found


def check_batch(metrics: int, params: int, tags: int) -> None:
    """Raise InvalidInput for more entries in one batch than may come together."""
    for what, count, limit in (
        ("metrics", metrics, MAX_BATCH_METRICS),
        ("params", params, MAX_BATCH_PARAMS),
        ("tags", tags, MAX_BATCH_TAGS),
        ("metrics, params, and tags", metrics + params + tags, MAX_BATCH),
    ):
        if count > limit:
            raise InvalidInput(
                f"A batch logging request can contain at most {limit} {what}. Got {count} {what}.",
                hint="send them in several requests",
            )


def check_count(count: int, where: str) -> None:
    """Raise InvalidInput for a list of more entries than one request may bring.

    >>> check_count(1_001, "tags")
    Traceback (most recent call last):
    ...
    boucle.kernel.errors.InvalidInput: tags has 1,001 entries; a request takes at most 1,000
    """
    if count > MAX_ENTRIES:
        raise InvalidInput(
            f"{where} has {count:,} entries; a request takes at most {MAX_ENTRIES:,}",
            hint="send them in several requests",
        )


class Dataset(Protocol):
    """What a client says of a dataset."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def schema(self) -> str | None: ...
    @property
    def profile(self) -> str | None: ...


def check_dataset(dataset: Dataset, where: str) -> None:
    """Raise InvalidInput for a dataset with a field that is empty or too long."""
    for field, text, limit in (
        ("name", dataset.name, MAX_DATASET_NAME),
        ("digest", dataset.fingerprint, MAX_DATASET_FINGERPRINT),
        ("source", dataset.source, MAX_DATASET_SOURCE),
        ("schema", dataset.schema or "", MAX_DATASET_SCHEMA),
        ("profile", dataset.profile or "", MAX_DATASET_PROFILE),
    ):
        check_length(text, limit, f"{where}.{field}")
        (check_title if field in ("name", "digest") else check_text)(text, f"{where}.{field}")
    for field, text in (("name", dataset.name), ("digest", dataset.fingerprint)):
        if not text:
            raise InvalidInput(f"Missing value for required parameter '{where}.{field}'.")
