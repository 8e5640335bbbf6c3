"""What `boucle doctor` looks at: the machine, the packages, and of a project its store, port and settings.

Looks only: opens no store, makes no file.
"""

import os
import platform
import resource
import shutil
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import asdict

from boucle import __version__
from boucle.app.environment import Fact, extras, inspect
from boucle.kernel.errors import BoucleError

if TYPE_CHECKING:
    from boucle.monitoring.alerting.policy import Route

MIN_SQLITE: Final = (3, 35)
"""Older ones lack what the queries use (RETURNING, renamed columns)."""
MIN_FILES: Final = 512
MIN_MEMORY_MB: Final = 1000
AHEAD_S: Final = 60.0
"""Clocks of two machines that write to one folder may differ by this much."""


def examine_machine(home: Path) -> list[Fact]:
    """What is so whatever the project; `home` is where a store is or would be."""
    return [
        _fact("Boucle", __version__),
        *inspect(home),
        *extras(),
        _sqlite(),
        _tool("git", "runs do not note the code's version"),
        _files(),
        _cores(),
        _memory(),
        _encoding(),
        _clock(home),
    ]


def examine_store(home: Path) -> list[Fact]:
    """The store in `home`, whether it is there or not."""
    return [_schema(home), *_permissions(home), _newest(home)]


def examine_port(host: str, port: int) -> Fact:
    """Whether the server of the project could listen."""
    name, value = "port", f"{host}:{port}"
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        told = f"{value}: {error.strerror or error}"
        return _fact(name, told, "if that is not this project's server: boucle serve --port PORT", needed=False)
    return _fact(name, f"{value} is free")


def examine_routes(routes: "Sequence[Route]") -> Iterator[Fact]:
    """Whether the environment variables are set that the routes of alerts name; what they hold is not shown."""
    for route in routes:
        for variable in (value for name, value in asdict(route).items() if name.endswith("_env") and value):
            is_set = bool(os.environ.get(variable, "").strip())
            told = f"{variable} is {'set' if is_set else 'not set here'}"
            message = "" if is_set else f"set {variable} where `boucle monitor` or `boucle up` is started"
            yield _fact(f"route {route.name}", told, message, needed=False)


def _fact(name: str, value: str, message: str = "", *, needed: bool = True) -> Fact:
    return Fact(name=name, value=value, passed=not message, message=message, needed=needed)


def _sqlite() -> Fact:
    wanted = ".".join(map(str, MIN_SQLITE))
    passed = sqlite3.sqlite_version_info >= MIN_SQLITE
    return _fact("SQLite", sqlite3.sqlite_version, "" if passed else f"use a Python with SQLite {wanted} or later")


def _tool(name: str, without: str) -> Fact:
    found = shutil.which(name)
    return _fact(name, found or "missing", "" if found else f"without it {without}: apt install {name}", needed=False)


def _files() -> Fact:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = "no limit" if soft == resource.RLIM_INFINITY else f"{soft:,}"
    enough = soft == resource.RLIM_INFINITY or soft >= MIN_FILES
    return _fact("open files", told, "" if enough else "ulimit -n 4096")


def _cores() -> Fact:
    return _fact("cores", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}, {platform.machine()}")


def _memory() -> Fact:
    total_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000
    message = "" if total_mb >= MIN_MEMORY_MB else f"larger tables need at least {MIN_MEMORY_MB:,} MB"
    return _fact("memory", f"{total_mb:,} MB", message, needed=False)


def _encoding() -> Fact:
    """What the terminal takes; tables and names may hold any character."""
    encoding = (getattr(sys.stdout, "encoding", None) or "unknown").lower()
    passed = encoding.replace("-", "") == "utf8"
    return _fact("encoding", encoding, "" if passed else "some signs are replaced: export LC_ALL=C.UTF-8", needed=False)


def _clock(home: Path) -> Fact:
    """The time, and whether it is before that of a file that is there already."""
    now = datetime.now(UTC)
    zone = time.strftime("%Z (UTC%z)")
    told = f"{now:%Y-%m-%d %H:%M:%S} UTC, zone {zone}"
    known = [path for path in (Path(__file__), *home.glob("boucle.db*")) if path.exists()]
    ahead = max((path.stat().st_mtime - now.timestamp() for path in known), default=0.0)
    return _fact("clock", told, _set_clock(ahead, "a file that was written before") if ahead > AHEAD_S else "")


def _set_clock(seconds: float, what: str) -> str:
    return f"{seconds:,.0f} s behind {what}; set it: timedatectl set-ntp true"


def _schema(home: Path) -> Fact:
    from boucle.kernel.schema import REVISIONS, is_current, version_of

    path, name = home / "boucle.db", "store"
    try:
        version, current = version_of(path), is_current(path)
    except BoucleError as error:
        return _fact(name, error.message, error.hint or "boucle explain damaged")
    if version is None:
        return _fact(name, f"nothing is stored yet in {home}")
    told = f"schema {version} in {home}"
    return _fact(name, told if current else f"{told}; the next command that writes brings it to {REVISIONS[-1]}")


def _newest(home: Path) -> Fact:
    """Audit records bear the time of writing: none may be of the future."""
    name, newest = "newest audit record", None
    try:
        with closing(sqlite3.connect(f"file:{home / 'boucle.db'}?mode=ro", uri=True, timeout=2)) as database:
            row = database.execute("SELECT at FROM audit_log ORDER BY sequence DESC LIMIT 1").fetchone()
            newest = datetime.fromisoformat(row[0]) if row else None
    except (sqlite3.Error, ValueError):
        pass
    if newest is None:
        return _fact(name, "none yet")
    ahead = (newest - datetime.now(UTC)).total_seconds()
    message = _set_clock(ahead, "the newest audit record") if ahead > AHEAD_S else ""
    return _fact(name, f"{newest:%Y-%m-%d %H:%M:%S} UTC", message)


def _permissions(home: Path) -> Iterator[Fact]:
    """Whether you may write where you must, and others may not read."""
    if not home.exists():
        above = next(one for one in home.parents if one.exists())
        passed = above.is_dir() and os.access(above, os.W_OK | os.X_OK)
        yield _fact("home", f"{home}, not made yet", "" if passed else _elsewhere(above))
        return
    if not home.is_dir():
        yield _fact("home", f"{home} is no folder", f"move it, or choose another: boucle --home FOLDER doctor ({home})")
        return
    inside = [home, *sorted(home.iterdir())]
    foreign = [path for path in inside if path.lstat().st_uid != os.geteuid()]
    locked = [path for path in inside if not os.access(path, os.W_OK)]
    wrong = [*foreign, *locked]
    told = f"{home}: {len(inside) - 1} files and folders" + (f", not yours: {wrong[0]}" if wrong else "")
    yield _fact("home", told, f"chown -R $(id -un) '{home}' && chmod -R u+rwX '{home}'" if wrong else "")
    mode = home.stat().st_mode & 0o777
    yield _fact("home's mode", f"{mode:o}", "" if not mode & 0o077 else f"others may look in: chmod 700 '{home}'")


def _elsewhere(folder: Path) -> str:
    return f"{folder} is not writable for you; choose another: boucle --home FOLDER run"
