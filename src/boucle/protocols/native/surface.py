"""Every door of Boucle's own protocol."""

from boucle.identity.http import Surface
from boucle.protocols.control import Control
from boucle.protocols.native.errors import refuse
from boucle.runs import routes as runs


def surface(control: Control) -> Surface:
    """The routes below `/api/v1`."""
    return Surface(routes=runs.routes(control.store), refuse=refuse, prefixes=("/api/v1",))
