"""Secrets of routes: in environment variables that boucle.yaml names, never in a file, a log or the store."""

import os

from boucle.kernel.errors import Unavailable


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
    """An address that stands in boucle.yaml, or in a variable."""
    return url if url is not None else value_of(variable or "")
