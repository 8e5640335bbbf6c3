"""Secrets of routes: in environment variables that boucle.yaml names, never in a file, a log or the store."""

import os

from boucle.kernel.errors import InvalidInput, Unavailable
from boucle.models.webhooks.rules import split_url


def value_of(name: str) -> str:
    """What a variable holds; Unavailable if it is not set, or empty."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise Unavailable(
            f"the environment variable {name} is not set for this process",
            hint=f"set {name} where `boucle monitor` or `boucle up` is started",
        )
    return value


def url_of(url: str | None, variable: str | None) -> str:
    """An address that stands in boucle.yaml, or in a variable; Unavailable if the variable holds none.

    What it holds is often a secret, so no message repeats it.
    """
    if url is not None:
        return url
    held = value_of(variable or "")
    try:
        split_url(held)
    except InvalidInput:
        raise Unavailable(
            f"what the environment variable {variable} holds is no address; it begins with https:// and a host does",
            hint=f"set {variable} to a whole address where `boucle monitor` or `boucle up` is started",
        ) from None
    return held
