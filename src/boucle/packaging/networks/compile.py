"""Turns a neural network into stages: exported by its framework's own exporter, which is not trusted, and proven.

A network of TensorFlow can also be kept as the SavedModel it is, which is code, and proven in the same way.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray

from boucle.kernel.errors import BoucleError, CannotCompile, InvalidInput, Refused
from boucle.packaging.bundle import Pipeline
from boucle.packaging.compile import DOUBLE_TOLERANCE, GRAPH, SINGLE_TOLERANCE, Compiled
from boucle.packaging.encode import Values
from boucle.packaging.networks.given import Given, given_of
from boucle.packaging.networks.graph import wrapped
from boucle.packaging.networks.network import Network, matrix_of
from boucle.packaging.networks.proof import Pair, in_parts, limits_of, nullable_of, prove_network
from boucle.packaging.networks.reading import Reading, inputs_of, reading_of, scores_of, signature_of
from boucle.packaging.networks.rows import Rows
from boucle.packaging.records import EncodeStage, OnnxStage, PostStage, SavedModelStage, Signature, Stage

Ask = Callable[[Mapping[str, Values]], NDArray[np.float64]]
"""Columns to scores."""


class Subject(Struct, frozen=True, kw_only=True):
    """A network with a sample, and what its values are."""

    network: Network
    given: Given
    reading: Reading
    classes: Sequence[str] | None
    tolerance: float

    @property
    def double(self) -> bool:
        """Whether it computes in float64."""
        return self.network.dtype is np.float64

    def original(self, rows: Rows) -> NDArray[np.float64]:
        """The network's own scores."""
        return scores_of(_values(self.network, rows, self.given.shape), self.reading)

    def signature(self, limits: Rows | None, nullable: NDArray[np.bool_] | None) -> Signature:
        """What goes in and what comes out, as far as it is known."""
        return signature_of(self.reading, self.classes, inputs_of(self.given, limits, nullable))


def compile_network(
    network: Network, sample: Any, *, classes: Sequence[str] | None = None, tolerance: float | None = None
) -> tuple[Compiled, pl.DataFrame]:
    """Export a network and prove it equal on `sample` and on rows made from it; with the rows of an example.

    With `classes` its values are those of classes: probabilities, if all that it answers are, else what a softmax (of
    one value: the logistic function) makes probabilities of.
    """
    subject = _subject(network, sample, classes, tolerance)
    given, reading = subject.given, subject.reading
    exported = network.export(given.rows[:2].astype(network.dtype).reshape(2, *given.shape))
    data = wrapped(
        exported,
        given.shape,
        double=subject.double,
        width=reading.width,
        taken=reading.taken,
        title=network.title,
    )
    stages: list[Stage] = [
        EncodeStage(),
        OnnxStage(file=GRAPH, most_rows=_most_rows(given.rows.shape[1])),
        PostStage(link=reading.link),
    ]
    files = {GRAPH: data}

    def opened(signature: Signature) -> Ask:
        try:
            return Pipeline(signature, stages, files).scores
        except Exception as error:
            raise CannotCompile(
                f"what {network.exporter} wrote of {network.title} cannot be run by ONNX Runtime: {_said(error)}"
            ) from error

    return _proven(subject, stages, files, opened, network.exporter), given.table


def keep_network(
    network: Network, sample: Any, *, classes: Sequence[str] | None = None, tolerance: float | None = None
) -> tuple[Compiled, pl.DataFrame]:
    """The network as a SavedModel, proven in the same way. CannotCompile if it is none of TensorFlow."""
    from boucle.packaging import saved

    if network.saved is None:
        raise CannotCompile(
            f"{network.title} can be kept as code in no way: only TensorFlow's networks can, as a SavedModel"
        )
    subject = _subject(network, sample, classes, tolerance)
    given, reading = subject.given, subject.reading
    data = network.saved()
    stages: list[Stage] = [
        EncodeStage(),
        SavedModelStage(file=saved.MODEL, shape=list(given.shape), double=subject.double, taken=reading.taken),
        PostStage(link=reading.link),
    ]
    files = {saved.MODEL: data}
    model = saved.SavedModel(data)

    def opened(signature: Signature) -> Ask:
        return saved.SavedModelPipeline(signature, stages, model).scores

    return _proven(subject, stages, files, opened, "tensorflow"), given.table


def _subject(network: Network, sample: Any, classes: Sequence[str] | None, tolerance: float | None) -> Subject:
    given = given_of(sample, network)
    if len(given.rows) < 2:
        raise InvalidInput(f"the sample has {len(given.rows)} rows; at least 2 are needed", hint="pass held-out rows")
    reading = reading_of(_first_answers(network, given), classes, network.title)
    if tolerance is None:
        tolerance = DOUBLE_TOLERANCE if network.dtype is np.float64 else SINGLE_TOLERANCE
    return Subject(network=network, given=given, reading=reading, classes=classes, tolerance=tolerance)


def _proven(
    subject: Subject, stages: list[Stage], files: dict[str, bytes], opened: Callable[[Signature], Ask], compiler: str
) -> Compiled:
    """What was written, with its proof. Which numbers it answers is learned on the way."""
    given, network = subject.given, subject.network

    def pair(signature: Signature) -> Pair:
        return Pair(
            original=subject.original,
            compiled=_by_rows(opened(signature), given, network.title, compiler),
            signature=signature,
            tolerance=subject.tolerance,
            title=network.title,
        )

    loose = pair(subject.signature(None, None))
    limits = limits_of(loose, given.rows, apart=given.is_table)
    nullable = nullable_of(loose, given.rows, apart=given.is_table)
    nearest = np.maximum(np.abs(given.rows).max(axis=0), 1.0)
    if not given.is_table:
        nearest[:] = nearest.max()
    while True:
        signature = subject.signature(limits, nullable)
        try:
            parity = prove_network(pair(signature), given.rows, given.names, limits, nullable, compiler)
            break
        except Refused as error:
            is_far = str((error.details or {}).get("worst", "")).startswith("extremes(")
            if not is_far or (limits <= nearest).all():
                raise
            limits = np.maximum(nearest, limits / 10)  # far out, each rounds in its own way
    return Compiled(signature=signature, stages=stages, files=files, parity=parity, framework=network.framework)


def _first_answers(network: Network, given: Given) -> NDArray[np.float64]:
    try:
        values = _values(network, given.rows[:256], given.shape)
    except BoucleError:
        raise
    except Exception as error:
        raise Refused(
            f"{network.title} does not answer the first rows of the sample: {_said(error)}",
            hint="pass rows as the model takes them",
        ) from error
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values).all(axis=1)))
        raise Refused(
            f"{network.title} answers row {row} of the sample with a number that is not finite",
            hint="pass rows without missing values",
        )
    return values


def _values(network: Network, rows: Rows, shape: Sequence[int]) -> NDArray[np.float64]:
    def ask(some: Rows) -> NDArray[np.float64]:
        with np.errstate(all="ignore"):
            answer = network.ask(some.astype(network.dtype).reshape(len(some), *shape))
        return matrix_of(np.asarray(answer), len(some), network.title)

    return in_parts(ask, rows)


def _said(error: Exception) -> str:
    return (str(error) or repr(error)).strip().splitlines()[0][:300]


def _by_rows(asked: Ask, given: Given, title: str, compiler: str) -> Callable[[Rows], NDArray[np.float64]]:
    def ask(rows: Rows) -> NDArray[np.float64]:
        columns: dict[str, Any] = {name: rows[:, at] for at, name in enumerate(given.names)}
        if not given.is_table:
            columns = {given.names[0]: rows.reshape(len(rows), *given.shape)}
        try:
            return asked(columns)
        except BoucleError:
            raise
        except Exception as error:
            raise CannotCompile(
                f"what {compiler} wrote of {title} cannot be asked with {len(rows)} rows: {_said(error)}",
                hint="nothing was written; a model must take any number of rows",
            ) from error

    return ask


def _most_rows(width: int) -> int:
    """Rows at once, of which the numbers between a network's layers find room."""
    return int(np.clip((1 << 21) // max(1, width), 8, 4096))
