"""The nouns of identity. Imported by the serving worker: only msgspec and the standard library."""

from typing import Final, Literal

from msgspec import Struct

Policy = Literal["public", "predict", "operate", "read", "write", "review", "administer"]
"""Who may use a route: `public` anyone who reaches the port; `predict` who may ask an endpoint; `operate` who may look
into its workings, such as its metrics; `read` who may see what is stored; `write` who may add to it; `review` who may
approve a version; `administer` who may change who may what. On loopback without users the one local principal may do
all of it."""


class Principal(Struct, frozen=True):
    """Who acts: a person or a service."""

    name: str
    """`person:<name>` or `service:<name>`; what the audit log calls the actor."""
    kind: Literal["person", "service"]


LOOP: Final = Principal("service:loop", "service")
"""The loop: author of what it trains, never a reviewer."""
