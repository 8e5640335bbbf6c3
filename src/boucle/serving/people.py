"""Users of a store as its server knows them: read by the main process, kept by the workers, which have no database.

Threat model: as in `boucle.identity.policies`. What was revoked must be refused at once: the workers compare the
generation of identity.json, as every process does, and refuse everybody while the main process has not read what it
stands for.
"""

import struct
from pathlib import Path
from typing import Final

import msgspec

from boucle.identity.api import Directory, UserDoor
from boucle.kernel.clock import Clock
from boucle.kernel.errors import Unavailable
from boucle.kernel.generation import Generation
from boucle.serving.board import PEOPLE_BYTES, Board

_HEAD: Final = struct.Struct("<II")
_DIRECTORY: Final = msgspec.json.Decoder(Directory)


def generation_of(home: Path) -> Generation:
    """What names the users' generation."""
    return Generation(home / "identity.json")


def publish(board: Board, generation: bytes, directory: Directory) -> None:
    """For the main process: let the workers know everybody as of a generation."""
    body = msgspec.json.encode(directory)
    if _HEAD.size + len(generation) + len(body) > PEOPLE_BYTES:
        raise Unavailable(f"{len(directory.passes):,} tokens are more than the server's workers can know")
    board.put_people(_HEAD.pack(len(generation), len(body)) + generation + body)


def users_door(home: Path, board: Board, clock: Clock) -> UserDoor:
    """For a worker: the door of the store's users."""
    generation = generation_of(home)

    def load() -> Directory:
        found = board.people()
        if found:
            length, size = _HEAD.unpack_from(found)
            if found[_HEAD.size : _HEAD.size + length] == generation.current():
                start = _HEAD.size + length
                return _DIRECTORY.decode(found[start : start + size])
        raise Unavailable("users or tokens are being changed; ask again", hint="ask again in a second")

    return UserDoor(generation, load, clock)
