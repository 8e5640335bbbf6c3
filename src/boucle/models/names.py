"""What models, aliases and tags may be called: the rules of MLflow's registry, so that a client moves freely."""

import re
from typing import Final
from urllib.parse import unquote

from boucle.kernel.errors import InvalidInput
from boucle.models.records import STAGES, Stage
from boucle.runs.artifact_paths import refusal

_MODEL_CHARS: Final = 256
_KEY_CHARS: Final = 250
_VALUE_CHARS: Final = 100_000
_ALIAS: Final = re.compile(r"[\w\-]{1,255}")
_VERSION_ALIAS: Final = re.compile(r"[vV]\d+")
_KEY: Final = re.compile(r"[/\w.\- :]{1,250}")


def check_model(name: str) -> None:
    """InvalidInput unless a model may have this name.

    >>> check_model("flights, by day")
    >>> check_model("a/b")
    Traceback (most recent call last):
    boucle.kernel.errors.InvalidInput: Invalid model name 'a/b'. Names cannot contain '/' or ':'.
    """
    if not name.strip():
        raise InvalidInput("Missing value for required parameter 'name': a model needs one that is not empty")
    if any(char in name for char in "/:"):
        raise InvalidInput(f"Invalid model name {name!r}. Names cannot contain '/' or ':'.")
    if name in (".", "..") or "\\" in name or any(not char.isprintable() for char in name):
        raise InvalidInput(f"Invalid value {name!r} for parameter 'name': it must be printable, no path and no '\\'")
    if len(name) > _MODEL_CHARS:
        raise InvalidInput(f"a model's name has {len(name)} characters; at most {_MODEL_CHARS} are allowed")


def check_new_model(name: str) -> None:
    """InvalidInput unless a model may get this name: one by which its files can be fetched, too.

    The name is a part of their addresses, which clients decode. Models that have other names keep them.

    >>> check_new_model("50% off")
    >>> check_new_model("50%25")
    Traceback (most recent call last):
    boucle.kernel.errors.InvalidInput: Invalid model name '50%25'. It would be read as '50%' in addresses.
    """
    check_model(name)
    if unquote(name) != name:
        raise InvalidInput(f"Invalid model name {name!r}. It would be read as {unquote(name)!r} in addresses.")
    reason = refusal(name)
    if reason is not None:
        raise InvalidInput(f"Invalid model name {name!r}. Files could not be fetched by it: it {reason}.")


def check_alias(alias: str, *, new: bool = False) -> None:
    """InvalidInput unless an alias may have this name; `new`: nor if the name is kept for versions themselves.

    >>> check_alias("v7", new=True)
    Traceback (most recent call last):
    boucle.kernel.errors.InvalidInput: Version alias name 'v7' is reserved.
    """
    if not alias:
        raise InvalidInput("Registered model alias name cannot be empty.")
    if not _ALIAS.fullmatch(alias):
        raise InvalidInput(
            f"Invalid alias name: {alias[:300]!r}. Names may only contain alphanumerics, underscores (_), and "
            "dashes (-), and at most 255 of them."
        )
    if new and alias.lower() == "latest":
        raise InvalidInput("'latest' alias name (case insensitive) is reserved.")
    if new and _VERSION_ALIAS.fullmatch(alias):
        raise InvalidInput(f"Version alias name {alias!r} is reserved.")


def check_tag(key: str, value: str | None) -> None:
    """InvalidInput unless a tag may have this name and value."""
    if not _KEY.fullmatch(key) or any(part in ("", ".", "..") for part in key.split("/")):
        raise InvalidInput(
            f"Invalid value {key[:300]!r} for parameter 'key' supplied: Names may only contain alphanumerics, "
            f"underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/), and at most {_KEY_CHARS} "
            "characters; no part between slashes may be empty, '.' or '..'."
        )
    if value is not None and len(value) > _VALUE_CHARS:
        raise InvalidInput(f"the value of the tag {key!r} has {len(value):,} characters; at most {_VALUE_CHARS:,}")


def stage_of(text: str) -> Stage:
    """The stage that is meant, however its letters are written.

    >>> stage_of("production")
    'Production'
    """
    for stage in STAGES:
        if text.lower() == stage.lower():
            return stage
    raise InvalidInput(f"Invalid Model Version stage: {text[:100]}. Value must be one of {', '.join(STAGES)}.")
