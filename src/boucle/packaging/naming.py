"""What a model may be called where it is asked: one rule for bundles, endpoints and what clients load. Pure."""

from typing import Final

from boucle.kernel.errors import InvalidInput

MOST_BYTES: Final = 200
_FORBIDDEN: Final = frozenset("/\\:@")


def check_served_name(name: str, what: str) -> None:
    """InvalidInput unless `what` may have this name: it is a folder's, and one segment of an address.

    >>> check_served_name("taxi fares", "a model")
    """
    if _FORBIDDEN & set(name):
        allowed = "a name without '/', '\\', ':' and '@'"
    elif name in ("", "bundles") or name.startswith(".") or not name.isprintable() or len(name.encode()) > MOST_BYTES:
        allowed = f"1 to {MOST_BYTES} printable characters, not beginning with a dot, and not 'bundles'"
    else:
        return
    raise InvalidInput(f"{what} cannot be called {name[:MOST_BYTES]!r}; allowed is {allowed}")
