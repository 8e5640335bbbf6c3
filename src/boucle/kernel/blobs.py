"""Bytes by digest. A blob is written once, never changed; its name is the SHA-256 of what is in it."""

import hashlib
import os
import re
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final

from boucle.kernel.digests import Digest, digest_bytes, digest_file, short
from boucle.kernel.errors import Damaged, InvalidInput, NotFound
from boucle.kernel.paths import make_folder, sync_folder, translate
from boucle.kernel.points import reach
from boucle.kernel.presence import Presence

_PIECE_BYTES: Final = 1 << 20
_DIGEST: Final = re.compile("[0-9a-f]{64}")
_SURE: Final = 0o400


class BlobStore:
    """A folder of blobs, `<root>/<first two digits>/<digest>`. Safe for many threads and processes at once.

    A blob has its name only when its bytes are on the disk, so a crash leaves at most a nameless temporary file; its
    file is read-only (`_SURE`) only when its name is on the disk, too. What is not sure is written anew: after a sync
    that failed, the system's memory may call clean what never reached the disk.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.presence = Presence(root)

    def close(self) -> None:
        """Say that nothing that was put here waits for its reference any more. Closing twice is harmless."""
        self.presence.end()

    def put(self, data: bytes) -> Digest:
        """Keep bytes; the same bytes again change nothing, but mend a file that was damaged."""
        digest = digest_bytes(data)
        with translate(self.root):
            if self.is_kept(digest):
                return digest
            incoming = self.incoming()
            try:
                with incoming.open("wb") as file:
                    file.write(data)
                    file.flush()
                    reach("blob.written")
                    os.fsync(file.fileno())
                    reach("blob.synced")
                    self.name(incoming, digest, file.fileno())
            finally:
                incoming.unlink(missing_ok=True)
        reach("blob.kept")
        return digest

    def put_file(self, path: Path) -> Digest:
        """Keep a copy of a file, read once and in pieces; as `put`."""
        with translate(self.root), path.open("rb") as source, self.receive() as incoming:
            while piece := source.read(_PIECE_BYTES):
                incoming.write(piece)
            return incoming.finish()

    def receive(self) -> "Incoming":
        """Begin a blob that comes piece by piece, of any size: no more than a piece of it is in memory at a time."""
        return Incoming(self)

    def get(self, digest: Digest) -> bytes:
        """The bytes, verified. NotFound if there are none, Damaged if they are not what they were."""
        file = self.path(digest)
        with translate(file):
            data = file.read_bytes()
        self._compare(digest, digest_bytes(data), file)
        return data

    def path(self, digest: Digest) -> Path:
        """The file that holds a blob, to read only and not verified; NotFound if there is none."""
        file = self._file(digest)
        if not file.is_file():
            raise NotFound(
                f"no blob {short(digest)} in {str(self.root)!r}",
                hint="run `boucle run` to build it again",
                details={"digest": digest},
            )
        return file

    def has(self, digest: Digest) -> bool:
        """Whether a blob is kept here."""
        return self._file(digest).is_file()

    def use(self, digest: Digest) -> bool:
        """Whether a blob is kept here; it then counts as used now, which spares it until this user has named it."""
        return self.presence.use(self._file(digest))

    def verify(self, digest: Digest) -> None:
        """Raise Damaged if a blob's bytes are not what they were, NotFound if there are none."""
        file = self.path(digest)
        with translate(file):
            found = digest_file(file)
        self._compare(digest, found, file)

    def is_kept(self, digest: Digest) -> bool:
        """Whether these very bytes are kept for sure; no other answer may be given for a new write."""
        file = self._file(digest)
        try:
            if file.stat().st_mode & 0o777 != _SURE or digest_file(file) != digest:
                return False
        except (FileNotFoundError, IsADirectoryError):  # never kept, or collected meanwhile
            return False
        return self.presence.use(file)

    def _file(self, digest: Digest) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise InvalidInput(f"{digest!r} is no digest; allowed are 64 hexadecimal digits, 0-9 and a-f")
        return self.root / digest[:2] / digest

    def incoming(self) -> Path:
        """A new file for bytes that have no name yet."""
        self.presence.begin()
        folder = self.root / "incoming"
        make_folder(folder)
        descriptor, name = tempfile.mkstemp(dir=folder)
        os.close(descriptor)
        return Path(name)

    def name(self, incoming: Path, digest: Digest, descriptor: int) -> None:
        """Give a file whose bytes are on the disk the name of its digest, for sure when this returns."""
        target = self._file(digest)
        make_folder(target.parent)
        reach("blob.unnamed")
        with self.presence.naming():
            self.presence.stamp(incoming)
            incoming.replace(target)
        reach("blob.named")
        sync_folder(target.parent)
        os.fchmod(descriptor, _SURE)

    def _compare(self, expected: Digest, found: Digest, file: Path) -> None:
        if expected != found:
            raise Damaged(
                f"blob {short(expected)} is damaged: the bytes of {str(file)!r} now have the digest {short(found)}",
                hint=f"delete that file, then run `boucle run` to build it again: rm -f '{file}'",
                details={"digest": expected, "found": found, "file": str(file)},
            )


class Incoming:
    """Bytes on their way to become a blob, hashed as they come. For one thread at a time.

    They have no name until `finish`, and are gone after `abort` or at the end of a `with` that did not finish. A
    process that is killed leaves a nameless file, which garbage collection takes away.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._hasher = hashlib.sha256()
        self.size = 0
        """Bytes so far."""
        with translate(blobs.root):
            self._path = blobs.incoming()
            self._file = self._path.open("wb", buffering=0)

    def write(self, piece: bytes) -> None:
        """Add bytes. Unavailable if the disk is full."""
        self._hasher.update(piece)
        left = memoryview(piece)
        with translate(self._blobs.root):
            while left:
                left = left[self._file.write(left) :]
        self.size += len(piece)

    def finish(self) -> Digest:
        """Keep what came, as `BlobStore.put` does: it is on the disk when this returns."""
        digest = Digest(self._hasher.hexdigest())
        with translate(self._blobs.root):
            try:
                reach("blob.copied")
                if not self._blobs.is_kept(digest):
                    os.fsync(self._file.fileno())
                    reach("blob.copy_synced")
                    self._blobs.name(self._path, digest, self._file.fileno())
            finally:
                self.abort()
        reach("blob.copy_kept")
        return digest

    def abort(self) -> None:
        """Leave nothing of it, unless it is finished. Doing it twice is harmless."""
        self._file.close()
        reach("blob.leaving")
        self._path.unlink(missing_ok=True)
        reach("blob.left")

    def __enter__(self) -> "Incoming":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abort()
