"""The nouns of packaging. This module is imported by the serving worker: only msgspec and the standard library."""

from typing import Literal

from msgspec import Struct, field

from boucle.kernel.digests import Digest


class Input(Struct, frozen=True, kw_only=True):
    """One column a prediction needs."""

    name: str
    kind: Literal["number", "category"]
    nullable: bool
    """Whether a missing value is answered; gradient boosting takes one anywhere, whether training saw any or not."""
    minimum: float | None = None
    """Smallest value seen in training (numbers); information, not a limit."""
    maximum: float | None = None
    categories: list[str] = field(default_factory=list)
    """Values seen in training (categories), in the order of their codes; an unseen one is served as missing."""


class Output(Struct, frozen=True, kw_only=True):
    """One column a prediction answers. Shapes are (n_rows,)."""

    name: str
    datatype: Literal["FP64", "BYTES"]


class Signature(Struct, frozen=True, kw_only=True):
    """What goes in and what comes out."""

    task: Literal["binary", "multiclass", "regression"]
    inputs: list[Input]
    """In the order of the model's matrix: categories first."""
    outputs: list[Output]
    """Binary: `probability` (of the positive class) and `label`; multiclass: `probability_<class>`... and `label`;
    regression: `value`."""
    classes: list[str]
    threshold: float
    key: str | None = None
    """Name of the optional input column that carries the entity key."""
    time: str | None = None
    """Name of the optional input column that carries the event time (ISO 8601, with zone)."""


class Parity(Struct, frozen=True, kw_only=True):
    """Proof that the compiled model answers as the fitted one does."""

    compiler: str
    tolerance: float
    held_out_rows: int
    generated_rows: int
    largest_difference: float
    """Of a probability, or of a value as a share of the largest value. Rounded up to a power of ten, at least 1e-15:
    so the last bits of a processor's arithmetic do not change the bundle's digest."""
    label_flips: int
    worst: str
    """Which family of rows gave the largest difference, e.g. `thresholds(temp)`."""


class BundleManifest(Struct, frozen=True, kw_only=True):
    """`boucle.json` in a bundle folder."""

    format: int
    """1."""
    flavor: str
    """`treelite`."""
    signature: Signature
    parity: Parity
    params: dict[str, str | int | float | bool | None]
    environment: list[str]
    """Locked packages that serving needs, `name==version`, sorted."""
    python: str
    """`3.11`."""
    model: Digest
    """Digest of the model's file; a reader compares it before native code parses the bytes."""


class Bundle(Struct, frozen=True, kw_only=True):
    """A bundle kept in the blob store."""

    digest: Digest
    """Digest of the tree (see `boucle.kernel.trees`)."""
    manifest: BundleManifest


class PackagingSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `packaging` section of boucle.yaml."""

    tolerance: float = 1e-9
    """Largest difference of a probability, or of a value as a share of the largest, that the parity proof accepts."""
