"""What other rooms may import from identity. Light: the serving worker imports it.

Accounts, which need the database, are in `boucle.identity.accounts`.
"""

from boucle.identity.door import Door, LocalDoor, OpenDoor, UserDoor
from boucle.identity.failures import Failures
from boucle.identity.http import Route
from boucle.identity.policies import (
    ANY_HOST,
    admit,
    check_origin,
    check_table,
    is_loopback,
    permit,
    refuse_open_binding,
)
from boucle.identity.principals import local_principal
from boucle.identity.records import GRANTS, LOOP, NOBODY, Directory, Policy, Principal, Role
from boucle.identity.tokens import compose, credential, hash_of, is_secret

__all__ = [
    "ANY_HOST",
    "GRANTS",
    "LOOP",
    "NOBODY",
    "Directory",
    "Door",
    "Failures",
    "LocalDoor",
    "OpenDoor",
    "Policy",
    "Principal",
    "Role",
    "Route",
    "UserDoor",
    "admit",
    "check_origin",
    "check_table",
    "compose",
    "credential",
    "hash_of",
    "is_loopback",
    "is_secret",
    "local_principal",
    "permit",
    "refuse_open_binding",
]
