"""PyTorch's modules: asked and exported on the processor, as they are in use and not in training."""

import copy
import importlib.util
import inspect
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from boucle.kernel.errors import CannotCompile, Unavailable
from boucle.packaging.networks.network import Array, Network, one_array

INSTALL: Final = "pip install 'boucle[torch]'"


def network(model: Any, title: str = "") -> Network:
    """The module as a network. It stays as it is; a copy on the processor is asked, since that is what will serve."""
    import torch

    title = title or type(model).__name__
    floats = {one.dtype for one in (*model.parameters(), *model.buffers()) if one.is_floating_point()}
    if floats - {torch.float32, torch.float64} or len(floats) > 1:
        odd = ", ".join(sorted(str(one).removeprefix("torch.") for one in floats))
        raise CannotCompile(f"{title} computes in {odd}; allowed is float32, or float64", hint="pass model.float()")
    dtype = np.float64 if floats == {torch.float64} else np.float32
    try:
        module = copy.deepcopy(model).to("cpu").eval()
    except Exception as error:
        raise CannotCompile(f"{title} cannot be copied: {_said(error)}") from error

    def ask(rows: Array) -> Array:
        with torch.no_grad():
            answer = one_array(module(torch.from_numpy(np.ascontiguousarray(rows))), title)
            return np.asarray(answer.numpy())

    return Network(
        title=title,
        framework=f"torch {torch.__version__.partition('+')[0]}",
        ask=ask,
        export=lambda rows: _exported(module, torch.from_numpy(np.ascontiguousarray(rows)), title),
        input_name=_input_name(model),
        dtype=dtype,
        exporter="torch.onnx",
    )


def _input_name(model: Any) -> str:
    """What the module itself calls its input."""
    try:
        names = list(inspect.signature(type(model).forward).parameters)[1:2]
    except (TypeError, ValueError):
        names = []
    return names[0] if names and names[0].isidentifier() and names[0] not in ("args", "kwargs") else "input"


def _exported(module: Any, rows: Any, title: str) -> bytes:
    """By the exporter of today where it is installed, else by the one before; the proof judges either."""
    reasons = []
    if importlib.util.find_spec("onnxscript") is not None:
        try:
            return _by_graph(module, rows)
        except Exception as error:  # noqa: BLE001 - the exporter raises what it likes
            reasons.append(error)
    try:
        return _by_trace(module, rows)
    except Exception as error:
        if not reasons:
            raise Unavailable(
                f"{title} is exported with onnxscript, which is not installed here", hint=INSTALL
            ) from error
        raise CannotCompile(f"torch.onnx cannot export {title}: {_said(reasons[0])}") from reasons[0]


def _by_graph(module: Any, rows: Any) -> bytes:
    import torch

    with _quiet():
        program = torch.onnx.export(
            module, (rows,), dynamo=True, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), verbose=False
        )
    return bytes(program.model_proto.SerializeToString())


def _by_trace(module: Any, rows: Any) -> bytes:
    import torch

    written = io.BytesIO()
    names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "rows"}, "y": {0: "rows"}}}
    with _quiet():
        torch.onnx.export(module, (rows,), written, dynamo=False, **names)
    return written.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say about themselves: whether they did well is proven afterwards."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def in_use(model: Any) -> Any:
    """A model of Keras as a module with one plain argument, as exporters want it."""
    import torch

    class InUse(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, given: Any) -> Any:
            return self.model(given, training=False)

    return InUse()


def _said(error: BaseException) -> str:
    while error.__cause__ is not None:  # the exporter's own words are about itself
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else repr(error))[:300]
