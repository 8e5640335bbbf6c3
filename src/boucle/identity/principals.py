"""Who is using this machine."""

import getpass
import re
from typing import Final, get_args

from boucle.identity.records import Policy, Principal

LOCAL: Final[frozenset[Policy]] = frozenset(get_args(Policy)) - {"review"}
"""What the local person may: everything but approve, which needs a token."""
_LONGEST: Final = 200
"""Characters; what keeps a name has room for a word before it."""
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def local_principal() -> Principal:
    """The person whose operating-system account runs this process; `person:unknown` where it has no name."""
    return Principal(f"person:{account_name()}", "person", LOCAL)


def account_name() -> str:
    """What the environment or the system calls that person, as a line of text that can be kept and shown."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without an account
        name = "unknown"
    return _CONTROL.sub("?", name.encode(errors="replace").decode())[:_LONGEST]
