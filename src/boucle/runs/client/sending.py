"""One batch on its way: frames, with the bytes that they name."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import msgspec

from boucle.kernel.errors import Unavailable
from boucle.runs.client.targets import Target
from boucle.runs.spool.frames import HEADER_BYTES, frame, scan
from boucle.runs.spool.records import DECODER, ENCODER, Artifact, Taken
from boucle.runs.spool.spool import forget_blob

_NOWHERE: Final = "bytes that neither the spool nor the store has".ljust(64, ".")
"""Stands where the digest did: as long as one, so that no position changes, and none that a store takes."""


class LostArtifacts(Unavailable):
    """Frames name bytes that are nowhere."""

    def __init__(self, digests: Sequence[str]) -> None:
        super().__init__(f"the bytes of artifact {digests[0][:12]} are not in the spool any more")
        self.digests = digests


def send_all(target: Target, spool: str, begin: int, data: bytes, folder: Path | None, held: int) -> tuple[Taken, int]:
    """Send frames, with the blobs that they name; those are taken from the spool's folder, and away once they are.

    What names bytes that are nowhere is refused: by a power cut, or as a store that lost them took them before. How
    many bytes such frames are is told, too. Unavailable if the target cannot take it now.
    """
    lost_bytes = 0
    while True:
        try:
            return _send(target, spool, begin, data, folder, held), lost_bytes
        except LostArtifacts as error:
            data, more = _without(data, error.digests)
            if not more:
                raise
            lost_bytes += more


def decoded(payload: bytes) -> object:
    """The record that a frame holds; None if it holds none."""
    try:
        return DECODER.decode(payload)
    except msgspec.MsgspecError:
        return None


def _send(target: Target, spool: str, begin: int, data: bytes, folder: Path | None, held: int) -> Taken:
    taken = target.send(spool, begin, data, held)
    if not taken.missing:
        return taken
    blobs = {digest: folder / f"{digest}.blob" for digest in taken.missing} if folder is not None else {}
    lost = [digest for digest in taken.missing if digest not in blobs or not blobs[digest].is_file()]
    if lost:
        raise LostArtifacts(lost)
    for digest, blob in blobs.items():
        target.send_blob(digest, blob)
    again = target.send(spool, begin, data, held)
    if again.missing:
        raise Unavailable(f"{len(again.missing)} artifacts were sent and are missing all the same")
    if again.position > begin:
        for blob in blobs.values():
            forget_blob(blob)
    return again


def _without(data: bytes, lost: Collection[str]) -> tuple[bytes, int]:
    """Whole frames of the same length that name no lost bytes, and how many bytes of frames that changed."""
    pieces: list[bytes] = []
    changed = 0
    for _, payload in scan(data).frames:
        record = decoded(payload)
        if isinstance(record, Artifact) and record.blob in lost:
            payload = ENCODER.encode(msgspec.structs.replace(record, blob=_NOWHERE))
            changed += HEADER_BYTES + len(payload)
        pieces.append(frame(payload))
    return b"".join(pieces), changed
