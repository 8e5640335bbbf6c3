"""Models made of models: bagging, voting, stacking, calibration, boosting by weights, and transformed targets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from boucle.kernel.errors import CannotCompile
from boucle.packaging.compilers.blocks import (
    Block,
    Model,
    Writing,
    block_of,
    compiled,
    compiles,
    numbers,
)
from boucle.packaging.compilers.graph import DOUBLE, INT64
from boucle.packaging.compilers.steps import select
from boucle.packaging.compilers.trees import above, classifier


def probabilities(writing: Writing, model: Model) -> str:
    """Probabilities of each class, (n_rows, n_classes)."""
    graph = writing.graph
    if not model.probabilities:
        raise CannotCompile("a part that gives no probabilities cannot be compiled where its model wants some")
    if model.link == "softmax":
        return graph.node("Softmax", model.name, axis=1)
    if model.link == "sigmoid":
        return graph.opposite(graph.node("Sigmoid", model.name))
    return graph.opposite(model.name) if model.width == 1 else model.name


def values(writing: Writing, model: Model) -> str:
    """Values of a regression, or probabilities of each class."""
    return model.name if model.task == "regression" else probabilities(writing, model)


@compiles("sklearn", "BaggingClassifier", "BaggingRegressor")
def bagging(writing: Writing, model: Any, block: Block) -> Model:
    """Averages of models, each of its own columns."""
    made = []
    for part, features in zip(model.estimators_, model.estimators_features_, strict=True):
        chosen = select(writing, block, [int(one) for one in features])
        found = compiled(writing, part, chosen)
        if found.task != "regression" and len(found.classes) != model.n_classes_:
            raise CannotCompile(f"{type(model).__name__} with a part that lacks a class cannot be compiled")
        made.append(values(writing, found))
    return _averaged(writing, model, made, None)


@compiles("sklearn", "VotingClassifier", "VotingRegressor")
def voting(writing: Writing, model: Any, block: Block) -> Model:
    """Weighted averages of models, or weighted votes, of which the most win."""
    if getattr(model, "voting", "soft") != "soft":
        return _voted(writing, model, block)
    made = [values(writing, compiled(writing, part, block)) for part in model.estimators_]
    return _averaged(writing, model, made, model._weights_not_none)


@compiles("sklearn", "MultiOutputRegressor")
def several_values(writing: Writing, model: Any, block: Block) -> Model:
    """A model for each value."""
    made = [compiled(writing, part, block) for part in model.estimators_]
    return Model(name=writing.graph.joined([one.name for one in made]), width=len(made), task="regression")


@compiles("sklearn", "StackingClassifier", "StackingRegressor")
def stacking(writing: Writing, model: Any, block: Block) -> Model:
    """A model of models' answers."""
    made = []
    for part, method in zip(model.estimators_, model.stack_method_, strict=True):
        found = compiled(writing, part, block)
        if method == "predict_proba":
            name, width = probabilities(writing, found), len(found.classes)
            if width == 2:
                name, width = writing.graph.columns(name, [1]), 1
        elif method == "decision_function" or found.task == "regression":
            name, width = found.name, found.width
        else:
            raise CannotCompile(f"{type(model).__name__} of labels cannot be compiled")
        made.append(block_of(name, width))
    columns = [column for one in made for column in one.columns]
    joined = Block(writing.graph.joined([one.name for one in made]), columns)
    if model.passthrough:
        joined = Block(writing.graph.joined([joined.name, numbers(block, model)]), [*columns, *block.columns])
    found = compiled(writing, model.final_estimator_, joined)
    return found if found.task == "regression" else _renamed(found, model)


def _voted(writing: Writing, model: Any, block: Block) -> Model:
    graph, several, total = writing.graph, len(model.classes_), None
    weights = model._weights_not_none or [1.0] * len(model.estimators_)
    for part, weight in zip(model.estimators_, weights, strict=True):
        labels = _labels(writing, compiled(writing, part, block), several)
        vote = graph.node("Mul", labels, graph.constant(float(weight)))
        total = vote if total is None else graph.node("Add", total, vote)
    best = graph.node("ArgMax", str(total), axis=1, keepdims=1)
    name = graph.cast(graph.node("Equal", best, graph.constant(np.arange(several)[None], np.int64)), DOUBLE)
    found = as_classifier(writing, name, list(model.classes_))
    return replace(found, probabilities=False, labels=True)


@compiles("sklearn", "CalibratedClassifierCV")
def calibrated(writing: Writing, model: Any, block: Block) -> Model:
    """Margins through fitted sigmoids, averaged over the folds."""
    graph, made = writing.graph, []
    for fold in model.calibrated_classifiers_:
        found = compiled(writing, fold.estimator, block)
        if fold.method != "sigmoid" or len(model.classes_) != 2:
            raise CannotCompile("CalibratedClassifierCV is compiled for method='sigmoid' and two classes only")
        name = found.name
        if found.probabilities and not hasattr(fold.estimator, "decision_function"):
            name = graph.columns(probabilities(writing, found), [1])
        part = fold.calibrators[0]
        inner = graph.node(
            "Add", graph.node("Mul", name, graph.constant(-float(part.a_))), graph.constant(-float(part.b_))
        )
        made.append(graph.node("Sigmoid", inner))
    return classifier(graph.averaged(made), 1, list(model.classes_))


@compiles("sklearn", "AdaBoostRegressor")
def boosted_median(writing: Writing, model: Any, block: Block) -> Model:
    """The weighted median of models."""
    graph = writing.graph
    parts = [compiled(writing, part, block).name for part in model.estimators_]
    answers = graph.joined(parts)
    count = len(parts)
    ordered = graph.node("TopK", answers, graph.constant([count], np.int64), outputs=2, axis=1, largest=0, sorted=1)
    weights = np.asarray(model.estimator_weights_[:count], np.float64)
    sums = graph.node(
        "CumSum", graph.node("Gather", graph.constant(weights), f"{ordered}_1", axis=0), graph.constant(1, np.int64)
    )
    last = graph.columns(sums, [count - 1])
    reached = graph.node("GreaterOrEqual", sums, graph.node("Mul", graph.constant(0.5), last))
    place = graph.node("ArgMax", graph.cast(reached, INT64), axis=1, keepdims=1)
    return Model(name=graph.node("GatherElements", ordered, place, axis=1), width=1, task="regression")


@compiles("sklearn", "AdaBoostClassifier")
def boosted_votes(writing: Writing, model: Any, block: Block) -> Model:
    """Weighted votes of models (SAMME)."""
    graph, classes, total = writing.graph, list(model.classes_), None
    several = len(classes)
    for part, weight in zip(model.estimators_, model.estimator_weights_, strict=False):
        votes = _labels(writing, compiled(writing, part, block), several)
        share = np.full((several, several), -1.0 / (several - 1)) + np.eye(several) * (1 + 1.0 / (several - 1))
        vote = graph.node("MatMul", votes, graph.constant(share * float(weight)))
        total = vote if total is None else graph.node("Add", total, vote)
    assert total is not None
    decision = graph.node("Div", total, graph.constant(float(np.sum(model.estimator_weights_))))
    if several > 2:
        scaled = graph.node("Div", decision, graph.constant(float(several - 1)))
        return Model(name=scaled, width=several, task="multiclass", link="softmax", classes=classes)
    margin = graph.node("Sub", graph.columns(decision, [1]), graph.columns(decision, [0]))
    # predict_proba is softmax([-d, d] / 2), which is a sigmoid of d
    return Model(name=margin, width=1, task="binary", link="sigmoid", classes=classes, threshold=above(0.5))


@compiles("sklearn", "TransformedTargetRegressor")
def transformed_target(writing: Writing, model: Any, block: Block) -> Model:
    """A regression whose target was transformed."""
    found: Model = compiled(writing, model.regressor_, block)
    inverse, part, graph = model.inverse_func, model.transformer, writing.graph
    if part is not None:
        fitted = model.transformer_
        if type(fitted).__name__ != "StandardScaler":
            raise CannotCompile(f"TransformedTargetRegressor by {type(fitted).__name__} cannot be compiled")
        scaled = graph.node("Mul", found.name, graph.constant(np.asarray(fitted.scale_, np.float64)))
        name = graph.node("Add", scaled, graph.constant(np.asarray(fitted.mean_, np.float64)))
    elif inverse is np.exp or inverse is np.expm1:
        name = graph.node("Exp", found.name)
        if inverse is np.expm1:
            name = graph.node("Sub", name, graph.constant(1.0))
    elif inverse is np.square:
        name = graph.node("Mul", found.name, found.name)
    else:
        raise CannotCompile("TransformedTargetRegressor with this inverse_func cannot be compiled")
    return Model(name=name, width=1, task="regression")


@compiles("sklearn", "GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
def searched(writing: Writing, model: Any, block: Block) -> Any:
    """The best model of a search."""
    return compiled(writing, model.best_estimator_, block)


@compiles("sklearn", "DummyRegressor", "DummyClassifier")
def constant(writing: Writing, model: Any, block: Block) -> Model:
    """The same answer always."""
    graph = writing.graph
    if hasattr(model, "classes_") and model.strategy != "prior":
        raise CannotCompile(f"DummyClassifier with strategy={model.strategy!r} cannot be compiled")
    answer = model.class_prior_ if hasattr(model, "classes_") else model.constant_
    row = np.asarray(answer, np.float64).reshape(1, -1)
    zeros = graph.node(
        "Mul", graph.cast(graph.node("IsNaN", graph.columns(block.name, [0])), DOUBLE), graph.constant(0.0)
    )
    name = graph.node("Add", zeros, graph.constant(row))
    if not hasattr(model, "classes_"):
        return Model(name=name, width=row.shape[1], task="regression")
    return as_classifier(writing, name, list(model.classes_))


def _averaged(writing: Writing, model: Any, made: Sequence[str], weights: Sequence[float] | None) -> Model:
    graph = writing.graph
    if weights is None:
        name = graph.averaged(list(made))
    else:
        parts = [
            graph.node("Mul", one, graph.constant(float(weight))) for one, weight in zip(made, weights, strict=True)
        ]
        total = graph.averaged(parts)
        name = graph.node("Mul", total, graph.constant(len(parts) / float(sum(weights))))
    classes = list(getattr(model, "classes_", []))
    return as_classifier(writing, name, classes) if classes else Model(name=name, width=1, task="regression")


def as_classifier(writing: Writing, name: str, classes: list[Any]) -> Model:
    """Probabilities of each class, (n_rows, n_classes), as a model."""
    if len(classes) == 2:
        return classifier(writing.graph.columns(name, [1]), 1, classes)
    return classifier(name, len(classes), classes)


def _labels(writing: Writing, model: Model, several: int) -> str:
    """(n_rows, several): 1 at the class that a model answers."""
    graph = writing.graph
    if model.votes:
        raise CannotCompile("votes of a model that votes by pairs of classes itself cannot be compiled")
    if model.task == "binary":
        score = model.name if model.link == "identity" else graph.node("Sigmoid", model.name)
        score = score if model.width == 1 else graph.columns(score, [1])
        high = graph.node("GreaterOrEqual", score, graph.constant(model.threshold))
        return graph.opposite(graph.cast(high, DOUBLE))
    best = graph.node("ArgMax", model.name, axis=1, keepdims=1)
    return graph.cast(graph.node("Equal", best, graph.constant(np.arange(several)[None], np.int64)), DOUBLE)


def _renamed(found: Model, model: Any) -> Model:
    return replace(found, classes=list(model.classes_))
