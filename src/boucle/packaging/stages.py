"""Runs the stages between `encode` and the signature's outputs. Imported by the serving worker.

A stage's runtime is loaded when the first stage that needs it is opened, and not before.
"""

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial, singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boucle.kernel.errors import Refused, Unavailable
from boucle.packaging.records import EncodeStage, OnnxStage, PostStage, Stage, TreeliteStage

Matrix = NDArray[np.float64]
Files = Mapping[str, bytes]
Step = Callable[[Matrix, int], Matrix]
"""A matrix and the number of threads that may work on it, to the next matrix. Safe to share by threads."""


Single = Callable[[Sequence[float]], Matrix]
"""One encoded row to the next matrix, which the next call overwrites. For one thread. struct.error for what is no
number."""
ROWS_A_THREAD = 1_000
"""Fewer rows are not worth a thread of their own."""


class Chain:
    """The stages after `encode`: an encoded matrix to scores (see `boucle.packaging.bundle.Scores`)."""

    def __init__(self, stages: Sequence[Stage], files: Files) -> None:
        self._steps = [open_stage(stage, files) for stage in stages if not isinstance(stage, EncodeStage)]

    def scores(self, matrix: Matrix, nthread: int = 1) -> Matrix:
        """Scores of encoded rows, by at most `nthread` threads; they do not depend on how many."""
        for step in self._steps:
            matrix = step(matrix, nthread)
        return matrix

    def single(self, width: int) -> Single:
        """Scores of one encoded row of that width; for a single thread, which keeps the memory for it."""
        first, *rest = self._steps
        start = first.single(width) if isinstance(first, _OnnxStep) else _single(first, width)
        if not rest:
            return start

        def ask(row: Sequence[float]) -> Matrix:
            matrix = start(row)
            for step in rest:
                matrix = step(matrix, 1)
            return matrix

        return ask


def _single(step: Step, width: int) -> Single:
    rows, fill = _kept(width)

    def ask(row: Sequence[float]) -> Matrix:
        fill(*row)
        return step(rows, 1)

    return ask


def _kept(width: int) -> tuple[Matrix, Callable[..., None]]:
    """A matrix of one row, and what writes numbers into it: a third of the cost of making one."""
    rows = np.zeros((1, width))
    return rows, partial(struct.Struct(f"{width}d").pack_into, rows.data.cast("B"), 0)


@singledispatch
def open_stage(stage: Any, files: Files) -> Step:  # noqa: ARG001 # one shape for all openers
    """A stage ready to run; `files` holds the bytes of the files that it names."""
    raise AssertionError(f"no reader for {stage!r}")


@open_stage.register
def _treelite(stage: TreeliteStage, files: Files) -> Step:
    try:
        import treelite
    except ModuleNotFoundError as error:
        raise Unavailable(
            "this bundle's trees are treelite's, which is not installed", hint="pip install treelite"
        ) from error
    model: Any = treelite.Model.deserialize_bytes(files[stage.file])

    def ask(rows: Matrix, nthread: int) -> Matrix:
        return np.asarray(treelite.gtil.predict(model, rows, nthread=nthread, pred_margin=stage.margins))

    def step(matrix: Matrix, nthread: int) -> Matrix:
        rows = np.ascontiguousarray(matrix)
        try:
            answer = ask(rows, nthread)
        except treelite.TreeliteError:
            if nthread <= 1:
                raise
            answer = ask(rows, 0)  # more threads than OpenMP allows here; 0 is as many as it does
        return answer[:, 0, :]

    return step


@open_stage.register
def _onnx(stage: OnnxStage, files: Files) -> Step:
    # ONNX Runtime (1.32) tells its maker what it loads, and keeps a device's id in the home folder: from the import on
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Sums must not depend on threads, and threads that spin take the processor from other requests
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NOWHERE)
    try:
        session = onnxruntime.InferenceSession(files[stage.file], options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no base of their own
        said = str(error).splitlines()[0].split(" : ", 3)[-1]  # behind the kind and number of the error
        raise Refused(f"ONNX Runtime does not open {stage.file!r}: {said}", hint="bundle the model anew") from error
    return _OnnxStep(session, stage.most_rows)


class _OnnxStep:
    """A graph from the matrix X to the matrix Y."""

    def __init__(self, session: Any, most_rows: int | None) -> None:
        self._session, self._most_rows = session, most_rows

    def __call__(self, matrix: Matrix, nthread: int) -> Matrix:
        rows = np.ascontiguousarray(matrix)
        if len(rows) == 0:
            return self._ask(np.zeros((1, rows.shape[1])))[:0]  # some operators cannot work on nothing
        parts = min(nthread, len(rows) // ROWS_A_THREAD)
        if parts < 2:
            return self._ask(rows)
        with ThreadPoolExecutor(min(parts, os.cpu_count() or 1)) as threads:
            return np.concatenate(list(threads.map(self._ask, np.array_split(rows, parts))))

    def single(self, width: int) -> Single:
        """The same for one row, with its memory bound to the graph."""
        rows, fill = _kept(width)
        answer = self._ask(rows)
        binding = self._session.io_binding()
        binding.bind_input("X", "cpu", 0, rows.dtype, rows.shape, rows.ctypes.data)
        binding.bind_output("Y", "cpu", 0, answer.dtype, answer.shape, answer.ctypes.data)
        run = self._session.run_with_iobinding

        def ask(row: Sequence[float]) -> Matrix:
            fill(*row)
            run(binding)
            return answer

        return ask

    def _ask(self, rows: Matrix) -> Matrix:
        most = self._most_rows
        if most is not None and len(rows) > most:
            return np.concatenate([self._ask(rows[start : start + most]) for start in range(0, len(rows), most)])
        return np.asarray(self._session.run(_OUTPUT, {"X": rows})[0])


_OUTPUT = ["Y"]
_NOWHERE = os.devnull
"""Where a graph would find weights in files of their own, which it could name anywhere: a bundle's graph is whole."""


@open_stage.register
def _post(stage: PostStage, files: Files) -> Step:  # noqa: ARG001 # it needs none
    def step(matrix: Matrix, _: int) -> Matrix:
        if stage.link == "softmax":
            return softmax(matrix)
        values = matrix[:, 0] if matrix.shape[1] == 1 else matrix
        return sigmoid(values) if stage.link == "sigmoid" else values

    return step


def softmax(margins: Matrix) -> Matrix:
    """Rows to probabilities.

    >>> softmax(np.array([[0.0, 0.0], [1000.0, 0.0]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    powers = np.exp(margins - margins.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


def sigmoid(margins: Matrix) -> Matrix:
    """Margins to probabilities, without overflow.

    >>> sigmoid(np.array([0.0, -1000.0, 1000.0]))
    array([0.5, 0. , 1. ])
    """
    small = np.exp(-np.abs(margins))
    return np.asarray(np.where(margins >= 0, 1 / (1 + small), small / (1 + small)), dtype=np.float64)
