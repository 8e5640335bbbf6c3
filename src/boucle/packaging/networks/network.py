"""Neural networks of any framework as the rest of packaging sees them: asked with an array, and written as ONNX.

No framework is loaded here: whoever has a network has loaded its framework already, and a class says whose it is.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from boucle.kernel.errors import CannotCompile

Array = NDArray[Any]
LARGEST_OUTPUT: Final = 4096
"""Numbers that a network may answer for a row."""


class Network(Struct, frozen=True, kw_only=True):
    """A fitted network with one input."""

    title: str
    """What it is called in messages."""
    framework: str
    """`torch 2.13.0`."""
    ask: Callable[[Array], Array]
    """Rows of `dtype` to what it answers; raises whatever its framework raises."""
    export: Callable[[Array], bytes]
    """An ONNX model with one input and one output, made with a few rows at hand; CannotCompile if there is none."""
    input_name: str
    dtype: type[np.float32] | type[np.float64]
    """What it computes in."""
    exporter: str
    """What writes the ONNX, as the proof names it."""
    saved: Callable[[], bytes] | None = None
    """The files of its SavedModel in one (`boucle.packaging.saved.packed`); of TensorFlow's networks only."""


def network_of(model: Any) -> Network | None:
    """The network that a model is, also a folder with a SavedModel; None for models of other kinds."""
    roots = {cls.__module__.partition(".")[0] for cls in type(model).__mro__}
    torch = sys.modules.get("torch")
    if isinstance(model, str | Path) or ("tensorflow" in roots and hasattr(model, "signatures")):
        from boucle.packaging.networks import saved_model

        return saved_model.network(model)
    if "keras" in roots and hasattr(model, "layers"):
        from boucle.packaging.networks import keras_model

        return keras_model.network(model)
    if torch is not None and isinstance(model, torch.nn.Module):
        from boucle.packaging.networks import torch_model

        return torch_model.network(model)
    return None


def one_array(answer: Any, title: str) -> Any:
    """The one tensor that a network answers, of a list of one too."""
    while isinstance(answer, list | tuple) and len(answer) == 1:
        answer = answer[0]
    if isinstance(answer, dict) and len(answer) == 1:
        answer = next(iter(answer.values()))
    if isinstance(answer, list | tuple | dict):
        raise CannotCompile(
            f"{title} answers {len(answer)} things; allowed is one tensor", hint="wrap it in one that answers the one"
        )
    return answer


def matrix_of(answer: Array, rows: int, title: str) -> NDArray[np.float64]:
    """What a network answers as (n_rows, n_values)."""
    if answer.ndim == 1 and len(answer) == rows:
        answer = answer[:, None]
    if answer.ndim != 2 or len(answer) != rows or not 0 < answer.shape[1] <= LARGEST_OUTPUT:
        raise CannotCompile(
            f"{title} answers an array of shape {answer.shape} to {rows} rows; allowed are one to {LARGEST_OUTPUT:,} "
            "numbers a row",
            hint="flatten what it answers, or end it in the numbers that are wanted",
        )
    return np.asarray(answer, dtype=np.float64)
