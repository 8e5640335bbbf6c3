"""What a network's values mean: numbers, or classes, as probabilities or as what becomes them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from boucle.kernel.errors import InvalidInput
from boucle.packaging.networks.given import Given
from boucle.packaging.networks.graph import Taken
from boucle.packaging.networks.rows import Rows
from boucle.packaging.records import Input, Output, Signature
from boucle.packaging.stages import sigmoid, softmax

Link = Literal["identity", "sigmoid", "softmax"]


class Reading(Struct, frozen=True, kw_only=True):
    """How a network's values become scores."""

    task: Literal["binary", "multiclass", "regression"]
    taken: Taken
    link: Link
    width: int


def reading_of(values: NDArray[np.float64], classes: Sequence[str] | None, title: str) -> Reading:
    """How values are to be read, by the classes that they are of and by what they look like."""
    width = values.shape[1]
    if classes is None:
        return Reading(task="regression", taken="all", link="identity", width=width)
    if len(classes) < 2 or len(set(classes)) != len(classes):
        raise InvalidInput(f"classes are {list(classes)!r}; allowed are two or more, each once")
    if width != len(classes) and not (width == 1 and len(classes) == 2):
        raise InvalidInput(
            f"{title} answers {width} values a row, and there are {len(classes)} classes",
            hint="name one for each value",
        )
    sure = bool(((values >= 0) & (values <= 1 + 1e-6)).all())
    sure = sure and (width == 1 or bool((np.abs(values.sum(axis=1) - 1) < 1e-3).all()))
    if len(classes) > 2:
        return Reading(task="multiclass", taken="all", link="identity" if sure else "softmax", width=width)
    taken: Taken = "all" if width == 1 else "second" if sure else "difference"
    return Reading(task="binary", taken=taken, link="identity" if sure else "sigmoid", width=width)


def scores_of(values: NDArray[np.float64], reading: Reading) -> NDArray[np.float64]:
    """What the stages after the network make of its values."""
    if reading.task == "regression":
        return values[:, 0] if reading.width == 1 else values
    if reading.task == "multiclass":
        return softmax(values) if reading.link == "softmax" else values
    one = values[:, 0] if reading.width == 1 else values[:, 1]
    if reading.taken == "difference":
        one = values[:, 1] - values[:, 0]
    return sigmoid(one) if reading.link == "sigmoid" else one


def signature_of(reading: Reading, classes: Sequence[str] | None, inputs: list[Input]) -> Signature:
    if reading.task == "regression":
        names = ["value"] if reading.width == 1 else [f"value_{place}" for place in range(reading.width)]
    elif reading.task == "binary":
        names = ["probability"]
    else:
        names = [f"probability_{name}" for name in classes or ()]
    outputs = [Output(name=name, datatype="FP64") for name in names]
    if reading.task != "regression":
        outputs.append(Output(name="label", datatype="BYTES"))
    return Signature(
        task=reading.task, inputs=inputs, outputs=outputs, classes=[str(one) for one in classes or ()], threshold=0.5
    )


def inputs_of(given: Given, limits: Rows | None, nullable: NDArray[np.bool_] | None) -> list[Input]:
    low, high = given.rows.min(axis=0), given.rows.max(axis=0)

    def limit(at: int) -> float | None:
        return None if limits is None else float(limits[at])

    def gaps(at: int) -> bool:
        return nullable is None or bool(nullable[at])

    if given.is_table:
        return [
            Input(
                name=name,
                kind="number",
                nullable=gaps(at),
                minimum=float(low[at]),
                maximum=float(high[at]),
                limit=limit(at),
            )
            for at, name in enumerate(given.names)
        ]
    (name,) = given.names
    shape = list(given.shape)
    return [
        Input(
            name=name,
            kind="tensor",
            nullable=gaps(0),
            minimum=float(low.min()),
            maximum=float(high.max()),
            limit=limit(0),
            shape=shape,
        )
    ]
