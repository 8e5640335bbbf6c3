"""The nouns of identity. Imported by the serving worker: only msgspec and the standard library."""

from collections.abc import Callable
from typing import Any, Final, Literal

from msgspec import Struct

Policy = Literal["public", "predict", "operate"]
"""Who may use a route: `public` anyone who reaches the port; `predict` who may ask an endpoint; `operate` who may look
into its workings, such as its metrics. On loopback there are no users, and the one local principal may do all three."""


class Principal(Struct, frozen=True):
    """Who acts: a person or a service."""

    name: str
    """`person:<name>` or `service:<name>`; what the audit log calls the actor."""
    kind: Literal["person", "service"]


LOOP: Final = Principal("service:loop", "service")
"""The loop: author of what it trains, never a reviewer."""


class Route(Struct, frozen=True):
    """One door of a server: what it answers, to whom, by which function."""

    method: str
    """Upper-case HTTP method."""
    path: str
    """Starts with `/`; a `{name}` segment stands for any one segment."""
    policy: Policy
    handler: Callable[..., Any]
