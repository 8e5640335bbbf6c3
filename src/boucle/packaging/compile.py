"""Turns a fitted model into stages: data that small runtimes answer from, proven to answer as the model does.

No converter is trusted. What scikit-learn's models compute is written as an ONNX graph in float64, and whatever was
written is asked beside the model itself (`boucle.packaging.parity`) before anybody else may ask it.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
import polars as pl
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from boucle.kernel.errors import BoucleError, CannotCompile, InvalidInput, Refused
from boucle.packaging.bundle import Pipeline, labels_of
from boucle.packaging.limits import probed, refuses_alike
from boucle.packaging.manifest import MODEL
from boucle.packaging.parity import Answer, Ask, narrowed, prove
from boucle.packaging.records import (
    EncodeStage,
    Input,
    OnnxStage,
    Output,
    Parity,
    PostStage,
    Signature,
    Stage,
    TreeliteStage,
)
from boucle.packaging.tables import columns_of
from boucle.training.records import Fitted

GRAPH = "model.onnx"
DOUBLE_TOLERANCE, SINGLE_TOLERANCE = 1e-9, 1e-5
"""For models that compute in float64, and in float32."""


class Written(Struct, frozen=True, kw_only=True):
    """What a compiler wrote, before it is proven."""

    stages: list[Stage]
    files: dict[str, bytes]


Compiler = Callable[[Fitted], Written]
"""Compilers are not trusted: see `boucle.packaging.parity`."""


class Compiled(Struct, frozen=True, kw_only=True):
    """A model as data, with the proof that it answers as the fitted one."""

    signature: Signature
    stages: list[Stage]
    files: dict[str, bytes]
    parity: Parity
    framework: str
    """`scikit-learn 1.9.0`."""


def compile_model(model: Any, sample: Any, *, tolerance: float | None = None) -> Compiled:
    """Compile any fitted model that our compilers know, and prove it equal on `sample` and on rows made from it.

    `sample` is a polars or pandas table or an array of rows as the model takes them; held-out rows are best. The
    tolerance is that of the model's own arithmetic: 1e-9 where it computes in float64, 1e-5 in float32.

    CannotCompile names the part of the model that no compiler knows; Refused says how far the compiled model is off.
    """
    from boucle.packaging.code import class_name
    from boucle.packaging.compilers.native import as_estimator
    from boucle.packaging.compilers.original import asked, named, refuse_unready, sample_of
    from boucle.packaging.compilers.sentinels import sentinels_of

    model = as_estimator(model)
    given = sample_of(named(sample, model), names_of(model))
    if not given.table.height:
        raise InvalidInput("the sample has no rows", hint="pass some rows as the model takes them")
    refuse_unready(model, given)
    found, data, inputs, writing = _written(model, given)
    if found.classes and not (found.probabilities or found.labels) and hasattr(model, "predict_proba"):
        raise CannotCompile(
            f"{type(model).__name__} has probabilities, of which only the scores below can be compiled",
            hint="fit it without (SVC with probability=False), or within CalibratedClassifierCV; or keep it as it is: "
            "keep_code=True",
        )
    classes = [class_name(label) for label in found.classes]
    original = asked(model, found, given.restore)
    signature = _signature(found, classes, probed(original, inputs, given.table))
    stages: list[Stage] = [EncodeStage(unseen=-1.0), _stage(writing), PostStage(link="identity")]
    limits = DOUBLE_TOLERANCE if not (found.single or given.singles) else SINGLE_TOLERANCE
    tolerance = limits if tolerance is None else tolerance

    def proven(signature: Signature) -> Parity:
        candidate = asked_compiled(signature, stages, {GRAPH: data})
        refuses_alike(candidate, signature, given.table)
        return prove(
            original,
            candidate,
            signature,
            given.table,
            thresholds=_thresholds(writing),
            sentinels=sentinels_of(model),
            compiler="onnx",
            tolerance=tolerance,
        )

    try:
        parity = proven(signature)
    except Refused as error:
        if not str((error.details or {}).get("worst", "")).startswith("extremes("):
            raise
        # far out, the original itself answers by its rounding: what cannot be proven equal is refused there
        candidate = asked_compiled(signature, stages, {GRAPH: data})
        signature = replace(signature, inputs=narrowed(original, candidate, signature, given.table, tolerance))
        parity = proven(signature)
    return Compiled(
        signature=signature, stages=stages, files={GRAPH: data}, parity=parity, framework=framework_of(model)
    )


def asked_compiled(signature: Signature, stages: Sequence[Stage], files: dict[str, bytes]) -> Ask:
    """Stages as `boucle.packaging.parity.Ask`."""
    pipeline = Pipeline(signature, stages, files)

    def ask(table: pl.DataFrame) -> Answer:
        scores = pipeline.scores(columns_of(table, signature))
        return Answer(scores, labels_of(signature, scores))

    return ask


def _stage(writing: Any) -> OnnxStage:
    return OnnxStage(file=GRAPH, most_rows=min(writing.rows, default=None))


def _thresholds(writing: Any) -> dict[str, NDArray[np.float64]]:
    found = {name: np.concatenate(some) for name, some in writing.thresholds.items()}
    return {name: np.unique(some[np.isfinite(some)]) for name, some in found.items()}


def _written(model: Any, given: Any) -> tuple[Any, bytes, list[Input], Any]:
    """The model as a graph, its inputs, and what was learned on the way."""
    from boucle.packaging.code import first_line
    from boucle.packaging.compilers.blocks import Block, Column, Model, Vocabulary, Writing, compiled, linked
    from boucle.packaging.compilers.graph import Graph

    for module in ("trees", "steps", "curves", "linear", "combined", "neighbours", "boosters"):
        import_module(f"boucle.packaging.compilers.{module}")
    table = given.table
    columns = [
        Column(Vocabulary(given.natives.get(name, [])) if table[name].dtype == pl.String else None, name)
        for name in table.columns
    ]
    writing = Writing(Graph(len(columns)))
    try:
        found = compiled(writing, model, Block(_rounded(writing.graph, given), columns))
    except BoucleError:
        raise
    except Exception as error:  # a kind of such a model that its compiler has not met
        raise CannotCompile(
            f"{type(model).__name__} cannot be compiled as it was fitted: {first_line(error)}",
            hint="it can be served as it is: keep_code=True",
        ) from error
    if not isinstance(found, Model):
        raise InvalidInput(f"{type(model).__name__} predicts nothing", hint="end the pipeline with a model")
    return (
        found,
        writing.graph.data(linked(writing.graph, found), found.width),
        [_input(one, table) for one in columns],
        writing,
    )


def _rounded(graph: Any, given: Any) -> str:
    """The rows, with the columns that the model is given as float32 rounded to it."""
    from boucle.packaging.compilers.graph import INPUT

    singles = np.array([name in given.singles for name in given.table.columns])
    if not singles.any():
        return INPUT
    rounded: str = graph.single(INPUT)
    return (
        rounded if singles.all() else str(graph.node("Where", graph.constant(singles[None], np.bool_), rounded, INPUT))
    )


def _input(column: Any, table: pl.DataFrame) -> Input:
    if column.vocabulary is not None:
        return Input(name=column.source, kind="category", nullable=True, categories=column.vocabulary.texts)
    values = table[column.source].fill_nan(None).drop_nulls()
    low, high = (values.min(), values.max()) if len(values) else (None, None)
    return Input(name=column.source, kind="number", nullable=True, minimum=low, maximum=high)


def _signature(found: Any, classes: list[str], inputs: list[Input]) -> Signature:
    if found.task == "regression":
        names = ["value"] if found.width == 1 else [f"value_{place}" for place in range(found.width)]
        outputs = [Output(name=name, datatype="FP64") for name in names]
    else:
        begin = "probability" if found.probabilities else "score"
        names = [begin] if found.task == "binary" else [f"{begin}_{name}" for name in classes]
        outputs = [*(Output(name=name, datatype="FP64") for name in names), Output(name="label", datatype="BYTES")]
    return Signature(
        task=found.task,
        inputs=inputs,
        outputs=outputs,
        classes=classes,
        threshold=found.threshold,
        margins=not found.probabilities,
    )


def names_of(model: Any) -> list[str] | None:
    """The columns that a model was fitted on, where it knows them."""
    for name in ("feature_names_in_", "feature_name_"):
        found = getattr(model, name, None)
        if found is not None and len(found) and all(isinstance(one, str) for one in found):
            return [str(one) for one in found]
    return None


def framework_of(model: Any) -> str:
    """The package that a model is of, with its version."""
    model = getattr(model, "native", model)
    name = {"sklearn": "scikit-learn"}.get(package := type(model).__module__.partition(".")[0], package)
    try:
        return f"{name} {version(name)}"
    except ModuleNotFoundError:  # installed under another name, as xgboost-cpu
        return f"{name} {getattr(import_module(package), '__version__', '')}".strip()


def compile_onnx(fitted: Fitted) -> Written:
    """An ONNX graph of Boucle's own gradient boosting, behind Boucle's own encoding."""
    import boucle.packaging.compilers.steps  # noqa: F401 # registers the encoder that the estimator has inside
    from boucle.packaging.compilers import trees
    from boucle.packaging.compilers.blocks import Block, Codes, Column, Writing, linked
    from boucle.packaging.compilers.graph import INPUT, Graph

    encoding = fitted.encoding
    codes = [Codes(len(encoding.categories[name])) for name in encoding.categorical]
    columns = [*(Column(one) for one in codes), *(Column() for _ in encoding.numeric)]
    writing = Writing(Graph(len(columns)))
    found = trees.histogram_boosting(writing, fitted.estimator, Block(INPUT, columns))
    data = writing.graph.data(linked(writing.graph, found), found.width)
    return Written(stages=[EncodeStage(), OnnxStage(file=GRAPH), PostStage(link="identity")], files={GRAPH: data})


def compile_treelite(fitted: Fitted) -> Written:
    """treelite's checkpoint of a scikit-learn histogram gradient boosting. The same trees give the same bytes."""
    import treelite

    # treelite (4.8) casts scikit-learn's list of categories to integers, and the last of that list may be NaN
    with np.errstate(invalid="ignore"):
        data = bytes(treelite.sklearn.import_model(fitted.estimator).serialize_bytes())
    # its own softmax rounds to float32 on the way (6e-8 off, measured with 4.8), so that stage is ours
    several = fitted.task == "multiclass"
    stages: list[Stage] = [
        EncodeStage(),
        TreeliteStage(file=MODEL, margins=several),
        PostStage(link="softmax" if several else "identity"),
    ]
    return Written(stages=stages, files={MODEL: data})
