"""Who is using this machine."""

import getpass

from boucle.identity.records import Principal


def local_principal() -> Principal:
    """The person whose operating-system account runs this process; `person:unknown` where it has no name."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without an account
        name = "unknown"
    return Principal(f"person:{name}", "person")
