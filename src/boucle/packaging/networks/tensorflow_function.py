"""What TensorFlow computes, to ONNX by tf2onnx."""

import importlib.util
import logging
import warnings
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from boucle.kernel.errors import CannotCompile, Unavailable
from boucle.packaging.compilers.graph import DOUBLE
from boucle.packaging.networks.network import Array

INSTALL: Final = "pip install 'boucle[tensorflow]'"
OPSET: Final = 18


def exported(function: Callable[[Any], Any], rows: Array, title: str) -> bytes:
    """A function of one tensor, whose first axis is the rows, as an ONNX model."""
    if importlib.util.find_spec("tf2onnx") is None:
        raise Unavailable(f"{title} is exported with tf2onnx, which is not installed here", hint=INSTALL)
    import tensorflow as tf
    import tf2onnx

    spec = tf.TensorSpec([None, *rows.shape[1:]], rows.dtype, name="x")
    log = logging.getLogger("tf2onnx")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = tf.function(function, input_signature=[spec])
            proto, _ = tf2onnx.convert.from_function(
                traced, input_signature=[spec], opset=OPSET, custom_op_handlers={"Erfc": (_erfc, [])}
            )
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise CannotCompile(f"tf2onnx cannot export {title}: {(lines or [repr(error)])[-1][:300]}") from error
    finally:
        log.setLevel(before)
    return bytes(proto.SerializeToString())


def _erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """`1 - Erf(x)`: TensorFlow's GELU has it, and tf2onnx (1.17) leaves it as it is."""
    kept = {"outputs": list(node.output), "shapes": node.output_shapes, "dtypes": node.output_dtypes}
    (given,) = node.input
    double = graph.get_dtype(node.output[0]) == DOUBLE
    graph.remove_node(node.name)
    erf = graph.make_node("Erf", [given])
    one = graph.make_const(f"{name}_one", np.array(1.0, dtype=np.float64 if double else np.float32))
    graph.make_node("Sub", [one.output[0], erf.output[0]], name=name, **kept)
