"""The errors a user can meet.

BoucleError               internal          a mistake of Boucle's own                                exit 1, HTTP 500
├── InvalidInput          invalid_input     what was given is wrong: a file, a value, a table        exit 2, HTTP 400
│   ├── InvalidProject    invalid_project   boucle.yaml is not as it must be
│   ├── ProjectCodeFailed project_code      code of the project raised an error
│   └── CannotCompile     cannot_compile    a part of a model cannot be written as data
├── NotFound              not_found         the named thing does not exist                           exit 2, HTTP 404
│   └── NothingStored     nothing_stored    the project has no store yet
├── Conflict              conflict          it exists already, or somebody else changed it           exit 2, HTTP 409
│   └── NewerStore        newer_store       a newer Boucle wrote the store
├── Unauthenticated       unauthenticated   a request says not, or not rightly, who sends it        exit 3, HTTP 401
├── Refused               refused           a gate, a check or a policy says no                      exit 3, HTTP 403
│   ├── DataRefused       data_refused      a check that blocks failed
│   └── GatesRefused      gates_refused     a gate says no to a version
├── Damaged               damaged           stored bytes are not what they were                      exit 4, HTTP 500
├── Busy                  busy              more is asked than can be answered in time               exit 5, HTTP 429
├── Late                  late              the answer would come after the request's deadline       exit 5, HTTP 504
└── Unavailable           unavailable       something outside is missing: port, disk, package        exit 5, HTTP 503
    ├── DiskFull          disk_full         no room to write
    └── PortInUse         port_in_use       cannot listen on a port

A code of its own has what a person can do something particular about; status and exit code are those of its parent.
`boucle explain CODE` tells of each. Each message says what was wrong with its value and what is allowed; `hint` is the
exact next command or edit.
"""

# ruff: noqa: N818 - the names say what happened; that they are errors shows where they are raised

from collections.abc import Mapping
from typing import ClassVar


class BoucleError(Exception):
    """Base of every error that Boucle raises on purpose.

    `code` is stable and documented; `details` is JSON-ready and goes into `--json` output and HTTP bodies.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = dict(details or {})


class InvalidInput(BoucleError):
    """What the user gave is wrong; nothing was changed."""

    code = "invalid_input"
    status = 400
    exit_code = 2


class InvalidProject(InvalidInput):
    """boucle.yaml is not as it must be; every mistake is listed with its line."""

    code = "invalid_project"


class ProjectCodeFailed(InvalidInput):
    """Code of the project's own raised an error."""

    code = "project_code"


class CannotCompile(InvalidInput):
    """A fitted model has a part that no compiler writes as data."""

    code = "cannot_compile"


class NotFound(BoucleError):
    """The named thing does not exist."""

    code = "not_found"
    status = 404
    exit_code = 2


class NothingStored(NotFound):
    """The project has no store yet."""

    code = "nothing_stored"


class Conflict(BoucleError):
    """The thing exists already, or changed since it was read."""

    code = "conflict"
    status = 409
    exit_code = 2


class NewerStore(Conflict):
    """A newer Boucle wrote the store."""

    code = "newer_store"


class Unauthenticated(BoucleError):
    """A request does not say, or not rightly, who sends it. Never tells whether a user or a token exists."""

    code = "unauthenticated"
    status = 401
    exit_code = 3
    challenge: ClassVar[str] = 'Basic realm="boucle", Bearer'
    """The header `WWW-Authenticate` of the answer (RFC 9110, 11.6.1)."""

    def __init__(self, message: str, *, hint: str | None = None, delay_s: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.delay_s = delay_s
        """How long the answer is held back, without keeping others waiting; for clients that try again and again."""


class Refused(BoucleError):
    """A gate, a check or a policy says no."""

    code = "refused"
    status = 403
    exit_code = 3


class DataRefused(Refused):
    """A check that blocks failed."""

    code = "data_refused"


class GatesRefused(Refused):
    """A gate says no to a version."""

    code = "gates_refused"


class Damaged(BoucleError):
    """Stored bytes are not what they were when they were written."""

    code = "damaged"
    status = 500
    exit_code = 4


class Busy(BoucleError):
    """More is asked at once than can be answered in time; nothing was computed."""

    code = "busy"
    status = 429
    exit_code = 5

    def __init__(self, message: str, *, retry_after_s: float, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s
        """When to ask again; over HTTP the header `Retry-After`, in whole seconds, rounded up."""


class Late(BoucleError):
    """The answer would come after the deadline that the request brought; it was not computed."""

    code = "late"
    status = 504
    exit_code = 5


class Unavailable(BoucleError):
    """Something outside Boucle is missing: a port, disk space, a package, a server."""

    code = "unavailable"
    status = 503
    exit_code = 5

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        details: Mapping[str, object] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.retry_after_s = retry_after_s
        """When to ask again, where that is known; see `Busy`."""


class DiskFull(Unavailable):
    """There is no room to write."""

    code = "disk_full"


class PortInUse(Unavailable):
    """A port cannot be listened on."""

    code = "port_in_use"


def not_utf8(error: UnicodeEncodeError) -> InvalidInput:
    """What a person is told of text that cannot be written: lone surrogates stand for bytes that are not UTF-8."""
    return InvalidInput(
        f"{error.object[:100]!r} is not UTF-8",
        hint="give the same command with that text in UTF-8; `iconv -f latin1 -t utf-8` makes it of Latin-1",
    )
