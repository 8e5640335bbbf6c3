"""Bytes by digest. A blob is written once, never changed; its name is the SHA-256 of what is in it."""

import hashlib
import os
import re
import tempfile
from pathlib import Path
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
            if self._is_kept(digest):
                return digest
            incoming = self._incoming()
            try:
                with incoming.open("wb") as file:
                    file.write(data)
                    file.flush()
                    reach("blob.written")
                    os.fsync(file.fileno())
                    reach("blob.synced")
                    self._name(incoming, digest, file.fileno())
            finally:
                incoming.unlink(missing_ok=True)
        reach("blob.kept")
        return digest

    def put_file(self, path: Path) -> Digest:
        """Keep a copy of a file, read once and in pieces; as `put`."""
        hasher = hashlib.sha256()
        with translate(self.root):
            incoming = self._incoming()
            try:
                with path.open("rb") as source, incoming.open("wb") as file:
                    while piece := source.read(_PIECE_BYTES):
                        hasher.update(piece)
                        file.write(piece)
                    file.flush()
                    reach("blob.copied")
                    digest = Digest(hasher.hexdigest())
                    if not self._is_kept(digest):
                        os.fsync(file.fileno())
                        reach("blob.copy_synced")
                        self._name(incoming, digest, file.fileno())
            finally:
                incoming.unlink(missing_ok=True)
        reach("blob.copy_kept")
        return digest

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

    def verify(self, digest: Digest) -> None:
        """Raise Damaged if a blob's bytes are not what they were, NotFound if there are none."""
        file = self.path(digest)
        with translate(file):
            found = digest_file(file)
        self._compare(digest, found, file)

    def _is_kept(self, digest: Digest) -> bool:
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

    def _incoming(self) -> Path:
        self.presence.begin()
        folder = self.root / "incoming"
        make_folder(folder)
        descriptor, name = tempfile.mkstemp(dir=folder)
        os.close(descriptor)
        return Path(name)

    def _name(self, incoming: Path, digest: Digest, descriptor: int) -> None:
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
