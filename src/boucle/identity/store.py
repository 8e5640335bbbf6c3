"""The tables of identity and their queries. Users and tokens belong to the whole store, not to one project."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy import Column, Connection, ForeignKey, Table

from boucle.identity.records import GRANTS, Directory, Pass, Principal, Token, User
from boucle.kernel.database import metadata

users: Final = Table(
    "users",
    metadata,
    Column("name", sa.String(64), primary_key=True),
    Column("role", sa.String(16), nullable=False),
    Column("created_ms", sa.BigInteger, nullable=False),
)
tokens: Final = Table(
    "tokens",
    metadata,
    Column("id", sa.String(16), primary_key=True),
    Column("user", sa.String(64), ForeignKey("users.name", ondelete="CASCADE"), nullable=False, index=True),
    Column("secret_hash", sa.String(64), nullable=False),
    Column("scope", sa.String(16)),
    Column("created_ms", sa.BigInteger, nullable=False),
    Column("expires_ms", sa.BigInteger, nullable=False),
)


def everyone(conn: Connection) -> list[User]:
    """Every user with the tokens that were not revoked, by name; tokens oldest first."""
    held: dict[str, list[Token]] = {}
    for row in conn.execute(sa.select(tokens).order_by(tokens.c.created_ms, tokens.c.id)):
        held.setdefault(row.user, []).append(_token(row))
    return [
        User(name=row.name, role=row.role, created_ms=row.created_ms, tokens=held.get(row.name, []))
        for row in conn.execute(sa.select(users).order_by(users.c.name))
    ]


def find_user(conn: Connection, name: str) -> User | None:
    """One user; None if there is none of that name."""
    return next((user for user in everyone(conn) if user.name == name), None)


def directory(conn: Connection) -> Directory:
    """Everybody who can log in."""
    query = sa.select(tokens, users.c.role).join(users, users.c.name == tokens.c.user)
    passes = {
        row.id: Pass(
            secret_hash=row.secret_hash,
            user=row.user,
            principal=Principal(
                f"person:{row.user}", "person", GRANTS[row.role] & GRANTS[row.scope or row.role], row.role
            ),
            expires_ms=row.expires_ms,
        )
        for row in conn.execute(query)
    }
    return Directory(has_users=has_users(conn), passes=passes)


def has_users(conn: Connection) -> bool:
    """Whether anybody can ever log in."""
    return conn.execute(sa.select(users.c.name).limit(1)).first() is not None


def add_user(conn: Connection, user: User) -> None:
    """Add a user, without tokens."""
    values = {"name": user.name, "role": user.role, "created_ms": user.created_ms}
    conn.execute(sa.insert(users).values(values))


def add_token(conn: Connection, user: str, token: Token, secret_hash: str) -> None:
    """Add a token of a user."""
    values = {"id": token.id, "user": user, "secret_hash": secret_hash, "scope": token.scope}
    times = {"created_ms": token.created_ms, "expires_ms": token.expires_ms}
    conn.execute(sa.insert(tokens).values(values | times))


def set_role(conn: Connection, name: str, role: str) -> None:
    """Give a user another role."""
    conn.execute(sa.update(users).where(users.c.name == name).values(role=role))


def remove_user(conn: Connection, name: str) -> None:
    """Remove a user with all tokens."""
    conn.execute(sa.delete(tokens).where(tokens.c.user == name))
    conn.execute(sa.delete(users).where(users.c.name == name))


def remove_token(conn: Connection, token_id: str) -> str | None:
    """Remove a token; the name of its user, None if there is no such token."""
    owner = conn.execute(sa.select(tokens.c.user).where(tokens.c.id == token_id)).scalar()
    conn.execute(sa.delete(tokens).where(tokens.c.id == token_id))
    return owner


def _token(row: sa.Row[tuple[object, ...]]) -> Token:
    return Token(id=row.id, scope=row.scope, created_ms=row.created_ms, expires_ms=row.expires_ms)
