"""Names that were probably meant."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, if any is like it; letter case, blanks, hyphens and underscores count little.

    >>> nearest("Wind Speed", ["wind_speed", "wind_dir"])
    'wind_speed'
    >>> nearest("temp", ["pressure"]) is None
    True
    """
    by_key = {_key(other): other for other in known}
    found = difflib.get_close_matches(_key(name), by_key, n=1, cutoff=0.7)
    return by_key[found[0]] if found else None


def _key(name: str) -> str:
    return "".join(char for char in name.casefold() if char not in " -_.")
