"""scikit-learn's k nearest neighbours: the training rows are the model."""

from typing import Any

import numpy as np

from boucle.kernel.errors import CannotCompile
from boucle.packaging.compilers.blocks import Block, Model, Writing, compiles, numbers
from boucle.packaging.compilers.combined import as_classifier
from boucle.packaging.compilers.graph import DOUBLE


@compiles("sklearn", "KNeighborsClassifier", "KNeighborsRegressor")
def nearest(writing: Writing, model: Any, block: Block) -> Model:
    """Votes or means of the nearest rows, by Euclidean distance of differences (no squares are cancelled)."""
    metric = (model.effective_metric_, model.effective_metric_params_)
    if metric[0] != "euclidean" or metric[1] or model.weights not in ("uniform", "distance") or model._y.ndim > 1:
        raise CannotCompile(f"{type(model).__name__} with metric={model.metric!r} and these weights cannot be compiled")
    graph = writing.graph
    rows = graph.node("Unsqueeze", numbers(block, model), graph.constant([1], np.int64))
    apart = graph.node("Sub", rows, graph.constant(np.asarray(model._fit_X, np.float64)[None]))
    squares = graph.summed(graph.node("Mul", apart, apart), axis=2, keep=False)
    count = graph.constant([model.n_neighbors], np.int64)
    least = graph.node("TopK", squares, count, outputs=2, axis=1, largest=0, sorted=1)
    weights = _weights(writing, least) if model.weights == "distance" else None
    classes = list(getattr(model, "classes_", []))
    answers = np.asarray(model._y)
    table = np.eye(len(classes))[answers] if classes else answers.astype(np.float64)[:, None]
    values = graph.node("Gather", graph.constant(table), f"{least}_1", axis=0)
    if weights is None:
        name = graph.summed(values, mean=True, keep=False)
    else:
        total = graph.summed(
            graph.node("Mul", values, graph.node("Unsqueeze", weights, graph.constant([2], np.int64))), keep=False
        )
        name = graph.node("Div", total, graph.summed(weights))
    writing.rows.append(max(1, WORK // model._fit_X.size))
    return as_classifier(writing, name, classes) if classes else Model(name=name, width=1, task="regression")


WORK = 4_000_000
"""Differences that are held in memory at once."""


def _weights(writing: Writing, squares: str) -> str:
    # a neighbour at distance 0 outweighs all others
    graph = writing.graph
    at = graph.node("Equal", squares, graph.constant(0.0))
    hits = graph.cast(at, DOUBLE)
    any_hit = graph.node("Greater", graph.summed(hits), graph.constant(0.0))
    inverse = graph.node("Div", graph.constant(1.0), graph.node("Sqrt", squares))
    return graph.node("Where", any_hit, hits, inverse)
