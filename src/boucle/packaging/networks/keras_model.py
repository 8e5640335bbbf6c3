"""Keras's models, whichever framework computes for them."""

import os
import re
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from boucle.kernel.errors import CannotCompile
from boucle.packaging.networks import tensorflow_function, torch_model
from boucle.packaging.networks.network import Array, Network, one_array
from boucle.packaging.saved import packed

_COUNTED: Final = re.compile(r"(keras_tensor|input_layer|input)(_\d+)?|.*[^\w].*")
"""Names that Keras made up, by a count of all that the process has made."""


def network(model: Any) -> Network:
    """The model as a network; asked as for predictions, not as in training."""
    import keras

    backend = str(keras.backend.backend())
    title = f"{type(model).__name__} {model.name!r}"
    dtype = _dtype(model, title)
    framework = f"keras {keras.__version__}"

    def ask(rows: Array) -> Array:
        return np.asarray(keras.ops.convert_to_numpy(one_array(model(rows, training=False), title)))

    if backend == "torch":
        made = torch_model.network(torch_model.in_use(model), title)
        return Network(
            title=title, framework=framework, ask=made.ask, export=made.export, input_name=_input_name(model),
            dtype=dtype, exporter=made.exporter,
        )  # fmt: skip
    if backend != "tensorflow":
        raise CannotCompile(
            f"{title} computes by {backend}, of which no compiler is; allowed are tensorflow and torch",
            hint=f"save it, and load it again in a process with KERAS_BACKEND=torch (it is {_backend_now()} here)",
        )
    return Network(
        title=title,
        framework=framework,
        ask=ask,
        export=lambda rows: tensorflow_function.exported(
            lambda given: one_array(model(given, training=False), title), rows, title
        ),
        input_name=_input_name(model),
        dtype=dtype,
        exporter="tf2onnx",
        saved=lambda: _saved(model),
    )


def _saved(model: Any) -> bytes:
    with tempfile.TemporaryDirectory(prefix="boucle-") as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        return packed(Path(folder))


def _dtype(model: Any, title: str) -> Any:
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) > 1:
        raise CannotCompile(f"{title} takes {len(inputs)} inputs; allowed is one", hint="join them before the model")
    given = str(inputs[0].dtype) if inputs else str(model.compute_dtype)
    if given not in ("float32", "float64") or model.compute_dtype != given:
        raise CannotCompile(
            f"{title} takes {given} and computes in {model.compute_dtype}; allowed is float32, or float64"
        )
    return np.float64 if given == "float64" else np.float32


def _input_name(model: Any) -> str:
    inputs = getattr(model, "inputs", None) or []
    name = str(inputs[0].name) if inputs else "input"
    return "input" if _COUNTED.fullmatch(name) else name


def _backend_now() -> str:
    return os.environ.get("KERAS_BACKEND", "the one of Keras's settings")
