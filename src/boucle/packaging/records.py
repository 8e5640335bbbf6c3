"""The nouns of packaging. This module is imported by the serving worker: only msgspec and the standard library."""

from math import inf, prod
from typing import Final, Literal

from msgspec import UNSET, Struct, UnsetType, field

from boucle.kernel.digests import Digest


class Input(Struct, frozen=True, kw_only=True):
    """One column a prediction needs."""

    name: str
    kind: Literal["number", "category", "tensor"]
    nullable: bool
    """Whether a missing value is answered; gradient boosting takes one anywhere, whether training saw any or not."""
    minimum: float | None = None
    """Smallest value seen in training (numbers); information, not a limit."""
    maximum: float | None = None
    categories: list[str] = field(default_factory=list)
    """Values seen in training (categories), in the order of their codes; an unseen one is served as missing."""
    limit: float | None = None
    """Numbers further from zero are refused, as the fitted model does; infinity is, wherever there is a limit."""
    closed: bool = False
    """Whether a value that is none of `categories` is refused, as the fitted model does."""
    shape: list[int] | UnsetType = UNSET
    """Of a row, for tensors only."""
    lowest: float | UnsetType = UNSET
    """Numbers below are refused, as the fitted model does; only where that is nearer to zero than `limit`."""
    highest: float | UnsetType = UNSET
    """The same for numbers above."""

    @property
    def low(self) -> float:
        """The smallest number that is answered."""
        far = -inf if self.limit is None else -self.limit
        return far if isinstance(self.lowest, UnsetType) else max(far, self.lowest)

    @property
    def high(self) -> float:
        """The largest number that is answered."""
        far = inf if self.limit is None else self.limit
        return far if isinstance(self.highest, UnsetType) else min(far, self.highest)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Of a row: `()` where it is one value."""
        return () if isinstance(self.shape, UnsetType) else tuple(self.shape)

    @property
    def width(self) -> int:
        """Numbers that a row has of it in the model's matrix."""
        return prod(self.row_shape)


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
    """Score from which the positive class is answered (binary)."""
    margins: bool = False
    """Whether scores are no probabilities but distances from the border between classes; outputs are called `score`."""
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


class EncodeStage(Struct, frozen=True, kw_only=True, tag_field="kind", tag="encode"):
    """The signature's inputs to a float64 matrix (n_rows, n_inputs), in their order; see `boucle.packaging.encode`."""

    unseen: float | None = None
    """The code of a category that is none of the input's; None: as missing."""


class TreeliteStage(Struct, frozen=True, kw_only=True, tag_field="kind", tag="treelite"):
    """Trees in treelite's checkpoint: a matrix to (n_rows, n_values)."""

    file: str
    margins: bool
    """Whether the trees' sums are answered as they are, or after the checkpoint's own last function."""


class OnnxStage(Struct, frozen=True, kw_only=True, tag_field="kind", tag="onnx"):
    """An ONNX graph: the matrix `X` of float64 to the matrix `Y` of float64, (n_rows, n_values)."""

    file: str
    most_rows: int | None = None
    """More rows than that are asked in parts, since the graph needs much memory for each."""


class CodeStage(Struct, frozen=True, kw_only=True, tag_field="kind", tag="code"):
    """The fitted model itself, as a pickle, from raw rows to scores: code, which only a reader that allows it loads."""

    file: str


class SavedModelStage(Struct, frozen=True, kw_only=True, tag_field="kind", tag="saved_model"):
    """A SavedModel of TensorFlow, a matrix of float64 to values: code, which only a reader that allows it loads."""

    file: str
    """The files of its folder, in one (ZIP)."""
    shape: list[int]
    """Of a row."""
    double: bool
    """Whether it takes float64, or float32."""
    taken: Literal["all", "second", "difference"] = "all"
    """Which of its values a row are answered: all, or of two the second, or by how much it is above the first."""


class PostStage(Struct, frozen=True, kw_only=True, tag_field="kind", tag="post"):
    """The last stage: values to the scores that the signature's outputs are made of."""

    link: Literal["identity", "sigmoid", "softmax"]


Stage = EncodeStage | TreeliteStage | OnnxStage | CodeStage | SavedModelStage | PostStage
"""One step of a predictor, as data. The first one is `encode`, the last `post`; or it is `code` alone."""
CODE: Final = (CodeStage, SavedModelStage)
"""Stages that are no data."""


class BundleManifest(Struct, frozen=True, kw_only=True):
    """`boucle.json` in a bundle folder."""

    format: int
    """2; format 1 is read as `encode`, `treelite`, `post`."""
    signature: Signature
    stages: list[Stage]
    files: dict[str, Digest]
    """Every file that a stage loads; a reader compares the digest of the very bytes that it then parses."""
    parity: Parity | None
    """None where there was nothing to compare with, as for a model that is served as it is."""
    params: dict[str, str | int | float | bool | None]
    environment: list[str]
    """Locked packages that serving needs, `name==version`, sorted."""
    python: str
    """`3.11`."""
    framework: str
    """What the model was fitted with: `scikit-learn 1.9.0`."""


class Bundle(Struct, frozen=True, kw_only=True):
    """A bundle kept in the blob store."""

    digest: Digest
    """Digest of the tree (see `boucle.kernel.trees`)."""
    manifest: BundleManifest


class PackagingSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `packaging` section of boucle.yaml."""

    tolerance: float = 1e-9
    """Largest difference of a probability, or of a value as a share of the largest, that the parity proof accepts."""
