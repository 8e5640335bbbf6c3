"""Keys of endpoints: making and taking them away, and what a worker knows of them. No database.

Threat model: as in `boucle.identity.tokens`. A key is 256 random bits with a public id, and opens one endpoint, for
predictions and what is needed for them. Only its hash is kept. What is taken away, or cannot be read, opens nothing.
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from boucle.identity.api import compose, hash_of, is_secret
from boucle.kernel.errors import BoucleError, Conflict, InvalidInput, NotFound, Unavailable
from boucle.kernel.locks import turn
from boucle.kernel.paths import make_folder, write_atomic
from boucle.serving.records import ApiKey, ApiKeys
from boucle.serving.switch import MOST_KEYS
from boucle.serving.traffic import check_name, endpoint_folder, read_sealed, sealed

_HINT: Final = "take the file away and make the keys anew: boucle keys add ENDPOINT NAME"
_NO_SECRET: Final = "0" * 64
_CLOSELY: Final = 50
"""So many files are looked at in one round."""
_log: Final = logging.getLogger("boucle.worker")


def keys_file(home: Path, endpoint: str) -> Path:
    """The file of an endpoint's keys."""
    return endpoint_folder(home, endpoint) / "keys.json"


def read_keys(home: Path, endpoint: str) -> ApiKeys:
    """The keys of an endpoint, maybe none."""
    check_name(endpoint)
    return read_sealed(keys_file(home, endpoint), ApiKeys, hint=_HINT) or ApiKeys(endpoint=endpoint)


def add_key(
    home: Path,
    endpoint: str,
    name: str,
    *,
    per_second: float | None,
    now_ms: int,
    permitted: Callable[[ApiKey], None] | None = None,
) -> tuple[str, ApiKey]:
    """A new key of an endpoint: its text, which nobody can tell again, and what is kept of it.

    Here and below `permitted` is called in the same turn before anything changes: for the audit log.
    """
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise InvalidInput(f"a key cannot be called {name[:100]!r}; allowed are 1 to 100 printable characters")
    if per_second is not None and not 0 < per_second <= 1_000_000:
        raise InvalidInput(f"a rate of {per_second:g} requests a second; allowed is more than 0, at most 1,000,000")
    key_id, secret = secrets.token_hex(8), secrets.token_hex(32)
    make_folder(endpoint_folder(home, endpoint))
    with turn(endpoint_folder(home, endpoint) / "traffic.lock"):
        known = read_keys(home, endpoint)
        if any(one.name == name for one in known.keys):
            raise Conflict(
                f"endpoint {endpoint!r} has a key for {name!r}", hint=f"boucle keys remove {endpoint} {name}"
            )
        taken = {one.place for one in known.keys}
        place = next((place for place in range(MOST_KEYS) if place not in taken), None)
        if place is None:
            raise InvalidInput(f"endpoint {endpoint!r} has {len(taken)} keys; at most {MOST_KEYS} are allowed")
        key = ApiKey(
            id=key_id, name=name, secret_hash=hash_of(secret), per_second=per_second, place=place, created_ms=now_ms
        )
        if permitted is not None:
            permitted(key)
        write_atomic(keys_file(home, endpoint), sealed(replace(known, keys=[*known.keys, key], open=False)))
    return compose(key_id, secret), key


def remove_key(home: Path, endpoint: str, name: str, *, permitted: Callable[[ApiKey], None] | None = None) -> ApiKey:
    """Take a key away. The last one that goes leaves the endpoint closed, until it is opened."""
    make_folder(endpoint_folder(home, endpoint))
    with turn(endpoint_folder(home, endpoint) / "traffic.lock"):
        known = read_keys(home, endpoint)
        key = next((one for one in known.keys if one.name == name), None)
        if key is None:
            names = ", ".join(one.name for one in known.keys) or "none"
            raise NotFound(
                f"endpoint {endpoint!r} has no key for {name!r}; known are {names}", hint=f"boucle keys list {endpoint}"
            )
        if permitted is not None:
            permitted(key)
        write_atomic(keys_file(home, endpoint), sealed(replace(known, keys=[one for one in known.keys if one != key])))
    return key


def open_again(home: Path, endpoint: str, *, permitted: Callable[[], None] | None = None) -> None:
    """Let an endpoint be asked without a key. Conflict while it has keys, NotFound if it is not closed."""
    make_folder(endpoint_folder(home, endpoint))
    with turn(endpoint_folder(home, endpoint) / "traffic.lock"):
        known = read_keys(home, endpoint)
        if known.keys:
            names = ", ".join(one.name for one in known.keys)
            raise Conflict(
                f"endpoint {endpoint!r} has keys: {names}; it is opened once they are taken away",
                hint=f"boucle keys remove {endpoint} {known.keys[0].name}",
            )
        if known.open or not keys_file(home, endpoint).exists():
            raise NotFound(f"endpoint {endpoint!r} is asked without a key already", hint="boucle endpoints")
        if permitted is not None:
            permitted()
        write_atomic(keys_file(home, endpoint), sealed(replace(known, open=True)))


class Holder(NamedTuple):
    """Who asks by a key, and where it opens."""

    endpoint: str
    key: ApiKey


class Keyring:
    """The keys of a server's endpoints, as its files have them. `look` is for one thread, the others for any."""

    def __init__(self, home: Path, endpoints: Sequence[str]) -> None:
        self._files = [(name, keys_file(home, name)) for name in endpoints]
        self._home = home
        self._stamps: dict[str, tuple[int, ...]] = {}
        self._holders: dict[str, Holder] = {}
        self._locked: frozenset[str] = frozenset()
        self._told: dict[str, str] = {}
        """By endpoint: why its keys cannot be read."""
        self._next = 0
        for name, file in self._files:
            self._look_at(name, file)

    def add(self, endpoint: str) -> None:
        """Look after the keys of one more endpoint, and read them. Twice is harmless."""
        one = endpoint, keys_file(self._home, endpoint)
        self._look_at(*one)
        if one not in self._files:
            self._files.append(one)

    def remove(self, endpoint: str) -> None:
        """The endpoint is served no more."""
        self._files = [one for one in self._files if one[0] != endpoint]
        self._locked -= {endpoint}
        self._stamps.pop(endpoint, None)
        self._told.pop(endpoint, None)
        self._holders = {key_id: one for key_id, one in self._holders.items() if one.endpoint != endpoint}

    def look(self) -> None:
        """Read the files again that changed; of many endpoints some at a time."""
        files = self._files
        for _ in range(min(_CLOSELY, len(files))):
            self._next = (self._next + 1) % len(files)
            self._look_at(*files[self._next])

    @property
    def is_empty(self) -> bool:
        """Whether everybody may ask every endpoint."""
        return not self._locked

    @property
    def lock_all(self) -> bool:
        """Whether nobody may ask any endpoint without a key."""
        return 0 < len(self._files) == len(self._locked)

    def is_locked(self, endpoint: str) -> bool:
        """Whether an endpoint is asked by a key only."""
        return endpoint in self._locked

    def holder(self, key_id: str, secret: str) -> Holder | None:
        """Who has this key; None if there is no such key. Takes as long whether or not its id is known."""
        holder = self._holders.get(key_id)
        is_right = is_secret(secret, holder.key.secret_hash if holder else _NO_SECRET)
        return holder if is_right else None

    def _look_at(self, name: str, file: Path) -> None:
        try:
            found = file.stat()
            stamp: tuple[int, ...] = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        except FileNotFoundError:
            stamp = ()
        except OSError:
            return
        if stamp == self._stamps.get(name, ()):
            return
        others = {key_id: one for key_id, one in self._holders.items() if one.endpoint != name}
        is_open, is_read = not stamp, True
        if stamp:
            try:
                found_keys = read_keys(self._home, name)
                others |= {one.id: Holder(name, one) for one in found_keys.keys}
                is_open = found_keys.open and not found_keys.keys
            except (BoucleError, OSError) as error:  # what cannot be read opens nothing
                if self._told.get(name) != (why := str(error)):
                    self._told[name] = why
                    _log.warning("endpoint %s answers nobody: %s", name, why)
                is_read = not isinstance(error, Unavailable | OSError)  # these pass: it is read again in the next round
            else:
                self._told.pop(name, None)
        if is_read:
            self._stamps[name] = stamp
        self._locked = self._locked - {name} if is_open else self._locked | {name}
        self._holders = others
