"""An exported network as the graph of a bundle: `X`, a matrix of float64, to `Y`, one of float64."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from boucle.kernel.errors import CannotCompile
from boucle.packaging.compilers.graph import DOUBLE, FLOAT, INPUT, OUTPUT

Taken = Literal["all", "second", "difference"]
"""Which of a network's values a row are answered: all, or of two the second, or by how much it is above the first."""
_OURS: Final = "boucle."
"""Begins the names of what is added here."""


def wrapped(data: bytes, shape: Sequence[int], *, double: bool, width: int, taken: Taken, title: str) -> bytes:
    """The graph: each row of `X` is given to the network in `shape` and its own type, its `width` values are `Y`.

    What an exporter notes of the machine and of its files is left out: the same network gives the same bytes.
    """
    model = onnx.load_from_string(data)
    graph = model.graph
    constants = {one.name for one in graph.initializer}
    inputs = [one.name for one in graph.input if one.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise CannotCompile(
            f"{title} was exported with {len(inputs)} inputs and {len(graph.output)} outputs; allowed is one of each"
        )
    _forget(model)
    before = [
        helper.make_node("Cast", [INPUT], [f"{_OURS}cast"], to=DOUBLE if double else FLOAT),
        helper.make_node("Reshape", [f"{_OURS}cast", f"{_OURS}shape"], [inputs[0]]),
    ]
    nodes = [*before, *graph.node, *_answered(graph.output[0].name, taken)]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    sizes: list[tuple[str, list[int]]] = [("shape", [-1, *shape]), ("width", [-1, width]), ("second", [1])]
    sizes += [("first", [0])]
    graph.initializer.extend(
        numpy_helper.from_array(np.array(values, dtype=np.int64), f"{_OURS}{name}") for name, values in sizes
    )
    size = int(np.prod(shape, dtype=np.int64))
    graph.input.append(helper.make_tensor_value_info(INPUT, DOUBLE, ["rows", size]))
    graph.output.append(helper.make_tensor_value_info(OUTPUT, DOUBLE, ["rows", width if taken == "all" else 1]))
    return bytes(model.SerializeToString(deterministic=True))


def _answered(name: str, taken: Taken) -> list[Any]:
    values, ours = f"{_OURS}values", f"{_OURS}answer"
    nodes = [
        helper.make_node("Cast", [name], [f"{_OURS}double"], to=DOUBLE),
        helper.make_node("Reshape", [f"{_OURS}double", f"{_OURS}width"], [values]),
    ]
    if taken == "all":
        return [*nodes, helper.make_node("Identity", [values], [OUTPUT])]
    nodes.append(helper.make_node("Gather", [values, f"{_OURS}second"], [ours], axis=1))
    if taken == "second":
        return [*nodes, helper.make_node("Identity", [ours], [OUTPUT])]
    other = f"{_OURS}other"
    nodes.append(helper.make_node("Gather", [values, f"{_OURS}first"], [other], axis=1))
    return [*nodes, helper.make_node("Sub", [ours, other], [OUTPUT])]


def _forget(model: Any) -> None:
    """Take away notes: places of source files, versions, names of frames."""
    model.producer_name, model.producer_version, model.doc_string, model.domain = "boucle", "", "", ""
    model.graph.name = "boucle"
    del model.metadata_props[:]
    for one in _parts(model.graph):
        _clear(one)
    for function in model.functions:
        _clear(function)
        for node in function.node:
            _clear(node)


def _parts(graph: Any) -> Iterable[Any]:
    yield graph
    for field in (graph.node, graph.initializer, graph.input, graph.output, graph.value_info):
        yield from field
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _parts(inner)


def _clear(one: Any) -> None:
    one.doc_string = ""
    if hasattr(one, "metadata_props"):
        del one.metadata_props[:]
