"""Where runs go: a server, or a store's folder on this machine; and where their spools lie until then."""

import os
import re
import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct

from boucle.kernel.errors import InvalidInput

_PROJECT: Final = re.compile(r"""^project:\s*["']?([\w.-]+)""", re.MULTILINE)
_OF_PROJECT: Final = re.compile(r"/p/([^/]+)$")
_LOGIN: Final = re.compile(r"(?<=^http://)[^/\s]*@|(?<=^https://)[^/\s]*@")
_logins: Final[dict[tuple[str, str], str]] = {}
"""Names and passwords that stood in addresses, by server. They are in no file, no message and no copy of a run."""
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}")


class Destination(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A server (`url`) or a store (`home`); exactly one of both. Also what the owner file of a spool says."""

    url: str | None = None
    home: str | None = None
    project: str | None = None
    """None is the server's default."""

    def __str__(self) -> str:
        return _LOGIN.sub("", self.url) if self.url else str(self.home)

    @property
    def server(self) -> tuple[str, str] | None:
        """Scheme, host and port: who sees a token that is sent there; None for a store."""
        return None if self.url is None else _server(self.url)

    def encoded(self) -> bytes:
        return msgspec.json.encode(self)


def destination(url: str | None, home: str | Path | None, project: str | None) -> Destination:
    """What the arguments, the environment and the current folder say, in this order."""
    if project is not None and not _NAME.fullmatch(project):
        raise InvalidInput(
            f"project is {project!r}; allowed are 1 to 100 letters, digits, _, . and -, a letter or digit first"
        )
    if url is not None and home is not None:
        raise InvalidInput(f"url is {_shown(url)!r} and home is {str(home)!r}; it is one of both: leave one out")
    if home is None:
        url = url or url_of_environment()
        if url is not None:
            return _at(url.rstrip("/"), project)
    from boucle.kernel.settings import resolve, value_of

    here = current_folder()
    if here is None:
        return Destination(home=_home_of_nowhere(home), project=project or "default")
    folder = _project_folder(here)
    flags = {"home": None if home is None else str(home)}
    found = value_of(resolve(flags, os.environ, folder or here), "home")
    return Destination(home=_as_text(found), project=project or _project_named(folder))


def current_folder() -> Path | None:
    """The current folder; None if it was deleted under the process."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def spool_root(given: str | Path | None) -> Path:
    """The folder of spools: given, BOUCLE_SPOOL, or below the user's state folder, where all processes find it."""
    if given or os.environ.get("BOUCLE_SPOOL"):
        wanted = Path(given or os.environ["BOUCLE_SPOOL"])
        try:
            return wanted.expanduser().absolute()
        except (RuntimeError, FileNotFoundError) as error:  # nobody of that name; no current folder
            raise InvalidInput(
                f"the folder of spools is {str(wanted)!r}, which leads nowhere", hint="give a path that begins with /"
            ) from error
    state = os.environ.get("XDG_STATE_HOME")
    if state and Path(state).is_absolute():
        return Path(state) / "boucle" / "spool"
    try:
        return Path.home() / ".local" / "state" / "boucle" / "spool"
    except RuntimeError:  # a user id without an account
        return Path(tempfile.gettempdir()) / f"boucle-spool-{os.getuid()}"


def url_of_environment() -> str | None:
    """The server that the environment names, and whose its token is."""
    url = os.environ.get("BOUCLE_URL")
    if url:
        return url
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "")
    return tracking if tracking.startswith(("http://", "https://")) else None


def _home_of_nowhere(home: str | Path | None) -> str:
    """The store of a process without a current folder."""
    given = Path(home or os.environ.get("BOUCLE_HOME") or ".boucle")
    if not given.is_absolute():
        raise InvalidInput(
            f"the current folder was deleted, so there is no {str(given)!r} in it",
            hint='say where runs go: boucle.start_run(home="/path/to/store")',
        )
    return _as_text(str(given))


def _as_text(home: str) -> str:
    """The path of a store, which spools must be able to say."""
    try:
        home.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"the store is {home!r}, whose name is no text, so that nothing can be tracked into it",
            hint='say where runs go: boucle.start_run(home="/path/to/store")',
        ) from error
    return home


def login_at(server: tuple[str, str]) -> str | None:
    """`name:password` for a server whose address came with them, here or in the environment; None without."""
    return _logins.get(server) or _login_in(url_of_environment() or "", server)


def _at(url: str, project: str | None) -> Destination:
    """The server at an address, which may name a project and who asks."""
    plain = _LOGIN.sub("", url)
    try:
        is_one = re.match(r"https?://[^/]", plain) and urlsplit(plain).port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise InvalidInput(f"url is {_shown(url)!r}; allowed are http:// and https:// addresses")
    named = _OF_PROJECT.search(plain)
    if named and project not in (None, named[1]):
        raise InvalidInput(
            f"url is {_shown(url)!r}, of project {named[1]!r}, and project is {project!r}; it is one of both",
            hint=f"leave project out, or give the address without {named[0]}",
        )
    server = _server(plain)
    if login := _login_in(url, server):
        _logins[server] = login
    return Destination(url=plain, project=None if named else project)


def _shown(url: str) -> str:
    """An address, however it is written, without what may be a password."""
    return re.sub(r"^(\w+://)?.*@", r"\1[masked]@", url)


def _server(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower()


def _login_in(url: str, server: tuple[str, str]) -> str | None:
    """Name and password in an address, if it is one of that server."""
    found = _LOGIN.search(url)
    return unquote(found[0][:-1]) if found and _server(_LOGIN.sub("", url)) == server else None


def _project_folder(here: Path) -> Path | None:
    return next((folder for folder in (here, *here.parents) if (folder / "boucle.yaml").is_file()), None)


def _project_named(folder: Path | None) -> str:
    if folder is None:
        return "default"
    try:
        found = _PROJECT.search((folder / "boucle.yaml").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return "default"
    return found[1] if found else "default"
