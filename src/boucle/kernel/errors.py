"""The errors a user can meet.

BoucleError
├── InvalidInput      what was given is wrong: a file, a value, a table      exit 2, HTTP 400
├── NotFound          the named thing does not exist                         exit 2, HTTP 404
├── Conflict          it exists already, or somebody else changed it         exit 2, HTTP 409
├── Refused           a gate, a check or a policy says no                    exit 3, HTTP 403
├── Damaged           stored bytes are not what they were                    exit 4, HTTP 500
└── Unavailable       something outside is missing: port, disk, package      exit 5, HTTP 503

Each message says what was wrong with its value and what is allowed; `hint` is the exact next command or edit.
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


class NotFound(BoucleError):
    """The named thing does not exist."""

    code = "not_found"
    status = 404
    exit_code = 2


class Conflict(BoucleError):
    """The thing exists already, or changed since it was read."""

    code = "conflict"
    status = 409
    exit_code = 2


class Refused(BoucleError):
    """A gate, a check or a policy says no."""

    code = "refused"
    status = 403
    exit_code = 3


class Damaged(BoucleError):
    """Stored bytes are not what they were when they were written."""

    code = "damaged"
    status = 500
    exit_code = 4


class Unavailable(BoucleError):
    """Something outside Boucle is missing: a port, disk space, a package, a server."""

    code = "unavailable"
    status = 503
    exit_code = 5
