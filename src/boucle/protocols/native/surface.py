"""Every door of Boucle's own protocol."""

from boucle.identity.http import Surface
from boucle.protocols.control import Control
from boucle.protocols.native import labels, registry, reviews
from boucle.protocols.native.errors import refuse
from boucle.runs import routes as runs


def surface(control: Control) -> Surface:
    """The routes below `/api/v1`."""
    store = control.store
    routes = [*runs.routes(store), *registry.routes(store), *reviews.routes(store), *labels.routes(store)]
    return Surface(routes=routes, refuse=refuse, prefixes=("/api/v1",))
