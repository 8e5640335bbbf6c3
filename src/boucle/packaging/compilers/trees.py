"""Trees of scikit-learn: one, forests of them, and both kinds of gradient boosting."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boucle.kernel.errors import CannotCompile
from boucle.packaging.compilers.blocks import Block, Model, Writing, compiled, compiles, numbers
from boucle.packaging.compilers.forest import LEQ, Tree, ensemble, vectors


@compiles(
    "sklearn",
    *("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor"),
    *("RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor"),
)
def forest(writing: Writing, model: Any, block: Block) -> Model:
    """Averages of trees, which scikit-learn asks with rows rounded to float32."""
    parts = list(getattr(model, "estimators_", [model]))
    classes = list(getattr(model, "classes_", []))
    if model.n_outputs_ > 1 and classes:
        raise CannotCompile(f"{type(model).__name__} of several targets cannot be compiled")
    trees = [_tree(part.tree_, classes) for part in parts]
    for tree in trees:
        writing.split(block, tree.feature, tree.split)
    rows = writing.graph.single(numbers(block, model))
    if trees[0].value.ndim == 1:
        total = ensemble(writing.graph, rows, trees, [0] * len(trees), 1)
        name = writing.graph.node("Div", total, writing.graph.constant(float(len(trees))))
    else:
        name = vectors(writing.graph, rows, trees, mean=True)
    width = 1 if trees[0].value.ndim == 1 else trees[0].value.shape[1]
    return classifier(name, width, classes) if classes else Model(name=name, width=width, task="regression")


@compiles("sklearn", "GradientBoostingClassifier", "GradientBoostingRegressor")
def gradient_boosting(writing: Writing, model: Any, block: Block) -> Model:
    """Sums of trees times the learning rate, over a first guess."""
    classes = list(getattr(model, "classes_", []))
    stages = [[_tree(one.tree_, [], model.learning_rate) for one in row] for row in model.estimators_]
    trees = [tree for row in stages for tree in row]
    width = len(stages[0])
    for tree in trees:
        writing.split(block, tree.feature, tree.split)
    graph = writing.graph
    rows = graph.single(numbers(block, model))
    sums = ensemble(graph, rows, trees, [target for row in stages for target in range(len(row))], width)
    first = _first_guess(model, block, width)
    name = graph.node("Add", sums, graph.constant(first)) if first is not None else sums
    if classes and model.loss != "log_loss":
        name = graph.node("Mul", name, graph.constant(2.0))  # exponential loss: half the log-odds
    return boosted(name, width, classes)


def _first_guess(model: Any, block: Block, width: int) -> NDArray[np.float64] | None:
    if model.init_ == "zero":
        return None
    if type(model.init_).__name__ != "DummyClassifier" and type(model.init_).__name__ != "DummyRegressor":
        raise CannotCompile(f"{type(model).__name__} with init={type(model.init_).__name__} cannot be compiled")
    row = np.zeros((1, len(block.columns)), dtype=np.float32)
    return np.asarray(model._raw_predict_init(row), dtype=np.float64).reshape(1, width)


@compiles("sklearn", "HistGradientBoostingClassifier", "HistGradientBoostingRegressor")
def histogram_boosting(writing: Writing, model: Any, block: Block) -> Model:
    """Trees over float64, with missing values and categories of their own."""
    classes = list(getattr(model, "classes_", []))
    inner = block if model._preprocessor is None else compiled(writing, model._preprocessor, block)
    rows = numbers(inner, model)
    known = _known_categories(model) if model.do_early_stopping_ else {}
    trees = [_histogram_tree(one, known) for stage in model._predictors for one in stage]
    width = model.n_trees_per_iteration_
    for tree in trees:
        writing.split(inner, tree.feature, tree.split)
    graph = writing.graph
    sums = ensemble(graph, rows, trees, [target for _ in model._predictors for target in range(width)], width)
    name = graph.node("Add", sums, graph.constant(np.asarray(model._baseline_prediction, np.float64).reshape(1, width)))
    if not classes and model.loss in ("poisson", "gamma"):
        name = graph.node("Exp", name)
    return boosted(name, width, classes)


def boosted(name: str, width: int, classes: list[Any]) -> Model:
    """Margins of boosted trees as a model."""
    if not classes:
        return Model(name=name, width=width, task="regression")
    if width == 1:
        return Model(name=name, width=1, task="binary", link="sigmoid", classes=classes, threshold=above(0.5))
    return Model(name=name, width=width, task="multiclass", link="softmax", classes=classes)


def classifier(name: str, width: int, classes: list[Any]) -> Model:
    """Probabilities as a model: of the positive class, or of each."""
    if len(classes) == 2:
        return Model(name=name, width=width, task="binary", classes=classes, threshold=above(0.5))
    return Model(name=name, width=width, task="multiclass", classes=classes)


def above(threshold: float) -> float:
    """The next number: scikit-learn gives a tie to the first class, and `score >= threshold` would not."""
    return float(np.nextafter(threshold, np.inf))


def _tree(tree: Any, classes: Sequence[Any], times: float = 1.0) -> Tree:
    values = tree.value[:, :, 0] if not classes else tree.value[:, 0, :]
    if classes:
        values = values / values.sum(axis=1, keepdims=True)
    if len(classes) == 2:
        values = values[:, 1:]
    return Tree(
        feature=tree.feature.astype(np.int64),
        split=tree.threshold,
        true=tree.children_left.astype(np.int64),
        false=tree.children_right.astype(np.int64),
        missing_true=np.asarray(tree.missing_go_to_left, dtype=bool),
        value=np.ascontiguousarray(values[:, 0] if values.shape[1] == 1 else values) * times,
    )


def _histogram_tree(predictor: Any, known: dict[int, frozenset[int]]) -> Tree:
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    members = {}
    for node in np.flatnonzero(~leaf & nodes["is_categorical"].astype(bool)).tolist():
        left = _bits(predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]])
        # a code that the bins do not know is missing to scikit-learn; only rows kept for early stopping may hold some
        strange = set(range(256)) - known[int(nodes["feature_idx"][node])] if known else set()
        stray = strange if nodes["missing_go_to_left"][node] else set()
        members[node] = sorted(float(code) for code in (left - strange) | stray)
    return Tree(
        feature=nodes["feature_idx"].astype(np.int64),
        split=nodes["num_threshold"].astype(np.float64),
        true=np.where(leaf, -1, nodes["left"].astype(np.int64)),
        false=np.where(leaf, -1, nodes["right"].astype(np.int64)),
        missing_true=nodes["missing_go_to_left"].astype(bool),
        value=nodes["value"].astype(np.float64),
        mode=LEQ,
        members=members,
    )


def _known_categories(model: Any) -> dict[int, frozenset[int]]:
    if model._is_categorical_remapped is None or not any(model._is_categorical_remapped):
        return {}
    bitsets, positions = model._bin_mapper.make_known_categories_bitsets()
    categorical = np.flatnonzero(model._is_categorical_remapped).tolist()
    return {feature: frozenset(_bits(bitsets[positions[feature]])) for feature in categorical}


def _bits(bitset: Iterable[int]) -> set[int]:
    return {32 * place + bit for place, word in enumerate(bitset) for bit in range(32) if int(word) >> bit & 1}
