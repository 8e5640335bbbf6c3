"""Who is using this machine."""

import getpass
from typing import Final, get_args

from boucle.identity.records import Policy, Principal

LOCAL: Final[frozenset[Policy]] = frozenset(get_args(Policy)) - {"review"}
"""What the local person may: everything but approve, which needs a token."""


def local_principal() -> Principal:
    """The person whose operating-system account runs this process; `person:unknown` where it has no name."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without an account
        name = "unknown"
    return Principal(f"person:{name}", "person", LOCAL)
