"""Every kind of file in a store's home folder: what it is, whether a backup holds it, and whether it can be made again.

What fits no kind is a stray. A new kind of file begins here; a test holds docs/store.md to this list.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct


class FileKind(Struct, frozen=True):
    """One kind of file, by its path below the home folder."""

    pattern: str
    """As documentation writes it: `<...>` stands for one name, `**` for anything below."""
    meaning: str
    kept: bool = False
    """Whether a backup holds it as it is."""
    temporary: bool = False
    """Whether it is being written now, or was left by a writer that was killed."""

    @property
    def expression(self) -> re.Pattern[str]:
        """The pattern as a regular expression."""
        escaped = re.escape(self.pattern).replace(r"\*\*", ".+").replace(r"\*", "[^/]*")
        for name, form in _NAMES.items():
            escaped = escaped.replace(f"<{name}>", form)
        return re.compile(escaped)

    @property
    def glob(self) -> str:
        """What finds such files, or the folder that all below it is in."""
        return re.sub("<[a-z]+>", "*", self.pattern.removesuffix("/**"))


_NAMES: Final = {
    "digest": "[0-9a-f]{64}",
    "two": "[0-9a-f]{2}",
    "endpoint": r"(?!bundles/|\.)[^/]+",
    "number": "[0-9]{8}",
    "any": "[^/]+",
}

DATABASE: Final = "boucle.db"
HEAD: Final = "audit-head.json"
FOLDERS: Final = ("blobs", "cache", "serving", "damaged")
SEGMENT: Final = FileKind("serving/<endpoint>/log/segment-<number>.log", "the prediction log, up to whole frames")
PART: Final = FileKind("serving/<endpoint>/log/day=<any>/<number>-<any>.parquet", "the prediction log, compacted")
BLOB: Final = FileKind("blobs/<two>/<digest>", "bytes under their digest; a backup holds those that are needed")
KINDS: Final = (
    FileKind(DATABASE, "metadata: SQLite; a backup holds a snapshot of it"),
    FileKind("boucle.db-wal", "its write-ahead log"),
    FileKind("boucle.db-shm", "the index of that log, while it is open"),
    FileKind("boucle.db.lock*", "makes processes take turns at writing"),
    FileKind(HEAD, "place and hash of the newest audit record; a backup holds that of its snapshot"),
    FileKind("parts.json", "what the parts of `boucle up` do; made again"),
    FileKind("identity.json", "changes with users and tokens, so that servers read them again; made again"),
    FileKind("care.lock*", "makes backup, fsck and gc take turns"),
    BLOB,
    FileKind("blobs/present/<any>", "one for each process that works in the store"),
    FileKind("blobs/use.lock*", "held while something gets its name or is taken away"),
    FileKind("cache/<digest>.json", "what a finished step gave", kept=True),
    FileKind("cache/progress/<digest>.json", "how far a step came that was interrupted"),
    FileKind("cache/bundles/<digest>/**", "bundles written out to be asked; made again from blobs"),
    FileKind("cache/trees/<digest>/**", "files of steps written out; made again from blobs"),
    FileKind("cache/work/**", "files of steps that are running"),
    FileKind("serving/bundles/<digest>/**", "bundles written out for the server; made again from blobs"),
    FileKind("serving/bundles/<digest>.<digest>.sig", "signatures of those bundles; made again from blobs"),
    FileKind("serving/.deploying.lock*", "keeps a version from being deleted while it is being deployed"),
    FileKind("serving/<endpoint>/traffic.json", "which version the endpoint shall answer with", kept=True),
    FileKind("serving/<endpoint>/traffic.lock*", "makes processes take turns at deploying"),
    FileKind("serving/<endpoint>/ack.json", "which version its worker answers with"),
    FileKind("serving/<endpoint>/keys.json", "who may ask the endpoint, by hashes of keys", kept=True),
    FileKind("serving/<endpoint>/log.json", "what its project keeps of its log", kept=True),
    FileKind("serving/<endpoint>/server.lock", "held by the one server of the endpoint"),
    FileKind("serving/<endpoint>/counters/slot-<any>", "what its workers count; begun anew"),
    FileKind("serving/<endpoint>/service/hour-<any>", "what the endpoint did by the minute", kept=True),
    FileKind("serving/<endpoint>/service/.<any>", "a file that is being written", temporary=True),
    FileKind("serving/<endpoint>/server.log", "what the server of a replay prints"),
    SEGMENT,
    PART,
    FileKind("serving/<endpoint>/log/bound.json", "what the bound on the log's size has cost", kept=True),
    FileKind("blobs/incoming/<any>", "a blob that is being written", temporary=True),
    FileKind(".<any>", "a file that is being written", temporary=True),
    FileKind("cache/.<any>", "a file that is being written", temporary=True),
    FileKind("cache/progress/.<any>", "a file that is being written", temporary=True),
    FileKind("cache/trees/.<any>/**", "a folder that is being written", temporary=True),
    FileKind("cache/bundles/.<any>/**", "a folder that is being written", temporary=True),
    FileKind("serving/bundles/.<any>/**", "a folder that is being written", temporary=True),
    FileKind("serving/bundles/.<any>", "a file that is being written", temporary=True),
    FileKind("serving/<endpoint>/.<any>", "a file that is being written", temporary=True),
    FileKind("serving/<endpoint>/log/.<any>", "a file that is being written", temporary=True),
    FileKind("serving/<endpoint>/log/day=<any>/.<any>", "a file that is being written", temporary=True),
    FileKind("damaged/<any>", "what `boucle fsck --repair` moved out of the way"),
)

_EXPRESSIONS: Final = [(kind, kind.expression) for kind in KINDS]


def kind_of(path: str) -> FileKind | None:
    """What a file is, by its path below the home; None for a stray.

    >>> kind_of("boucle.db-wal").meaning, kind_of("notes.txt")
    ('its write-ahead log', None)
    """
    return next((kind for kind, expression in _EXPRESSIONS if expression.fullmatch(path)), None)


def temporaries(home: Path) -> Iterator[Path]:
    """What is being written now, and what writers that were killed left: files, and whole folders."""
    yield from sorted({path for kind in KINDS if kind.temporary for path in home.glob(kind.glob)})


def files(home: Path) -> Iterator[tuple[str, Path]]:
    """Every file below the home but blobs, sorted, by its path there; what vanishes meanwhile may be left out."""
    for folder in sorted(home.iterdir()):
        if not folder.is_dir():
            yield folder.name, folder
        elif folder.name != "blobs":
            for path in sorted(folder.rglob("*")):
                if not path.is_dir() or path.is_symlink():
                    yield path.relative_to(home).as_posix(), path
