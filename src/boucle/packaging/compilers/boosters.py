"""XGBoost and LightGBM, read from what they write about their trees."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from boucle.kernel.errors import CannotCompile
from boucle.packaging.compilers.blocks import Block, Model, Writing, compiles
from boucle.packaging.compilers.forest import LT, Tree, ensemble
from boucle.packaging.compilers.graph import Graph
from boucle.packaging.compilers.sentinels import is_gap
from boucle.packaging.compilers.trees import boosted

_XGBOOST_LINKS = {
    **dict.fromkeys(("binary:logistic", "multi:softprob", "multi:softmax"), "classes"),
    **dict.fromkeys(("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror"), "identity"),
    **dict.fromkeys(("rank:ndcg", "rank:pairwise", "rank:map"), "identity"),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie", "reg:squaredlogerror"), "exp"),
}
_LIGHTGBM_LINKS = {
    **dict.fromkeys(("binary", "multiclass"), "classes"),
    **dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "identity"),
    **dict.fromkeys(("lambdarank", "rank_xendcg"), "identity"),
    **dict.fromkeys(("poisson", "gamma", "tweedie"), "exp"),
}


@compiles("boucle", "XGBoostBooster")
@compiles("xgboost", "XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor", "XGBRanker")
def xgboost(writing: Writing, model: Any, block: Block) -> Model:
    """Trees that compare in float32 and add up in float32; here they add up in float64."""
    booster = model.get_booster()
    learner = json.loads(bytes(booster.save_raw(raw_format="json")))["learner"]
    objective = learner["objective"]["name"]
    kind, link = learner["gradient_booster"]["name"], _XGBOOST_LINKS.get(objective)
    if kind != "gbtree" or link is None:
        raise CannotCompile(f"XGBoost with booster={kind!r} and objective={objective!r} cannot be compiled")
    if int(learner["learner_model_param"].get("num_target", "1")) > 1:
        raise CannotCompile(f"{type(model).__name__} of several targets cannot be compiled")
    written = learner["gradient_booster"]["model"]
    width = max(1, int(learner["learner_model_param"]["num_class"]))
    count = len(written["trees"])
    if getattr(model, "early_stopping_rounds", None) is not None:
        count = (model.best_iteration + 1) * width * max(1, int(model.get_params().get("num_parallel_tree") or 1))
    trees = [_xgboost_tree(tree) for tree in written["trees"][:count]]
    for tree in trees:
        writing.split(block, tree.feature, tree.split)
    graph = writing.graph
    rows = _without(graph, graph.single(codes_or_nan(writing, block)), getattr(model, "missing", None))
    sums = ensemble(graph, rows, trees, [int(one) for one in written["tree_info"][:count]], width)
    first = _base_margin(learner["learner_model_param"]["base_score"], objective, width)
    name = graph.node("Add", sums, graph.constant(first))
    return _linked(writing, name, width, link, model, single=True)


def _without(graph: Graph, rows: str, missing: float | None) -> str:
    """Rows in which the model's own value for missing is NaN; XGBoost compares it in float32, with codes as well."""
    if is_gap(missing):
        return rows
    with np.errstate(over="ignore"):
        same = graph.node("Equal", rows, graph.constant(np.float32(missing)))
    return graph.node("Where", same, graph.constant(np.nan), rows)


def _base_margin(written: str, objective: str, width: int) -> NDArray[np.float64]:
    scores = np.atleast_1d(np.array(json.loads(written), dtype=np.float32)).astype(np.float64)
    if objective == "binary:logistic":
        scores = -np.log(1.0 / scores - 1.0)
    elif _XGBOOST_LINKS[objective] == "exp":
        scores = np.log(scores)
    return np.broadcast_to(scores, (width,)).reshape(1, width)


def _xgboost_tree(tree: dict[str, Any]) -> Tree:
    left = np.array(tree["left_children"], dtype=np.int64)
    conditions = np.array(tree["split_conditions"], dtype=np.float32).astype(np.float64)
    if int(tree["tree_param"].get("size_leaf_vector", "1")) > 1:
        raise CannotCompile("XGBoost with trees of several values cannot be compiled")
    members: dict[int, list[float]] = {}
    spans = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    for node, begin, size in spans:
        members[int(node)] = [float(one) for one in tree["categories"][begin : begin + size]]
    # a category of the set goes right, so that the true branch of a set is the right one
    right = np.array(tree["right_children"], dtype=np.int64)
    is_set = np.isin(np.arange(len(left)), list(members))
    to_left = np.array(tree["default_left"], dtype=bool)
    return Tree(
        feature=np.array(tree["split_indices"], dtype=np.int64),
        split=conditions,
        true=np.where(is_set, right, left),
        false=np.where(is_set, left, right),
        missing_true=np.where(is_set, ~to_left, to_left),
        value=conditions,
        mode=LT,
        members=members,
    )


@compiles("boucle", "LightGBMBooster")
@compiles("lightgbm", "LGBMClassifier", "LGBMRegressor", "LGBMRanker")
def lightgbm(writing: Writing, model: Any, block: Block) -> Model:
    """Trees over float64."""
    written = model.booster_.dump_model()
    objective, _, settings = written["objective"].partition(" ")
    link = _LIGHTGBM_LINKS.get(objective)
    if link is None or (settings and "sqrt" in settings.split()):
        raise CannotCompile(f"LightGBM with objective={written['objective']!r} cannot be compiled")
    categorical = {name: list(some) for name, some in _native(block, written)}
    text = model.booster_.model_to_string(num_iteration=model.booster_.best_iteration)
    exact = [_numbers(block) for block in text.partition("\nTree=0\n")[2].split("\nTree=")]
    trees = [
        _lightgbm_tree(tree["tree_structure"], *numbers, categorical)
        for tree, numbers in zip(written["tree_info"], exact, strict=True)
    ]
    for tree in trees:
        writing.split(block, tree.feature, tree.split)
    width = int(written["num_tree_per_iteration"])
    graph = writing.graph
    targets = [number % width for number in range(len(trees))]
    name = ensemble(graph, codes_or_nan(writing, block), trees, targets, width)
    if written.get("average_output"):
        name = graph.node("Div", name, graph.constant(len(trees) / width))
    slope = next((float(one.partition(":")[2]) for one in settings.split() if one.startswith("sigmoid:")), 1.0)
    if slope != 1.0:
        name = graph.node("Mul", name, graph.constant(slope))
    return _linked(writing, name, width, link, model, single=False)


def _native(block: Block, written: dict[str, Any]) -> Iterator[tuple[int, list[str]]]:
    """The columns that pandas gives as codes, by position; LightGBM keeps their categories."""
    texts = [position for position, column in enumerate(block.columns) if column.vocabulary is not None]
    for position, known in zip(texts, written.get("pandas_categorical") or [], strict=True):
        vocabulary = block.columns[position].vocabulary
        assert vocabulary is not None
        if [vocabulary.code(one) for one in known] != list(range(len(known))):
            raise CannotCompile(f"the sample has other categories in {block.columns[position].source!r} than the model")
        yield position, list(known)


def _numbers(tree: str) -> tuple[list[float], list[float]]:
    """Thresholds and leaves of a tree, from LightGBM's text: what it writes as JSON is rounded."""
    lines = dict(line.split("=", 1) for line in tree.splitlines() if "=" in line)
    return tuple([float(one) for one in lines.get(name, "").split()] for name in ("threshold", "leaf_value"))  # type: ignore[return-value]


def _lightgbm_tree(
    root: dict[str, Any], thresholds: list[float], leaves: list[float], categorical: dict[int, list[str]]
) -> Tree:
    nodes: list[dict[str, Any]] = []

    def number(node: dict[str, Any]) -> int:
        place = len(nodes)
        nodes.append(node)
        if "split_feature" in node:
            node["to"] = number(node["left_child"]), number(node["right_child"])
        return place

    number(root)
    members: dict[int, list[float]] = {}
    missing = np.zeros(len(nodes), dtype=bool)
    splits, values = np.zeros(len(nodes)), np.zeros(len(nodes))
    for place, node in enumerate(nodes):
        if "split_feature" not in node:
            values[place] = leaves[node.get("leaf_index", 0)]
            continue
        if node["decision_type"] == "==":
            if node["split_feature"] not in categorical:
                raise CannotCompile("LightGBM with numbers as categories cannot be compiled", hint=_AS_CATEGORY)
            members[place] = [float(one) for one in str(node["threshold"]).split("||")]
            continue
        splits[place] = _beside_zero(thresholds[node["split_index"]])
        if node["missing_type"] == "Zero":
            raise CannotCompile("LightGBM with zero_as_missing cannot be compiled")
        # where training saw no missing value, one is taken for 0
        missing[place] = node["default_left"] if node["missing_type"] == "NaN" else splits[place] >= 0
    return Tree(
        feature=np.array([node.get("split_feature", 0) for node in nodes], dtype=np.int64),
        split=splits,
        true=np.array([node["to"][0] if "to" in node else -1 for node in nodes], dtype=np.int64),
        false=np.array([node["to"][1] if "to" in node else -1 for node in nodes], dtype=np.int64),
        missing_true=missing,
        value=values,
        members=members,
    )


_ZERO = float(np.float32(1e-35))


def _beside_zero(split: float) -> float:
    """LightGBM takes numbers up to 1e-35 for 0 before it compares them, and often splits there."""
    if abs(split) > _ZERO:
        return split
    return _ZERO if split >= 0 else float(np.nextafter(-_ZERO, -np.inf))


_AS_CATEGORY = "make the column text, of pandas's type `category`"


def codes_or_nan(writing: Writing, block: Block) -> str:
    """A block in which a text that the model does not know is missing."""
    texts = np.array([column.vocabulary is not None for column in block.columns])
    if not texts.any():
        return block.name
    graph = writing.graph
    strange = graph.node("Less", block.name, graph.constant(np.where(texts, -0.5, -np.inf)[None]))
    return graph.node("Where", strange, graph.constant(np.nan), block.name)


def _linked(writing: Writing, name: str, width: int, link: str, model: Any, *, single: bool) -> Model:
    classes = list(model.classes_) if link == "classes" else []
    if link == "exp":
        name = writing.graph.node("Exp", name)
    return replace(boosted(name, width, classes), single=single)
