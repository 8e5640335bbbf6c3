"""scikit-learn's transformers of one column at a time by pieces: bins, quantiles, splines, powers.

Which piece a value lies in is looked up by a tree, whose depth is the logarithm of the number of pieces; what the piece
computes is read from a table by the number of its leaf.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from boucle.kernel.errors import CannotCompile
from boucle.packaging.compilers.blocks import Block, Writing, block_of, compiled, compiles, numbers
from boucle.packaging.compilers.forest import Tree, ensemble
from boucle.packaging.compilers.graph import INT64, Graph
from boucle.packaging.compilers.normal import percentile

Numbers = NDArray[np.float64]
_EDGE: Final = 1e-7
"""scikit-learn's `BOUNDS_THRESHOLD`: quantiles nearer to the ends are taken for them."""


@compiles("sklearn", "KBinsDiscretizer")
def bins(writing: Writing, part: Any, block: Block) -> Block:
    """The number of each value's bin, or a column for each bin."""
    if part.dtype is np.float32:  # what comes behind it would compute in float32
        raise CannotCompile("KBinsDiscretizer with dtype=float32 cannot be compiled", hint="leave out dtype")
    graph, name = writing.graph, numbers(block, part)
    cuts = [np.nextafter(edges[1:-1], -np.inf) for edges in part.bin_edges_]
    trees = [_tree(column, some, np.arange(len(some) + 1.0)) for column, some in enumerate(cuts)]
    _note(writing, block, cuts)
    found = block_of(ensemble(graph, name, trees, range(len(trees)), len(trees)), len(trees))
    return found if part.encode == "ordinal" else compiled(writing, part._encoder, found)


@compiles("sklearn", "QuantileTransformer")
def quantiles(writing: Writing, part: Any, block: Block) -> Block:
    """Each value as its share of those of training, or as the number of a normal distribution with that share."""
    graph, name, known = writing.graph, numbers(block, part), np.asarray(part.quantiles_, dtype=np.float64)
    if not np.isfinite(known).all():
        raise CannotCompile("QuantileTransformer of a column without any value cannot be compiled")
    pieces = [_shares(column, part.references_) for column in known.T]
    _note(writing, block, [cuts for cuts, _ in pieces])
    start, slope, base = _looked_up(graph, name, pieces)
    share = graph.node("Add", graph.node("Mul", slope, graph.node("Sub", name, start)), base)
    if part.output_distribution == "normal":
        above = graph.node("Greater", graph.node("Add", name, graph.constant(_EDGE)), graph.constant(known[-1:]))
        below = graph.node("Less", graph.node("Sub", name, graph.constant(_EDGE)), graph.constant(known[:1]))
        share = graph.node("Where", above, graph.constant(1.0), share)
        share = percentile(graph, graph.node("Where", below, graph.constant(0.0), share), _EDGE)
    gap = graph.node("IsNaN", name)
    return block_of(graph.node("Where", gap, graph.constant(np.nan), share), len(pieces))


@compiles("sklearn", "SplineTransformer")
def splines(writing: Writing, part: Any, block: Block) -> Block:
    """Each value as the values of polynomials that meet at knots."""
    way = part.extrapolation
    if way not in ("constant", "linear", "continue") or part.degree < (2 if way == "linear" else 1):
        raise CannotCompile(f"SplineTransformer with extrapolation={way!r} and degree={part.degree} cannot be compiled")
    graph, name, width = writing.graph, numbers(block, part), len(part.bsplines_)
    each = part.bsplines_[0].c.shape[1]
    pieces = [_polynomials(one, way) for one in part.bsplines_]
    _note(writing, block, [cuts for cuts, _ in pieces])
    values = _table(graph, name, pieces)
    beyond = graph.node("Unsqueeze", name, graph.constant([2], np.int64))
    beyond = graph.node("Sub", beyond, graph.node("Gather", values, graph.constant([0], np.int64), axis=2))
    found = None
    for power in range(part.degree, -1, -1):
        places = graph.constant([1 + power * each + place for place in range(each)], np.int64)
        term = graph.node("Gather", values, places, axis=2)
        found = term if found is None else graph.node("Add", graph.node("Mul", found, beyond), term)
    if getattr(part, "handle_missing", "error") == "zeros":
        gap = graph.node("IsNaN", graph.node("Unsqueeze", name, graph.constant([2], np.int64)))
        found = graph.node("Where", gap, graph.constant(0.0), str(found))
    flat = graph.node("Reshape", str(found), graph.constant([0, width * each], np.int64))
    kept = [place for place in range(width * each) if part.include_bias or (place + 1) % each]
    return block_of(flat if len(kept) == width * each else graph.columns(flat, kept), len(kept))


@compiles("sklearn", "PowerTransformer")
def powers(writing: Writing, part: Any, block: Block) -> Block:
    """Yeo and Johnson's powers, scaled where the transformer scales."""
    lambdas = np.asarray(part.lambdas_, dtype=np.float64)[None]
    if part.method != "yeo-johnson" or not np.isfinite(lambdas).all():
        raise CannotCompile(f"PowerTransformer with method={part.method!r} cannot be compiled for these columns")
    graph, name = writing.graph, numbers(block, part)
    size = graph.node("Log", graph.node("Add", graph.node("Abs", name), graph.constant(1.0)))
    below = graph.node("Neg", _power(graph, size, 2.0 - lambdas))
    negative = graph.node("Less", name, graph.constant(0.0))
    found = block_of(graph.node("Where", negative, below, _power(graph, size, lambdas)), lambdas.shape[1])
    return compiled(writing, part._scaler, found) if part.standardize else found


def _power(graph: Graph, size: str, exponents: Numbers) -> str:
    """`(exp(exponent * size) - 1) / exponent`, which is `size` where the exponent is 0."""
    zero = np.abs(exponents) < np.spacing(1.0)
    divisor = graph.constant(np.where(zero, 1.0, exponents))
    grown = graph.node("Sub", graph.node("Exp", graph.node("Mul", size, divisor)), graph.constant(1.0))
    grown = graph.node("Div", grown, divisor)
    return graph.node("Where", graph.constant(zero, np.bool_), size, grown) if zero.any() else grown


def _shares(known: Numbers, references: Numbers) -> tuple[Numbers, Numbers]:
    """Where the pieces of a column's quantiles end, and `start, slope, base` of each: the mean of both readings of
    quantiles that several have."""
    knots, first = np.unique(known, return_index=True)
    last = np.append(first[1:], len(known)) - 1
    low, high = references[first], references[last]
    cuts, rows = [], [(0.0, 0.0, 0.0)]
    for place, knot in enumerate(knots.tolist()):
        at_edge = place in (0, len(knots) - 1)
        cuts.append(np.nextafter(knot, -np.inf))
        if low[place] != high[place] or at_edge:
            share = (0.0 if place == 0 else 1.0) if at_edge else (low[place] + high[place]) / 2
            rows.append((0.0, 0.0, share))
            cuts.append(knot)
        if place + 1 < len(knots):
            slope = (low[place + 1] - high[place]) / (knots[place + 1] - knot)
            rows.append((knot, slope, float(high[place])))
    return np.array(cuts), np.array([*rows, (0.0, 0.0, 1.0)])


def _polynomials(spline: Any, way: str) -> tuple[Numbers, Numbers]:
    """Where the pieces of a column's splines end, and of each its start and its coefficients by power and spline."""
    from scipy.interpolate import PPoly

    degree, each = spline.k, spline.c.shape[1]
    each_of = [PPoly.from_spline((spline.t, spline.c[:, place], degree)) for place in range(each)]
    knots, written = each_of[0].x, np.stack([one.c[::-1] for one in each_of], axis=2)
    left, right = spline.t[degree], spline.t[-degree - 1]
    inner = [place for place in range(len(knots) - 1) if left <= knots[place] < knots[place + 1] <= right]
    rows = [np.concatenate([[knots[place]], written[:, place].ravel()]) for place in inner]
    cuts = [float(np.nextafter(knots[place], -np.inf)) for place in inner[1:]]
    if way == "continue":
        return np.array(cuts), np.array(rows)
    ends = []
    for edge, chosen in ((left, slice(0, degree)), (right, slice(each - degree, each))):
        row = np.zeros((degree + 1, each))
        row[0, chosen] = spline(edge)[chosen]
        if way == "linear":
            row[1, chosen] = spline(edge, nu=1)[chosen]
        ends.append(np.concatenate([[edge], row.ravel()]))
    return np.array([np.nextafter(left, -np.inf), *cuts, right]), np.array([ends[0], *rows, ends[1]])


def _looked_up(graph: Graph, name: str, pieces: Sequence[tuple[Numbers, Numbers]]) -> list[str]:
    """Matrices (n_rows, n_columns): of each value, the numbers of its piece."""
    values = _table(graph, name, pieces)
    width = pieces[0][1].shape[1]
    return [graph.node("Gather", values, graph.constant(place, np.int64), axis=2) for place in range(width)]


def _table(graph: Graph, name: str, pieces: Sequence[tuple[Numbers, Numbers]]) -> str:
    """The same as one tensor (n_rows, n_columns, n_numbers)."""
    trees, first = [], 0
    for column, (cuts, rows) in enumerate(pieces):
        trees.append(_tree(column, cuts, np.arange(first, first + len(rows), dtype=np.float64)))
        first += len(rows)
    leaves = graph.cast(ensemble(graph, name, trees, range(len(trees)), len(trees)), INT64)
    return graph.node("Gather", graph.constant(np.concatenate([rows for _, rows in pieces])), leaves, axis=0)


def _tree(column: int, cuts: Numbers, values: Numbers) -> Tree:
    """A balanced tree: the value `i` where `i` cuts are less than the number."""
    nodes: list[tuple[float, int, int, float]] = []

    def add(low: int, high: int) -> int:
        """The node of the pieces `low` to `high`."""
        place = len(nodes)
        nodes.append((0.0, -1, -1, float(values[low])))
        if low < high:
            middle = (low + high) // 2
            nodes[place] = float(cuts[middle]), add(low, middle), add(middle + 1, high), 0.0
        return place

    add(0, len(cuts))
    split, true, false, value = (np.array(some) for some in zip(*nodes, strict=True))
    return Tree(
        feature=np.full(len(nodes), column, dtype=np.int64),
        split=split,
        true=true,
        false=false,
        missing_true=np.zeros(len(nodes), dtype=np.bool_),
        value=value,
    )


def _note(writing: Writing, block: Block, cuts: Sequence[Numbers]) -> None:
    """Tell the proof where the pieces end."""
    features = np.concatenate([np.full(len(some), place) for place, some in enumerate(cuts)])
    writing.split(block, features, np.concatenate(cuts))
