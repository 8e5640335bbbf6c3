"""The installed versions of packages and of all that they need."""

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution


def locked(names: Sequence[str], extras: Sequence[str] = ()) -> dict[str, str]:
    """Package to version, for these packages (with `extras` of theirs) and all that they need, as it is installed."""
    found: dict[str, str] = {}
    wanted = [(name, extras) for name in names]
    while wanted:
        asked, having = wanted.pop()
        name = re.sub(r"[-_.]+", "-", asked).lower()
        if name in found:
            continue
        try:
            installed = distribution(name)
        except PackageNotFoundError:  # needed on another platform only
            continue
        found[name] = installed.version
        for need in installed.requires or []:
            marker = re.search(r"extra\s*==\s*['\"]([^'\"]+)", need)
            if marker is None or marker[1] in having:
                wanted.append((re.split(r"[^A-Za-z0-9._-]", need, maxsplit=1)[0], ()))
    return found
