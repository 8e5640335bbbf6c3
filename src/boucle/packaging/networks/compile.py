"""Turns a neural network into stages: exported by its framework's own exporter, which is not trusted, and proven."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray

from boucle.kernel.errors import BoucleError, CannotCompile, InvalidInput, Refused
from boucle.packaging.bundle import Pipeline
from boucle.packaging.compile import DOUBLE_TOLERANCE, GRAPH, SINGLE_TOLERANCE, Compiled
from boucle.packaging.compilers.original import sample_of
from boucle.packaging.networks.graph import Taken, wrapped
from boucle.packaging.networks.network import Array, Network, matrix_of
from boucle.packaging.networks.proof import Pair, in_parts, limits_of, nullable_of, prove_network
from boucle.packaging.networks.rows import Rows
from boucle.packaging.records import EncodeStage, Input, OnnxStage, Output, PostStage, Signature, Stage
from boucle.packaging.stages import sigmoid, softmax

Link = Literal["identity", "sigmoid", "softmax"]


class Given(Struct, frozen=True, kw_only=True):
    """A sample as a network takes it."""

    rows: Rows
    """(n_rows, n_values); the values of a row's tensor one after the other."""
    shape: tuple[int, ...]
    """Of a row."""
    names: list[str]
    """Of the columns; one name of a tensor."""
    table: pl.DataFrame
    """The first rows, which are the bundle's example."""
    is_table: bool


class Reading(Struct, frozen=True, kw_only=True):
    """How a network's values become scores."""

    task: Literal["binary", "multiclass", "regression"]
    taken: Taken
    link: Link
    width: int


def compile_network(
    network: Network, sample: Any, *, classes: Sequence[str] | None = None, tolerance: float | None = None
) -> tuple[Compiled, pl.DataFrame]:
    """Export a network and prove it equal on `sample` and on rows made from it; with the rows of an example.

    With `classes` its values are those of classes: probabilities, if all that it answers are, else what a softmax (of
    one value: the logistic function) makes probabilities of.
    """
    given = given_of(sample, network)
    if len(given.rows) < 2:
        raise InvalidInput(f"the sample has {len(given.rows)} rows; at least 2 are needed", hint="pass held-out rows")
    values = _first_answers(network, given)
    reading = _reading(values, classes, network.title)

    def original(rows: Rows) -> NDArray[np.float64]:
        return _scores(_values(network, rows, given.shape), reading)

    double = network.dtype is np.float64
    exported = network.export(given.rows[:2].astype(network.dtype).reshape(2, *given.shape))
    data = wrapped(exported, given.shape, double=double, width=reading.width, taken=reading.taken, title=network.title)
    stages: list[Stage] = [
        EncodeStage(),
        OnnxStage(file=GRAPH, most_rows=_most_rows(given.rows.shape[1])),
        PostStage(link=reading.link),
    ]
    files = {GRAPH: data}
    open_signature = _signature(reading, classes, _inputs(given, None, None))
    tolerance = tolerance if tolerance is not None else DOUBLE_TOLERANCE if double else SINGLE_TOLERANCE

    def pair(signature: Signature) -> Pair:
        compiled = _asked(_opened(signature, stages, files, network), given, network)
        return Pair(original=original, compiled=compiled, signature=signature, tolerance=tolerance, title=network.title)

    loose = pair(open_signature)
    limits = limits_of(loose, given.rows, apart=given.is_table)
    nullable = nullable_of(loose, given.rows, apart=given.is_table)
    nearest = np.maximum(np.abs(given.rows).max(axis=0), 1.0)
    if not given.is_table:
        nearest[:] = nearest.max()
    while True:
        signature = _signature(reading, classes, _inputs(given, limits, nullable))
        try:
            parity = prove_network(pair(signature), given.rows, given.names, limits, nullable, network.exporter)
            break
        except Refused as error:
            is_far = str((error.details or {}).get("worst", "")).startswith("extremes(")
            if not is_far or (limits <= nearest).all():
                raise
            limits = np.maximum(nearest, limits / 10)  # far out, each rounds in its own way
    made = Compiled(signature=signature, stages=stages, files=files, parity=parity, framework=network.framework)
    return made, given.table


def given_of(sample: Any, network: Network) -> Given:
    """A table's columns of numbers as one vector a row, or an array or tensor of rows."""
    if isinstance(sample, pl.DataFrame) or hasattr(sample, "iloc"):
        table = sample_of(sample, None).table
        texts = [name for name in table.columns if table[name].dtype == pl.String]
        if texts:
            raise InvalidInput(
                f"column {texts[0]!r} of the sample is text; a network takes numbers", hint="encode it before the model"
            )
        rows = np.ascontiguousarray(table.to_numpy().astype(np.float64))
        return Given(rows=rows, shape=(rows.shape[1],), names=table.columns, table=table.head(5), is_table=True)
    array = _array(sample)
    if array.ndim < 2 or array.dtype.kind not in "fiub" or not array.size:
        raise InvalidInput(
            f"the sample is an array of {array.dtype} and shape {array.shape}; allowed are rows of numbers",
            hint="pass rows as (n_rows, ...), or a table",
        )
    table = pl.DataFrame({network.input_name: array[:5].astype(network.dtype)})
    return Given(
        rows=array.reshape(len(array), -1).astype(np.float64),
        shape=array.shape[1:],
        names=[network.input_name],
        table=table,
        is_table=False,
    )


def _array(sample: Any) -> Array:
    for name in ("detach", "cpu"):  # of PyTorch's tensors
        if hasattr(sample, name):
            sample = getattr(sample, name)()
    if not hasattr(sample, "__array__"):
        raise InvalidInput(
            f"the sample is a {type(sample).__name__}; allowed are a polars or pandas table, an array or a tensor"
        )
    return np.asarray(sample)


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


def _reading(values: NDArray[np.float64], classes: Sequence[str] | None, title: str) -> Reading:
    width = values.shape[1]
    if classes is None:
        return Reading(task="regression", taken="all", link="identity", width=width)
    if len(classes) < 2 or len(set(classes)) != len(classes):
        raise InvalidInput(f"classes are {list(classes)!r}; allowed are two or more, each once")
    if width != len(classes) and not (width == 1 and len(classes) == 2):
        raise InvalidInput(
            f"{title} answers {width} values a row, and there are {len(classes)} classes",
            hint="name one for each value",
        )
    sure = bool(((values >= 0) & (values <= 1 + 1e-6)).all())
    sure = sure and (width == 1 or bool((np.abs(values.sum(axis=1) - 1) < 1e-3).all()))
    if len(classes) > 2:
        return Reading(task="multiclass", taken="all", link="identity" if sure else "softmax", width=width)
    taken: Taken = "all" if width == 1 else "second" if sure else "difference"
    return Reading(task="binary", taken=taken, link="identity" if sure else "sigmoid", width=width)


def _scores(values: NDArray[np.float64], reading: Reading) -> NDArray[np.float64]:
    """What the stages after the network make of its values."""
    if reading.task == "regression":
        return values[:, 0] if reading.width == 1 else values
    if reading.task == "multiclass":
        return softmax(values) if reading.link == "softmax" else values
    one = values[:, 0] if reading.width == 1 else values[:, 1]
    if reading.taken == "difference":
        one = values[:, 1] - values[:, 0]
    return sigmoid(one) if reading.link == "sigmoid" else one


def _signature(reading: Reading, classes: Sequence[str] | None, inputs: list[Input]) -> Signature:
    if reading.task == "regression":
        names = ["value"] if reading.width == 1 else [f"value_{place}" for place in range(reading.width)]
    elif reading.task == "binary":
        names = ["probability"]
    else:
        names = [f"probability_{name}" for name in classes or ()]
    outputs = [Output(name=name, datatype="FP64") for name in names]
    if reading.task != "regression":
        outputs.append(Output(name="label", datatype="BYTES"))
    return Signature(
        task=reading.task, inputs=inputs, outputs=outputs, classes=[str(one) for one in classes or ()], threshold=0.5
    )


def _inputs(given: Given, limits: Rows | None, nullable: NDArray[np.bool_] | None) -> list[Input]:
    low, high = given.rows.min(axis=0), given.rows.max(axis=0)

    def limit(at: int) -> float | None:
        return None if limits is None else float(limits[at])

    def gaps(at: int) -> bool:
        return nullable is None or bool(nullable[at])

    if given.is_table:
        return [
            Input(
                name=name,
                kind="number",
                nullable=gaps(at),
                minimum=float(low[at]),
                maximum=float(high[at]),
                limit=limit(at),
            )
            for at, name in enumerate(given.names)
        ]
    (name,) = given.names
    shape = list(given.shape)
    return [
        Input(
            name=name,
            kind="tensor",
            nullable=gaps(0),
            minimum=float(low.min()),
            maximum=float(high.max()),
            limit=limit(0),
            shape=shape,
        )
    ]


def _opened(signature: Signature, stages: Sequence[Stage], files: dict[str, bytes], network: Network) -> Pipeline:
    try:
        return Pipeline(signature, stages, files)
    except Exception as error:
        raise CannotCompile(
            f"what {network.exporter} wrote of {network.title} cannot be run by ONNX Runtime: {_said(error)}"
        ) from error


def _said(error: Exception) -> str:
    return (str(error) or repr(error)).strip().splitlines()[0][:300]


def _asked(pipeline: Pipeline, given: Given, network: Network) -> Any:
    def ask(rows: Rows) -> NDArray[np.float64]:
        columns: dict[str, Any] = {name: rows[:, at] for at, name in enumerate(given.names)}
        if not given.is_table:
            columns = {given.names[0]: rows.reshape(len(rows), *given.shape)}
        try:
            return pipeline.scores(columns)
        except BoucleError:
            raise
        except Exception as error:
            raise CannotCompile(
                f"what {network.exporter} wrote of {network.title} cannot be asked with {len(rows)} rows: "
                f"{_said(error)}",
                hint="nothing was written; a model must take any number of rows",
            ) from error

    return ask


def _most_rows(width: int) -> int:
    """Rows at once, of which the numbers between a network's layers find room."""
    return int(np.clip((1 << 21) // max(1, width), 8, 4096))
