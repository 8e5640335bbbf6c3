"""The nouns of identity. Imported by the serving worker: only msgspec and the standard library."""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct, field

Policy = Literal["public", "predict", "operate", "read", "write", "review", "administer"]
"""Who may use a route: `public` anyone who reaches the port; `predict` who may ask an endpoint; `operate` who may look
into its workings, such as its metrics; `read` who may look at runs, models and artifacts; `write` who may log, register
and delete them; `review` who may approve or reject a version; `administer` who may change policies and webhooks."""

Role = Literal["reader", "author", "reviewer", "admin"]
"""What a user is to a store. `author` may all that `reader` may, `admin` all that `author` may. `reviewer` stands
beside them: it reads and approves, and no other role approves, not even `admin`."""

_READS: Final[frozenset[Policy]] = frozenset({"public", "predict", "operate", "read"})
GRANTS: Final[Mapping[Role, frozenset[Policy]]] = {
    "reader": _READS,
    "author": _READS | {"write"},
    "reviewer": _READS | {"review"},
    "admin": _READS | {"write", "administer"},
}
"""Which policies each role satisfies."""


class Principal(Struct, frozen=True):
    """Who acts: a person or a service."""

    name: str
    """`person:<name>` or `service:<name>`; what the audit log calls the actor."""
    kind: Literal["person", "service"]
    may: frozenset[Policy] = frozenset()
    """The policies of routes that it satisfies."""
    role: Role | None = None
    """Of a user. A token that is limited to a lesser role leaves the role and shortens `may`."""


LOOP: Final = Principal("service:loop", "service")
"""The loop: author of what it trains, never a reviewer."""
ANYONE: Final = Principal("service:anyone", "service", frozenset({"public", "predict", "operate"}))
"""Whoever reaches a server that asks nobody who it is."""
ANY_WRITER: Final = Principal("service:anyone", "service", ANYONE.may | {"write"})
"""The same at a server that may be told to load models."""
NOBODY: Final = Principal("service:nobody", "service", frozenset({"public"}))
"""Whoever asks a public route: nobody looks who it is."""


class Token(Struct, frozen=True, kw_only=True):
    """A token as lists show it: never with its secret, of which the store keeps a hash only."""

    id: str
    scope: Role | None
    """The role that it is limited to; None is all that its user may."""
    created_ms: int
    expires_ms: int


class User(Struct, frozen=True, kw_only=True):
    """A person who may log in."""

    name: str
    role: Role
    created_ms: int
    tokens: list[Token] = field(default_factory=list)


class NewToken(Struct, frozen=True, kw_only=True):
    """A token at the only moment at which its text is known."""

    user: str
    text: str
    token: Token


class Pass(Struct, frozen=True):
    """What a token opens, as a server keeps it in memory."""

    secret_hash: str
    user: str
    principal: Principal
    expires_ms: int


class Directory(Struct, frozen=True):
    """Everybody who can log in, at one moment."""

    has_users: bool
    passes: Mapping[str, Pass]
    """By the id of the token."""
