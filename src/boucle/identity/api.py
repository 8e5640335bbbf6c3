"""What other rooms may import from identity. Light: the serving worker imports it."""

from boucle.identity.http import Route
from boucle.identity.policies import admit, check_table, is_loopback, refuse_open_binding
from boucle.identity.principals import local_principal
from boucle.identity.records import LOOP, Policy, Principal

__all__ = [
    "LOOP",
    "Policy",
    "Principal",
    "Route",
    "admit",
    "check_table",
    "is_loopback",
    "local_principal",
    "refuse_open_binding",
]
