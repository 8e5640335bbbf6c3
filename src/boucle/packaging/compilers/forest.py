"""Fitted trees as plain arrays, and as ONNX's `TreeEnsemble` (ai.onnx.ml 5) with every number in float64.

Converters write the older `TreeEnsembleClassifier`, whose scores, and mostly thresholds, are float32. Here thresholds
are kept as they are, and the trees of a framework that compares in float32 are asked with rows rounded to float32.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from boucle.packaging.compilers.graph import INT64, Graph, attribute

LEQ, LT, MEMBER = 0, 1, 6
"""Modes of a node, as ONNX numbers them: go to the true branch if `x <= split`, `x < split`, `x` in a set."""


class Tree(Struct, frozen=True, kw_only=True):
    """One tree; arrays have one entry a node, node 0 is the root, and a leaf has `true` -1."""

    feature: NDArray[np.int64]
    split: NDArray[np.float64]
    true: NDArray[np.int64]
    false: NDArray[np.int64]
    missing_true: NDArray[np.bool_]
    """Whether NaN takes the true branch."""
    value: NDArray[np.float64]
    """Of leaves: (n_nodes,) or, for several values a leaf, (n_nodes, n_values)."""
    mode: int = LEQ
    members: dict[int, list[float]] = {}
    """Sets of the nodes that ask for membership, by node; an empty set holds no code, which are never -inf."""


def ensemble(graph: Graph, rows: str, trees: Sequence[Tree], targets: Sequence[int], n_targets: int) -> str:
    """Sums of the leaves' values, (n_rows, n_targets): tree i adds to column `targets[i]`."""
    written = _Written()
    for tree, target in zip(trees, targets, strict=True):
        written.add(tree, target, tree.value)
    return written.node(graph, rows, n_targets)


def vectors(graph: Graph, rows: str, trees: Sequence[Tree], *, mean: bool) -> str:
    """Sums or means of leaves that hold several values each, (n_rows, n_values).

    A leaf of `TreeEnsemble` adds to one column only. So each tree answers the number of its leaf in a column of its
    own, and the values are looked up by it.
    """
    written, tables, first = _Written(), [], 0
    for position, tree in enumerate(trees):
        leaves = np.flatnonzero(tree.true < 0)
        numbers = np.zeros(len(tree.true))
        numbers[leaves] = np.arange(first, first + len(leaves))
        first += len(leaves)
        tables.append(tree.value[leaves])
        written.add(tree, position, numbers)
    numbers_of_leaves = graph.cast(written.node(graph, rows, len(trees)), INT64)
    values = graph.node("Gather", graph.constant(np.concatenate(tables)), numbers_of_leaves, axis=0)
    return graph.summed(values, mean=mean, keep=False)


class _Written:
    """The attributes of one `TreeEnsemble`, tree after tree."""

    def __init__(self) -> None:
        self.features: list[int] = []
        self.modes: list[int] = []
        self.splits: list[float] = []
        self.missing: list[int] = []
        self.members: list[float] = []
        self.true: list[tuple[int, int]] = []
        self.false: list[tuple[int, int]] = []
        self.roots: list[int] = []
        self.leaf_targets: list[int] = []
        self.leaf_values: list[float] = []

    def add(self, tree: Tree, target: int, values: NDArray[np.float64]) -> None:
        inner = np.flatnonzero(tree.true >= 0)
        if not len(inner):
            return self._stump(target, float(values[0]))
        number = {int(node): len(self.features) + place for place, node in enumerate(inner)}
        self.roots.append(len(self.features))
        for node in inner.tolist():
            members = tree.members.get(node)
            self.features.append(int(tree.feature[node]))
            self.modes.append(MEMBER if members else tree.mode if members is None else LEQ)
            self.splits.append(float(tree.split[node]) if members is None else 0.0 if members else -np.inf)
            self.missing.append(int(tree.missing_true[node]))
            if members:
                self.members.extend([*members, float("nan")])
            for child, branch in ((int(tree.true[node]), self.true), (int(tree.false[node]), self.false)):
                branch.append((number[child], 0) if child in number else self._leaf(target, float(values[child])))
        return None

    def _leaf(self, target: int, value: float) -> tuple[int, int]:
        self.leaf_targets.append(target)
        self.leaf_values.append(value)
        return len(self.leaf_values) - 1, 1

    def _stump(self, target: int, value: float) -> None:
        # a tree without a split, which ONNX cannot write: a split with the same leaf on both sides
        self.roots.append(len(self.features))
        self.features.append(0)
        self.modes.append(LEQ)
        self.splits.append(0.0)
        self.missing.append(0)
        self.true.append(self._leaf(target, value))
        self.false.append(self._leaf(target, value))

    def node(self, graph: Graph, rows: str, n_targets: int) -> str:
        sets = {"membership_values": attribute(np.array(self.members), "m")} if self.members else {}
        return graph.node(
            "TreeEnsemble",
            rows,
            domain="ai.onnx.ml",
            aggregate_function=1,
            post_transform=0,
            n_targets=n_targets,
            tree_roots=self.roots,
            nodes_featureids=self.features,
            nodes_modes=attribute(np.array(self.modes, dtype=np.uint8), "o"),
            nodes_splits=attribute(np.array(self.splits), "s"),
            nodes_missing_value_tracks_true=self.missing,
            nodes_truenodeids=[one for one, _ in self.true],
            nodes_trueleafs=[leaf for _, leaf in self.true],
            nodes_falsenodeids=[one for one, _ in self.false],
            nodes_falseleafs=[leaf for _, leaf in self.false],
            leaf_targetids=self.leaf_targets,
            leaf_weights=attribute(np.array(self.leaf_values), "w"),
            **sets,
        )
