"""What the frames of a spool say, in msgpack: the language between the client and the store."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, TypeVar

from msgspec import Struct, msgpack

ParamValue: TypeAlias = str | int | float | bool | None
EndStatus = Literal["finished", "failed", "interrupted"]
V = TypeVar("V")
PART_BYTES: Final = 64 << 10
"""The most that names and values in one record take, unless it is a single one."""
POINTS: Final = 1
"""The tag of `Points`, which the client writes without making the record."""


class Begin(Struct, frozen=True, array_like=True, tag=0):
    """Which run the frames belong to, with all that makes it if it is not there yet. The first of each segment."""

    run: str
    experiment: str
    name: str
    user: str
    started_ms: int
    params: dict[str, ParamValue]
    tags: dict[str, str]
    is_owner: bool
    """Whether this process began the run, and so ends it; others only add to it."""


class Points(Struct, frozen=True, array_like=True, tag=POINTS):
    """Values of metrics, by name, at one step and one moment."""

    at_ms: int
    step: int
    values: dict[str, float]


class Params(Struct, frozen=True, array_like=True, tag=2):
    """Params that were not there before."""

    values: dict[str, ParamValue]


class Tags(Struct, frozen=True, array_like=True, tag=3):
    """Tags, which replace those of the same name."""

    values: dict[str, str]


class Artifact(Struct, frozen=True, array_like=True, tag=4):
    """A name for bytes that were sent before."""

    path: str
    blob: str
    """Their SHA-256."""
    size: int
    at_ms: int


class Dataset(Struct, frozen=True, array_like=True, tag=5):
    """Data that the run used."""

    name: str
    fingerprint: str
    source_type: str
    source: str
    schema: str | None
    context: str


class End(Struct, frozen=True, array_like=True, tag=6):
    """The run's end."""

    status: EndStatus
    at_ms: int


Record: TypeAlias = Begin | Points | Params | Tags | Artifact | Dataset | End


def _as_text(value: object) -> str:
    """Text of NumPy, or of a class of one's own, as plain text."""
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"a {type(value).__name__} is not in the language of spools")


ENCODER: Final = msgpack.Encoder(enc_hook=_as_text)
DECODER: Final = msgpack.Decoder(Record)


def in_parts(values: Mapping[str, V]) -> list[dict[str, V]]:
    """Names with values as they fit into records: one part at least, which may be empty.

    >>> [len(part) for part in in_parts({f"p{number}": "x" * 6000 for number in range(25)})]
    [10, 10, 5]
    """
    parts: list[dict[str, V]] = [{}]
    size = 0
    for name, value in values.items():
        size += (more := len(ENCODER.encode((name, value))))
        if size > PART_BYTES and parts[-1]:
            parts.append({})
            size = more
        parts[-1][name] = value
    return parts


class Taken(Struct, frozen=True, kw_only=True):
    """What became of a batch of frames."""

    position: int
    """All frames up to here are in the store, once. Before where the batch begins: nothing of it was taken, and the
    spool has frames between the two."""
    refused: list[str] = []
    """Sentences about records that could not be taken; they are passed over."""
    missing: list[str] = []
    """Blobs that the batch names and nobody sent; nothing was taken."""
    told: list[str] = []
    """Sentences about what was taken otherwise than its sender may think."""
