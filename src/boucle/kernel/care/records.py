"""The nouns of care: what may go, what is wrong. Light: the pipeline's and the server's rooms import it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from boucle.kernel.progress import Progress
    from boucle.kernel.store import Store

Kind = Literal[
    "step result",
    "step progress",
    "step files",
    "bundle folder",
    "bundle folder of the server",
    "log segment",
    "part of the log",
    "temporary file",
    "blob",
]


class Purge(Struct, frozen=True):
    """Rows that go for good, in units of work that are short."""

    where: dict[str, str]
    """The SQL condition, by table, of the rows that go; they need no blob any more."""
    run: "Callable[[Store, Progress], None]"
    """Takes them away."""


class Candidate(Struct, frozen=True, kw_only=True):
    """A file or folder that may go, as it was when it was found."""

    kind: Kind
    path: Path
    size_bytes: int
    inode: int
    used_ns: int
    """When it was last put or used, in nanoseconds of the machine's clock."""
    age_s: float
    """It stays until it has not been used for this long."""


class Gone(Struct, frozen=True, kw_only=True):
    """One thing that went, or would go."""

    kind: Kind
    path: str
    """Below the home folder."""
    size_bytes: int


class GcReport(Struct, frozen=True, kw_only=True):
    """What went, or would go."""

    deleted: bool
    """False for a dry run."""
    gone: list[Gone]
    kept_blobs: int
    expired: dict[str, int]
    """Rows by table that were kept longer than `governance.keep_days`, or deleted for longer than `--deleted-days`."""

    @property
    def size_bytes(self) -> int:
        """How much disk that is."""
        return sum(one.size_bytes for one in self.gone)


def candidate(kind: Kind, path: Path, age_s: float) -> Candidate | None:
    """What may go, with its present time; None if it is gone already."""
    try:
        seen = path.lstat()
        size = sum(file.lstat().st_size for file in path.rglob("*")) if path.is_dir() else seen.st_size
    except FileNotFoundError:
        return None
    return Candidate(kind=kind, path=path, size_bytes=size, inode=seen.st_ino, used_ns=seen.st_mtime_ns, age_s=age_s)


ProblemKind = Literal[
    "database_missing",
    "database_damaged",
    "schema_newer",
    "misplaced",
    "row_without_parent",
    "audit_broken",
    "audit_head_missing",
    "blob_damaged",
    "blob_missing",
    "result_broken",
    "folder_damaged",
    "traffic_broken",
    "log_damaged",
    "log_cut",
    "temporary_left",
    "stray",
    "open_to_others",
]
HARMLESS: Final[frozenset[ProblemKind]] = frozenset({"log_cut", "temporary_left", "stray", "open_to_others"})
"""Kinds that are told, and are no damage: nothing that was acknowledged is lost or false."""


class StoreProblem(Struct, frozen=True, kw_only=True):
    """What is wrong with one object of a store."""

    kind: ProblemKind
    object: str
    """A path below the home folder, a digest, or a row."""
    message: str
    needed_by: list[str] = []
    """What cannot be had without it."""
    next: str | None = None
    """The exact next command."""
    repaired: bool = False

    @property
    def is_damage(self) -> bool:
        """Whether something is lost or false."""
        return self.kind not in HARMLESS
