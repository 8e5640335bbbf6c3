"""An ONNX graph that is written node by node, in float64 throughout.

Constants are kept once however often they are used, names are counted, and nothing about a clock or a machine is
written: the same calls give the same bytes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

INPUT, OUTPUT = "X", "Y"
OPSET, TREES_OPSET, IR = 21, 5, 10
"""`TreeEnsemble` with float64 thresholds came with version 5 of ONNX's machine-learning operators."""

DOUBLE, FLOAT, INT64, BOOL = (
    int(one) for one in (TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL)
)


class Graph:
    """Collects nodes; `X` is a matrix (n_rows, width) of float64."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Any] = {}

    def node(self, operator: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> str:
        """Add a node, and name its (first) output; the others are that name with `_1`, `_2`."""
        name = f"n{len(self._nodes)}"
        names = [name, *(f"{name}_{number}" for number in range(1, outputs))]
        self._nodes.append(helper.make_node(operator, list(inputs), names, domain=domain, **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.float64) -> str:
        """The name of a constant."""
        array: NDArray[Any] = np.ascontiguousarray(np.asarray(values, dtype=dtype)).reshape(np.shape(values))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = numpy_helper.from_array(array, f"c{len(self._constants)}")
        return str(self._constants[key].name)

    def cast(self, name: str, to: int) -> str:
        """Values in another element type."""
        return self.node("Cast", name, to=to)

    def single(self, name: str) -> str:
        """Values rounded to float32, as float64."""
        return self.cast(self.cast(name, FLOAT), DOUBLE)

    def columns(self, name: str, positions: list[int]) -> str:
        """Some columns of a matrix."""
        return self.node("Gather", name, self.constant(positions, np.int64), axis=1)

    def joined(self, names: list[str]) -> str:
        """Matrices side by side."""
        return names[0] if len(names) == 1 else self.node("Concat", *names, axis=1)

    def affine(self, name: str, weights: Any, bias: Any) -> str:
        """`X @ weights + bias`; weights are (n_inputs, n_outputs)."""
        product = self.node("MatMul", name, self.constant(weights))
        return self.node("Add", product, self.constant(np.atleast_1d(bias)))

    def summed(self, name: str, *, mean: bool = False, axis: int = 1, keep: bool = True) -> str:
        """Sum or mean along an axis."""
        return self.node(
            "ReduceMean" if mean else "ReduceSum", name, self.constant([axis], np.int64), keepdims=int(keep)
        )

    def averaged(self, names: list[str]) -> str:
        """The mean of matrices."""
        total = names[0]
        for one in names[1:]:
            total = self.node("Add", total, one)
        return self.node("Div", total, self.constant(float(len(names))))

    def opposite(self, name: str) -> str:
        """Two columns `1 - p, p` of one column `p`."""
        return self.joined([self.node("Sub", self.constant(1.0), name), name])

    def data(self, output: str, width: int) -> bytes:
        """The model's bytes; `output` is a matrix (n_rows, width)."""
        nodes = [*self._nodes, helper.make_node("Identity", [output], [OUTPUT])]
        graph = helper.make_graph(
            nodes,
            "boucle",
            [helper.make_tensor_value_info(INPUT, DOUBLE, ["rows", self.width])],
            [helper.make_tensor_value_info(OUTPUT, DOUBLE, ["rows", width])],
            list(self._constants.values()),
        )
        imports = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", TREES_OPSET)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=IR, producer_name="boucle")
        return bytes(model.SerializeToString(deterministic=True))


def attribute(array: NDArray[Any], name: str) -> Any:
    """A tensor for an attribute that takes one."""
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


Attributes = Mapping[str, Any]
