"""Users and their tokens: adding, changing, revoking; and the door that a server makes of them.

Each change first tells that one is under way (`boucle.kernel.generation`), and stands in the audit log without any
secret. A secret is made here, shown once, and kept nowhere.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Final, get_args

from msgspec.structs import replace
from sqlalchemy import Connection

from boucle.identity import store as rows
from boucle.identity.door import UserDoor
from boucle.identity.policies import permit
from boucle.identity.principals import local_principal
from boucle.identity.records import GRANTS, Directory, NewToken, Principal, Role, Token, User
from boucle.identity.tokens import compose, hash_of, looks_like_one
from boucle.kernel import audit
from boucle.kernel.errors import Conflict, InvalidInput, NotFound, Refused, Unavailable
from boucle.kernel.store import Store

DEFAULT_DAYS: Final = 90
MOST_DAYS: Final = 366
EVERY_PROJECT: Final = "*"
"""What the audit log names as the project of a change that is about the whole store; no project is called so."""
_NAME: Final = re.compile(r"[a-z][a-z0-9._-]{0,63}")
_DAY_MS: Final = 86_400_000


def add(store: Store, name: str, role: str, *, days: int = DEFAULT_DAYS, actor: str) -> NewToken:
    """Add a user with a first token. Conflict if the name is taken, Refused if the first user is no admin."""
    _check_name(name)
    kind, lasting = _role(role), _lasting(days)

    def unit(conn: Connection) -> NewToken:
        store.people.change()
        if not rows.has_users(conn) and kind != "admin":
            raise Refused(
                f"the first user must be an admin, not {kind}: from then on every request needs a token",
                hint="boucle users add NAME --role admin",
            )
        if rows.find_user(conn, name) is not None:
            raise Conflict(f"there is a user {name!r} already", hint=f"boucle users token {name}")
        rows.add_user(conn, User(name=name, role=kind, created_ms=_now_ms(store)))
        _tell(store, conn, actor, "user.add", f"user/{name}", {"role": kind})
        return _issue(store, conn, name, None, lasting, actor)

    return store.write(unit)


def issue(store: Store, name: str, *, role: str | None = None, days: int = DEFAULT_DAYS, actor: str) -> NewToken:
    """Give a user a further token, perhaps limited to a lesser role."""
    scope, lasting = None if role is None else _role(role), _lasting(days)

    def unit(conn: Connection) -> NewToken:
        store.people.change()
        user = _found(conn, name)
        if scope is not None and not GRANTS[scope] <= GRANTS[user.role]:
            lesser = ", ".join(one for one, may in GRANTS.items() if may <= GRANTS[user.role])
            raise InvalidInput(
                f"{name} is {user.role}, which is not more than {scope}; allowed for a token are {lesser}",
                hint=f"boucle users token {name} --role reader",
            )
        return _issue(store, conn, name, scope, lasting, actor)

    return store.write(unit)


def change_role(store: Store, name: str, role: str, *, actor: str) -> User:
    """Give a user another role; tokens that are limited stay so."""
    kind = _role(role)

    def unit(conn: Connection) -> User:
        store.people.change()
        user = _found(conn, name)
        if kind != "admin":
            _refuse_last_admin(conn, user)
        rows.set_role(conn, name, kind)
        _tell(store, conn, actor, "user.role", f"user/{name}", {"role": kind, "before": user.role})
        return _found(conn, name)

    return store.write(unit)


def remove(store: Store, name: str, *, actor: str) -> User:
    """Remove a user with all tokens, which count for nothing from now on."""

    def unit(conn: Connection) -> User:
        store.people.change()
        user = _found(conn, name)
        _refuse_last_admin(conn, user)
        rows.remove_user(conn, name)
        details = {"role": user.role, "tokens": [token.id for token in user.tokens]}
        _tell(store, conn, actor, "user.remove", f"user/{name}", details)
        return user

    return store.write(unit)


def revoke(store: Store, token_id: str, *, actor: str) -> str:
    """Revoke a token; the name of its user. When this returns, no process takes the token any more."""
    if looks_like_one(token_id):
        known = token_id[token_id.lower().index("boucle_") + 7 :][:16]
        raise InvalidInput(
            "that is a whole token, whose secret now stands in the history of this shell; give its id only",
            hint=f"boucle users revoke {known}",
        )

    def unit(conn: Connection) -> str:
        store.people.change()
        user = rows.remove_token(conn, token_id)
        if user is None:
            raise NotFound(f"there is no token {token_id[:20]!r}", hint="boucle users list")
        _tell(store, conn, actor, "token.revoke", f"token/{token_id}", {"user": user})
        return user

    return store.write(unit)


def everyone(store: Store) -> list[User]:
    """Every user, with the tokens that were not revoked."""
    return store.read(rows.everyone)


def has_users(store: Store) -> bool:
    """Whether requests need tokens."""
    return store.read(rows.has_users)


def open_door(store: Store) -> UserDoor:
    """The door of a server on this store; the store must stay open as long."""
    _settle(store)
    return UserDoor(store.people, lambda: store.read(rows.directory), store.clock)


def directory_of(store: Store) -> tuple[bytes, Directory]:
    """Everybody who can log in, and the generation that they are of. Unavailable while that changes."""
    _settle(store)
    generation = store.people.current()  # before the rows are read: see `boucle.kernel.generation`
    if generation is None:
        raise Unavailable("users or tokens are being changed", hint="ask again in a second")
    return generation, store.read(rows.directory)


def _settle(store: Store) -> None:
    """Name a generation if there is none: there is no file yet, or a process died over a change."""
    if store.people.current() is None:

        def begin(_: Connection) -> None:
            store.people.change()

        store.write(begin)


def person_of(store: Store, token: str) -> Principal:
    """Whose token this is, for a command that acts for a user.

    Refused if there are no users, Unauthenticated if the token is not valid here.
    """
    found = store.read(rows.directory)
    if not found.has_users:
        raise Refused("there are no users, so nobody has a token", hint="boucle users add NAME --role admin")
    return UserDoor(store.people, lambda: found, store.clock).principal_of(f"Bearer {token}", "127.0.0.1")


def who_acts(store: Store, token: str | None) -> Principal:
    """Who acts on this machine: whose token it is, or else whose account runs this.

    Once a store has users, who comes without a token may read only: otherwise one person could act under two names,
    and approve what is their own.
    """
    if token:
        return person_of(store, token)
    local = local_principal()
    return replace(local, may=GRANTS["reader"]) if has_users(store) else local


def who_keeps(store: Store, token: str | None) -> Principal:
    """Who looks after the store itself (its users, the hosts of its webhooks) on this machine: the owner of the folder,
    whose account runs this. Who comes with a token acts as its user, who must be an admin.

    Raises:
        Unauthenticated: the token is none.
        Refused: its user is no admin.
    """
    if not token or not has_users(store):
        return local_principal()
    principal = person_of(store, token)
    permit("administer", principal)
    return principal


def who_logs(store: Store, token: str | None) -> Principal:
    """Who logs runs on this machine. Without users that is the local person, whatever the token; Refused, or
    Unauthenticated, if there are users and the token is not that of one who may write."""
    principal = who_acts(store, token) if has_users(store) else local_principal()
    permit("write", principal)
    return principal


def _issue(store: Store, conn: Connection, user: str, scope: Role | None, days: int, actor: str) -> NewToken:
    token_id, secret, now = secrets.token_hex(8), secrets.token_hex(32), _now_ms(store)
    token = Token(id=token_id, scope=scope, created_ms=now, expires_ms=now + days * _DAY_MS)
    rows.add_token(conn, user, token, hash_of(secret))
    details = {"user": user, "scope": scope, "days": days}
    _tell(store, conn, actor, "token.add", f"token/{token_id}", details)
    return NewToken(user=user, text=compose(token_id, secret), token=token)


def _found(conn: Connection, name: str) -> User:
    user = rows.find_user(conn, name)
    if user is None:
        shown = "that" if looks_like_one(name) else repr(name[:64])
        raise NotFound(f"there is no user {shown}", hint="boucle users list")
    return user


def _refuse_last_admin(conn: Connection, user: User) -> None:
    admins = [one.name for one in rows.everyone(conn) if one.role == "admin"]
    if admins == [user.name]:
        raise Refused(
            f"{user.name} is the last admin; a store with users always has one",
            hint="boucle users add NAME --role admin",
        )


def _check_name(name: str) -> None:
    if looks_like_one(name) or not _NAME.fullmatch(name):
        shown = "a token" if looks_like_one(name) else repr(name[:80])
        raise InvalidInput(
            f"{shown} is no name of a user; allowed are a small letter, then up to 63 of a-z, 0-9, '.', '_' and '-'",
            hint="boucle users add ada --role author",
        )


def _role(role: str) -> Role:
    for known in get_args(Role):
        if role == known:
            return known  # type: ignore[no-any-return]  # the checker does not know what get_args gives
    raise InvalidInput(f"there is no role {role[:40]!r}; allowed are {', '.join(get_args(Role))}")


def _lasting(days: int) -> int:
    if not 1 <= days <= MOST_DAYS:
        raise InvalidInput(f"a token cannot last {days} days; allowed are 1 to {MOST_DAYS}")
    return days


def _now_ms(store: Store) -> int:
    return int(store.clock.now().timestamp() * 1000)


def _tell(store: Store, conn: Connection, actor: str, action: str, subject: str, details: Mapping[str, object]) -> None:
    audit.append(
        conn,
        project_id=EVERY_PROJECT,
        actor=actor,
        action=action,
        subject=subject,
        details=details,
        at=store.clock.now(),
    )
