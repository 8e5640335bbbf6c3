"""SavedModels of TensorFlow: a folder, or what was loaded from one. Loading one runs what its maker wrote into it."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from boucle.kernel.errors import CannotCompile, InvalidInput, Unavailable
from boucle.packaging.networks import tensorflow_function
from boucle.packaging.networks.network import Array, Network, one_array
from boucle.packaging.saved import SIGNATURE, packed

FILE: Final = "saved_model.pb"
_MADE_UP: Final = ("keras_tensor", "input_layer", "inputs")


def network(model: Any) -> Network:
    """The network that its signature `serving_default` is. InvalidInput for a path without a SavedModel."""
    loaded = loaded_from(Path(model)) if isinstance(model, str | Path) else model
    title = f"the SavedModel {str(model)!r}" if isinstance(model, str | Path) else "the SavedModel"
    import tensorflow as tf

    function = loaded.signatures.get(SIGNATURE) if hasattr(loaded.signatures, "get") else None
    if function is None:
        known = ", ".join(map(repr, loaded.signatures)) or "none"
        raise CannotCompile(f"{title} has no signature {SIGNATURE!r}; it has {known}")
    taken = function.structured_input_signature[1]
    if len(taken) != 1:
        raise CannotCompile(f"{title} takes {len(taken)} inputs; allowed is one", hint="join them before the model")
    ((name, spec),) = taken.items()
    if spec.dtype not in (tf.float32, tf.float64):
        raise CannotCompile(f"{title} takes {spec.dtype.name}; allowed is float32, or float64")

    def asked(rows: Any) -> Any:
        assert loaded is not None  # whose variables go with it
        return one_array(function(**{name: rows}), title)

    return Network(
        title=title,
        framework=f"tensorflow {tf.__version__}",
        ask=lambda rows: _asked(asked, tf, rows),
        export=lambda rows: tensorflow_function.exported(asked, rows, title),
        input_name="input" if name.startswith(_MADE_UP) else name,
        dtype=np.float64 if spec.dtype == tf.float64 else np.float32,
        exporter="tf2onnx",
        saved=(lambda: packed(Path(model))) if isinstance(model, str | Path) else None,
    )


def loaded_from(folder: Path) -> Any:
    """What TensorFlow loads from a folder."""
    if not (folder / FILE).is_file():
        raise InvalidInput(
            f"{str(folder)!r} is no SavedModel: it has no {FILE}", hint="pass a fitted model, or the folder of one"
        )
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"the SavedModel {str(folder)!r} is read by TensorFlow, which is not installed here",
            hint=tensorflow_function.INSTALL,
        ) from error
    try:
        return tf.saved_model.load(str(folder))
    except Exception as error:
        said = (str(error) or repr(error)).strip().splitlines()[0][:300]
        raise InvalidInput(f"{str(folder)!r} cannot be loaded: {said}") from error


def _asked(function: Any, tf: Any, rows: Array) -> Array:
    return np.asarray(function(tf.constant(rows)).numpy())
