"""How far a regression is off before any label comes: direct loss estimation by one tree, kept as data. Pure.

The tree is grown on a reference with labels, from the inputs and the answer to the squared error; each leaf keeps the
mean and the variance of the absolute and of the squared errors in it (NannyML's DLE, whose model is boosted trees).
"""

from math import sqrt
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from boucle.evaluation.records import Metric
from boucle.kernel.errors import InvalidInput

Numbers = NDArray[np.float64]
_Z: Final = 1.959964
_LEAST_ROWS: Final = 20
_LEAVES: Final = 100
"""A leaf has at least one in so many of the reference's rows, so that there are at most as many leaves."""


class Moments(Struct, frozen=True, kw_only=True):
    """Of the errors in each node."""

    mean: list[float]
    variance: list[float]


class ErrorTree(Struct, frozen=True, kw_only=True):
    """A binary tree as lists by node, the first is the root. Left is `value <= threshold`."""

    columns: int
    column: list[int]
    """-1 in a leaf."""
    threshold: list[float]
    missing_left: list[bool]
    left: list[int]
    right: list[int]
    absolute: Moments
    squared: Moments


def learned(inputs: Numbers, answers: Numbers, truth: Numbers, *, seed: int = 0) -> ErrorTree:
    """Grow the tree on rows that the model was not fitted to. `inputs` (n_rows, n_columns): numbers, NaN is missing.

    InvalidInput without rows.
    """
    from sklearn.tree import DecisionTreeRegressor

    if not len(truth):
        raise InvalidInput("there are no rows to learn the errors from", hint="take a reference with labels")
    matrix, absolute = _matrix(inputs, answers), np.abs(np.asarray(truth, np.float64) - answers)
    fitted = DecisionTreeRegressor(min_samples_leaf=max(_LEAST_ROWS, len(truth) // _LEAVES), random_state=seed)
    fitted.fit(matrix, absolute)
    tree = fitted.tree_
    leaves, count = fitted.apply(matrix), tree.node_count
    return ErrorTree(
        columns=matrix.shape[1],
        column=[max(int(column), -1) for column in tree.feature],
        threshold=tree.threshold.tolist(),
        missing_left=[bool(one) for one in tree.missing_go_to_left],
        left=tree.children_left.tolist(),
        right=tree.children_right.tolist(),
        absolute=_moments(absolute, leaves, count),
        squared=_moments(absolute**2, leaves, count),
    )


def estimate_error(metric: str, tree: ErrorTree, inputs: Numbers, answers: Numbers) -> Metric | None:
    """`mae` or `rmse` of rows whose labels are not known, with the 95 % interval that the errors' own chance gives."""
    if metric not in ("mae", "rmse") or not len(answers):
        return None
    leaves = _leaves(tree, _matrix(inputs, answers))
    kept = tree.absolute if metric == "mae" else tree.squared
    mean = float(np.asarray(kept.mean)[leaves].mean())
    spread = _Z * sqrt(float(np.asarray(kept.variance)[leaves].sum())) / len(answers)
    low, high = max(0.0, mean - spread), mean + spread
    if metric == "mae":
        return Metric(value=mean, low=low, high=high)
    return Metric(value=sqrt(mean), low=sqrt(low), high=sqrt(high))


def _matrix(inputs: Numbers, answers: Numbers) -> Numbers:
    # Trees of scikit-learn compare in single precision; what is larger is its largest number to them.
    most = np.finfo(np.float32).max
    return np.column_stack([inputs, answers]).clip(-most, most).astype(np.float32).astype(np.float64)


def _leaves(tree: ErrorTree, matrix: Numbers) -> NDArray[np.int64]:
    if matrix.shape[1] != tree.columns:
        raise InvalidInput(f"the errors were learned from {tree.columns - 1} columns; there are {matrix.shape[1] - 1}")
    column, threshold = np.asarray(tree.column), np.asarray(tree.threshold)
    missing, left, right = np.asarray(tree.missing_left), np.asarray(tree.left), np.asarray(tree.right)
    at, rows = np.zeros(len(matrix), np.int64), np.arange(len(matrix))
    while len(inner := rows[column[at] >= 0]):
        node = at[inner]
        value = matrix[inner, column[node]]
        goes_left = np.where(np.isnan(value), missing[node], value <= threshold[node])
        at[inner] = np.where(goes_left, left[node], right[node])
    return at


def _moments(errors: Numbers, leaves: NDArray[np.int64], nodes: int) -> Moments:
    rows = np.maximum(np.bincount(leaves, minlength=nodes), 1)
    mean = np.bincount(leaves, errors, nodes) / rows
    variance = np.bincount(leaves, (errors - mean[leaves]) ** 2, nodes) / rows
    return Moments(mean=mean.tolist(), variance=variance.tolist())
