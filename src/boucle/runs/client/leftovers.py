"""What processes left in their spools when they died, and sending it."""

import fcntl
import hashlib
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from boucle.kernel.errors import BoucleError, Unavailable
from boucle.kernel.locks import let_go, open_to_lock
from boucle.runs.client.destination import Destination
from boucle.runs.client.feeds import BATCH_BYTES
from boucle.runs.client.sending import LostArtifacts, decoded, send_all
from boucle.runs.client.targets import NotLetIn, Target, open_target
from boucle.runs.spool.frames import HEADER_BYTES, frame, scan
from boucle.runs.spool.records import ENCODER, Begin, End, Points
from boucle.runs.spool.spool import forget_blob, remove_folder

STALE_S: Final = 86_400.0
_TRIES: Final = 2
"""As many spools find a server away before the others of that server wait for the next time: one alone may be what it
cannot take."""


class Leftover(Struct, frozen=True, kw_only=True):
    """One spool that somebody left, and what became of it."""

    spool: str
    destination: str
    size_bytes: int
    problem: str | None = None
    """Why it is still there; None if all of it is in the store."""
    next: str | None = None
    """What a person has to do first, where the destination refuses who sends."""
    damaged_bytes: int = 0
    """Bytes that held no frame, or an artifact that is nowhere; records may be missing there."""
    alive: bool = False
    """Whether its process lives, which sends it itself."""


def replay(root: Path, *, known: Collection[object] | None = None) -> list[Leftover]:
    """Send every spool in a folder whose process is dead, oldest first. Two at once are harmless.

    Threat model: what lies here may be for another server than the one that this process has a token of, and whoever
    listens there now would learn the token. So only the `known` servers (`Destination.server`) see one. Without any
    named, it is the one that all spools are for; where there are several, none.
    """
    found = []
    away: dict[object, list[str]] = {}
    if known is None:
        waited_for = {where.server for folder in _folders(root) if (where := _owner(folder)) is not None}
        known = waited_for if len(waited_for - {None}) == 1 else ()
    for folder in _folders(root):
        try:
            with _dead(folder) as is_dead:
                if is_dead:
                    found.append(_replay_one(folder, known, away))
        except OSError as error:
            found.append(_unread(folder, error))
    return found


def survey(root: Path) -> list[Leftover]:
    """Every spool in a folder, without sending anything."""
    found = []
    for folder in _folders(root):
        try:
            with _dead(folder) as is_dead:
                where, size = str(_owner(folder) or "unknown"), _size(folder)
                found.append(Leftover(spool=folder.name, destination=where, size_bytes=size, alive=not is_dead))
        except OSError as error:
            found.append(_unread(folder, error))
    return found


def _folders(root: Path) -> list[Path]:
    try:
        entries = list(root.iterdir())
    except OSError:
        return []
    for one in entries:
        if one.name.startswith(".") and one.is_dir() and _age_s(one) > STALE_S:
            shutil.rmtree(one, ignore_errors=True)
    return sorted((one for one in entries if len(one.name) == 32 and one.is_dir()), key=_age_s, reverse=True)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


@contextmanager
def _dead(folder: Path) -> Iterator[bool]:
    """Whether nobody writes to a spool; nobody else takes it for the block. OSError if that cannot be told."""
    try:
        descriptor = open_to_lock(folder / "owner")
    except FileNotFoundError:
        yield folder.is_dir()
        return
    except PermissionError:  # somebody else's
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder.is_dir()
    except BlockingIOError:
        yield False
    finally:
        let_go(descriptor)


def _owner(folder: Path) -> Destination | None:
    try:
        return msgspec.json.decode((folder / "owner").read_bytes(), type=Destination)
    except (OSError, msgspec.MsgspecError):
        return None


def _unread(folder: Path, error: OSError) -> Leftover:
    return Leftover(spool=folder.name, destination=str(_owner(folder) or "unknown"), size_bytes=0, problem=str(error))


def _size(folder: Path) -> int:
    """Of its files; those that its process takes away meanwhile do not count."""
    size = 0
    with suppress(FileNotFoundError, PermissionError):
        for one in folder.iterdir():
            with suppress(FileNotFoundError):
                size += one.stat().st_size
    return size


def _replay_one(folder: Path, known: Collection[object], away: dict[object, list[str]]) -> Leftover:
    """Send one spool, unless its server was found `away` just now; what each attempt said is noted there."""
    size = _size(folder)
    where = _owner(folder)
    segments = sorted(folder.glob("*.frames"))
    if not segments:
        remove_folder(folder)
        return Leftover(spool=folder.name, destination=str(where or "nowhere"), size_bytes=size)
    if where is None:
        problem = "its owner file cannot be read, so nobody knows where it goes"
        return Leftover(spool=folder.name, destination="unknown", size_bytes=size, problem=problem)
    found_away = away.setdefault(where.server, [])
    if len(found_away) >= _TRIES:
        return Leftover(spool=folder.name, destination=str(where), size_bytes=size, problem=found_away[-1])
    target = _WithoutDamaged(open_target(where, known=where.server in known))
    try:
        damaged = _send(target, folder, segments)
    except (BoucleError, OSError) as error:
        words = error.message if isinstance(error, BoucleError) else str(error)
        way = error.hint if isinstance(error, NotLetIn) else None
        if where.url is not None and isinstance(error.__cause__, OSError):
            found_away.append(words)
        return Leftover(spool=folder.name, destination=str(where), size_bytes=size, problem=words, next=way)
    finally:
        target.close()
    remove_folder(folder)
    return Leftover(spool=folder.name, destination=str(where), size_bytes=size, damaged_bytes=damaged)


def _send(target: Target, folder: Path, segments: list[Path]) -> int:
    """Send all whole frames; how many bytes before the last one of a segment held none."""
    damaged, position = 0, 0
    way = _Way(target, folder)
    begin: Begin | None = None
    last_ms, ended = 0, False
    for segment in segments:
        start = int(segment.stem, 16)
        found = scan(segment.read_bytes(), final=True)
        damaged += found.damaged_bytes
        for behind, payload in found.frames:
            record = decoded(payload)
            if isinstance(record, Begin):
                begin = begin or record
            elif isinstance(record, Points | End):
                last_ms = max(last_ms, record.at_ms)
            ended = ended or isinstance(record, End)
            position = max(position, start + behind)
        for first, data in _batches(found.frames):
            position = max(position, way.send(start + first, data))
    if begin is not None and begin.is_owner and not ended:
        # The run's process is dead and never said how the run ended. Two that say so write the same. It stands behind
        # all that the destination knows: more than what is here, if the power went before the newest was synced.
        told = frame(ENCODER.encode(End("interrupted", last_ms or begin.started_ms)))
        way.send(position, frame(ENCODER.encode(begin)) + told)
    return damaged + way.lost_bytes


class _Way:
    """The frames of a spool on their way, in their order."""

    def __init__(self, target: Target, folder: Path) -> None:
        self._target = target
        self._folder = folder
        self._held = self._end = 0
        """Between the two, everything was sent."""
        self.lost_bytes = 0
        """Of frames that name an artifact which a power cut took, or a store that was replaced."""

    def send(self, position: int, data: bytes) -> int:
        """Send frames; the position that the destination knows. Unavailable if it knows less than it took before."""
        if position != self._end:
            self._held = position
        taken, lost = send_all(self._target, self._folder.name, position, data, self._folder, self._held)
        if taken.position < position:
            raise Unavailable("the store was replaced meanwhile, so that all is sent again the next time")
        self._end = position + len(data)
        self.lost_bytes += lost
        return taken.position


class _WithoutDamaged:
    """A target that is sent no copies of files whose bytes did not reach the disk before the power went.

    They are read when the target asks for them, and not before: there may be many, and nobody who takes them.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.send = target.send
        self.close = target.close

    def send_blob(self, digest: str, path: Path) -> None:
        """Send a file; LostArtifacts, and the file is away, if it is not the one that it is called."""
        with path.open("rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest() == digest
        if not whole:
            forget_blob(path)
            raise LostArtifacts([digest])
        self._target.send_blob(digest, path)


def _batches(frames: list[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """The frames in stretches without a gap, none much larger than a batch, each with its offset."""
    first, pieces, size, end = 0, list[bytes](), 0, 0
    for behind, payload in frames:
        begin = behind - HEADER_BYTES - len(payload)
        if pieces and (begin != end or size >= BATCH_BYTES):
            yield first, b"".join(pieces)
            pieces, size = [], 0
        if not pieces:
            first = begin
        pieces.append(frame(payload))
        size += HEADER_BYTES + len(payload)
        end = behind
    if pieces:
        yield first, b"".join(pieces)
