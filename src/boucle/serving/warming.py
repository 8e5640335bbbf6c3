"""Asking a model before it is in charge: the first times cost what is loaded then. Imported by the worker."""

from typing import Final

import numpy as np

from boucle.packaging.bundle import Predictor
from boucle.packaging.encode import Values
from boucle.packaging.records import Input

_WARM: Final = 3
"""How often a model is asked."""


def warm(predictor: Predictor) -> None:
    """Ask a predictor a made-up row, so that it has loaded what it needs."""
    columns: dict[str, Values] = {one.name: _usual(one) for one in predictor.signature.inputs}
    for _ in range(_WARM):
        predictor.predict(columns)


def _usual(one: Input) -> Values:
    if one.kind == "category":
        return [one.categories[0] if one.categories else ""]
    number = 0.0 if one.minimum is None else one.minimum
    return np.full((1, *one.row_shape), number) if one.kind == "tensor" else [number]
