"""How many clients may be connected to a server at once: an idle one shall keep nobody out."""

import logging
import resource
from typing import Final

CONNECTIONS: Final = 4096
"""At once, of each process that answers; further ones wait until one goes. What is idle for 30 s is closed."""
_OWN: Final = 512
"""Open files that a server needs for itself."""
_LEAST: Final = 64
_log: Final = logging.getLogger("boucle.server")


def make_room() -> int:
    """Raise this process's limit of open files as far as is needed and allowed; the connections that fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + _OWN
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return fitting(soft)


def fitting(files: int) -> int:
    """The connections that fit where so many files may be open.

    >>> fitting(20_000), fitting(1024), fitting(100)
    (4096, 512, 64)
    """
    return max(_LEAST, min(CONNECTIONS, max(files - _OWN, files // 2)))


def tell(connections: int) -> None:
    """Say at the start of a server that it has less room than usual."""
    if connections < CONNECTIONS:
        _log.warning(
            "at most %d clients may be connected at once, as this system allows few open files: raise it by ulimit -Hn",
            connections,
        )
