"""scikit-learn's transformers, pipelines and column transformers."""

from typing import Any

import numpy as np

from boucle.kernel.errors import CannotCompile
from boucle.packaging.compilers.blocks import (
    Block,
    Codes,
    Column,
    Writing,
    block_of,
    compiled,
    compiles,
    numbers,
)
from boucle.packaging.compilers.graph import BOOL, DOUBLE
from boucle.packaging.compilers.sentinels import is_gap


@compiles("sklearn", "Pipeline")
def pipeline(writing: Writing, part: Any, block: Block) -> Any:
    """One step after the other."""
    found: Any = block
    for _, step in part.steps:
        if step is not None and step != "passthrough":
            found = compiled(writing, step, found)
    return found


@compiles("sklearn", "ColumnTransformer")
def column_transformer(writing: Writing, part: Any, block: Block) -> Block:
    """Columns parted, each group by its own transformer, and put side by side again."""
    made = []
    for name, transformer, _ in part.transformers_:
        positions = [int(one) for one in part._transformer_to_input_indices.get(name, [])]
        if transformer == "drop" or not positions:
            continue
        chosen = select(writing, block, positions)
        made.append(chosen if transformer == "passthrough" else compiled(writing, transformer, chosen))
    return _side_by_side(writing, made)


@compiles("sklearn", "FeatureUnion")
def feature_union(writing: Writing, part: Any, block: Block) -> Block:
    """Several transformers of the same columns."""
    if part.transformer_weights:
        raise CannotCompile("FeatureUnion with transformer_weights cannot be compiled")
    made = [
        block if transformer == "passthrough" else compiled(writing, transformer, block)
        for _, transformer in part.transformer_list
        if transformer not in ("drop", None)
    ]
    return _side_by_side(writing, made)


def select(writing: Writing, block: Block, positions: list[int]) -> Block:
    """Some columns of a block."""
    if positions == list(range(len(block.columns))):
        return block
    return Block(writing.graph.columns(block.name, positions), [block.columns[one] for one in positions])


def _side_by_side(writing: Writing, made: list[Block]) -> Block:
    return Block(writing.graph.joined([one.name for one in made]), [column for one in made for column in one.columns])


@compiles("sklearn", "FunctionTransformer")
def function(writing: Writing, part: Any, block: Block) -> Block:
    """Nothing, or one of numpy's functions by name."""
    if part.func is None or getattr(getattr(part.func, "func", None), "__name__", "") == "check_array":
        return block  # the latter is histogram gradient boosting's own
    operator = {"log": "Log", "exp": "Exp", "sqrt": "Sqrt", "absolute": "Abs"}.get(getattr(part.func, "__name__", ""))
    if part.func is np.log1p:
        one = writing.graph.node("Add", numbers(block, part), writing.graph.constant(1.0))
        return block_of(writing.graph.node("Log", one), len(block.columns))
    if not isinstance(part.func, np.ufunc) or operator is None or part.kw_args:
        raise CannotCompile(f"FunctionTransformer of {getattr(part.func, '__name__', part.func)!r} cannot be compiled")
    return block_of(writing.graph.node(operator, numbers(block, part)), len(block.columns))


@compiles("sklearn", "StandardScaler", "RobustScaler", "MinMaxScaler", "MaxAbsScaler")
def scaler(writing: Writing, part: Any, block: Block) -> Block:
    """Shifted and scaled, in scikit-learn's order of operations."""
    graph, name = writing.graph, numbers(block, part)
    kind = type(part).__name__
    if kind == "MinMaxScaler":
        name = graph.node("Mul", name, graph.constant(part.scale_))
        name = graph.node("Add", name, graph.constant(part.min_))
        if part.clip:
            low, high = (graph.constant(float(edge)) for edge in part.feature_range)
            name = graph.node("Min", graph.node("Max", name, low), high)
        return block_of(name, len(block.columns))
    centre = part.mean_ if kind == "StandardScaler" and part.with_mean else getattr(part, "center_", None)
    if centre is not None:
        name = graph.node("Sub", name, graph.constant(np.asarray(centre, np.float64)))
    if part.scale_ is not None:
        name = graph.node("Div", name, graph.constant(np.asarray(part.scale_, np.float64)))
    return block_of(name, len(block.columns))


@compiles("sklearn", "SimpleImputer")
def imputer(writing: Writing, part: Any, block: Block) -> Block:
    """Missing values filled; columns without any value in training are dropped."""
    graph = writing.graph
    fills = [_number_or_code(value, column) for value, column in zip(part.statistics_, block.columns, strict=True)]
    kept = [
        position
        for position, value in enumerate(part.statistics_)
        if part.keep_empty_features or not (isinstance(value, float) and np.isnan(value))
    ]
    chosen = select(writing, block, kept)
    filled = graph.node(
        "Where", _gaps(writing, part, chosen), graph.constant(np.array([fills[one] for one in kept])), chosen.name
    )
    made = Block(filled, chosen.columns)
    if part.indicator_ is None:
        return made
    return _side_by_side(writing, [made, compiled(writing, part.indicator_, block)])


@compiles("sklearn", "MissingIndicator")
def indicator(writing: Writing, part: Any, block: Block) -> Block:
    """1 where a value is missing."""
    chosen = select(writing, block, [int(one) for one in part.features_])
    return block_of(writing.graph.cast(_gaps(writing, part, chosen), DOUBLE), len(chosen.columns))


def _gaps(writing: Writing, part: Any, block: Block) -> str:
    """(n_rows, n_columns): whether a value is the one that a step takes for missing."""
    graph, value = writing.graph, part.missing_values
    if is_gap(value):
        return graph.node("IsNaN", block.name)
    texts = [column.vocabulary is not None for column in block.columns]
    if isinstance(value, str) != all(texts) or isinstance(value, str) != any(texts):
        raise CannotCompile(f"{type(part).__name__} of missing_values={value!r} is fed columns of the other kind")
    same = [_number_or_code(value, column) for column in block.columns]
    return graph.node("Equal", block.name, graph.constant(np.array(same)[None]))


@compiles("sklearn", "OneHotEncoder")
def one_hot(writing: Writing, part: Any, block: Block) -> Block:
    """A column for each category; rare ones together, one left out where the encoder does so."""
    graph, made = writing.graph, []
    unknown_is_rare = part.handle_unknown in ("infrequent_if_exist", "warn")
    for position, column in enumerate(block.columns):
        one = select(writing, block, [position])
        mapping = part._default_to_infrequent_mappings[position] if part._infrequent_enabled else None
        hot = _equal(writing, one, part.categories_[position])
        groups = len(part.categories_[position])
        if mapping is not None:
            table = np.zeros((groups, int(mapping.max()) + 1))
            table[np.arange(groups), mapping] = 1.0
            if unknown_is_rare:
                unknown = graph.node("Sub", graph.constant(1.0), graph.summed(hot))
                hot = graph.joined([hot, unknown])
                table = np.vstack([table, table[part._infrequent_indices[position][0]]])
            hot, groups = graph.node("MatMul", hot, graph.constant(table)), table.shape[1]
        dropped = None if part.drop_idx_ is None else part._drop_idx_after_grouping[position]
        kept = [code for code in range(groups) if code != dropped]
        made.append(select(writing, block_of(hot, groups), kept) if kept else None)
        del column
    return _side_by_side(writing, [one for one in made if one is not None])


@compiles("sklearn", "OrdinalEncoder")
def ordinal(writing: Writing, part: Any, block: Block) -> Block:
    """Each category as its number."""
    if getattr(part, "_infrequent_enabled", False):
        raise CannotCompile("OrdinalEncoder with infrequent categories cannot be compiled")
    graph, made = writing.graph, []
    unknown = float(part.unknown_value) if part.handle_unknown == "use_encoded_value" else np.nan
    pairs = list(zip(block.columns, part.categories_, strict=True))
    to_nan = part.encoded_missing_value != part.encoded_missing_value and unknown != unknown
    if to_nan and all(_is_code(*pair) for pair in pairs):
        return block_of(block.name, len(block.columns))
    if all(_in_order(*pair) for pair in pairs):
        last = graph.constant(np.array([len(some) - 0.5 for some in part.categories_])[None])
        known = graph.node(
            "And", graph.node("Greater", block.name, graph.constant(-0.5)), graph.node("Less", block.name, last)
        )
        return block_of(graph.node("Where", known, block.name, graph.constant(unknown)), len(block.columns))
    for position in range(len(block.columns)):
        one = select(writing, block, [position])
        categories = part.categories_[position]
        codes = np.arange(len(categories), dtype=np.float64)
        gaps = np.array([_is_missing(value) for value in categories])
        hot = _equal(writing, one, categories)
        places = np.where(gaps, 0.0, codes).reshape(-1, 1)
        name = graph.node("MatMul", hot, graph.constant(places))
        known = graph.cast(graph.summed(hot), BOOL)
        name = graph.node("Where", known, name, graph.constant(unknown))
        if gaps.any():
            name = graph.node("Where", graph.node("IsNaN", one.name), graph.constant(part.encoded_missing_value), name)
        made.append(Block(name, [Column()]))
    return _side_by_side(writing, made)


@compiles("sklearn", "TargetEncoder")
def target_encoder(writing: Writing, part: Any, block: Block) -> Block:
    """Each category as its mean of the target."""
    if part.target_type_ == "multiclass":
        raise CannotCompile("TargetEncoder of several classes cannot be compiled")
    graph, made = writing.graph, []
    for position in range(len(block.columns)):
        hot = _equal(writing, select(writing, block, [position]), part.categories_[position])
        values = graph.node("MatMul", hot, graph.constant(np.asarray(part.encodings_[position]).reshape(-1, 1)))
        known = graph.cast(graph.summed(hot), BOOL)
        made.append(block_of(graph.node("Where", known, values, graph.constant(float(part.target_mean_))), 1))
    return _side_by_side(writing, made)


@compiles("sklearn", "PolynomialFeatures")
def polynomial(writing: Writing, part: Any, block: Block) -> Block:
    """Products of columns."""
    graph, name = writing.graph, numbers(block, part)
    made = []
    for powers in part.powers_.tolist():
        factors = [position for position, power in enumerate(powers) for _ in range(power)]
        if not factors:
            first = graph.columns(name, [0])
            made.append(graph.node("Add", graph.node("Mul", first, graph.constant(0.0)), graph.constant(1.0)))
            continue
        product = graph.columns(name, [factors[0]])
        for position in factors[1:]:
            product = graph.node("Mul", product, graph.columns(name, [position]))
        made.append(product)
    return block_of(graph.joined(made), len(made))


@compiles("sklearn", "PCA", "TruncatedSVD")
def projection(writing: Writing, part: Any, block: Block) -> Block:
    """Rows on the components."""
    graph, name = writing.graph, numbers(block, part)
    mean = getattr(part, "mean_", None)
    if mean is not None:
        name = graph.node("Sub", name, graph.constant(mean))
    name = graph.node("MatMul", name, graph.constant(part.components_.T))
    if getattr(part, "whiten", False):
        name = graph.node("Div", name, graph.constant(np.sqrt(part.explained_variance_)))
    return block_of(name, len(part.components_))


@compiles("sklearn", "Normalizer")
def normalizer(writing: Writing, part: Any, block: Block) -> Block:
    """Rows of length 1."""
    graph, name = writing.graph, numbers(block, part)
    operator = {"l1": "ReduceL1", "l2": "ReduceL2"}.get(part.norm)
    if operator is None:
        raise CannotCompile(f"Normalizer of norm={part.norm!r} cannot be compiled")
    length = graph.node(operator, name, graph.constant([1], np.int64), keepdims=1)
    some = graph.node("Where", graph.node("Equal", length, graph.constant(0.0)), graph.constant(1.0), length)
    return block_of(graph.node("Div", name, some), len(block.columns))


@compiles("sklearn", "Binarizer")
def binarizer(writing: Writing, part: Any, block: Block) -> Block:
    """1 above a threshold."""
    more = writing.graph.node("Greater", numbers(block, part), writing.graph.constant(float(part.threshold)))
    return block_of(writing.graph.cast(more, DOUBLE), len(block.columns))


@compiles("sklearn", "VarianceThreshold", "SelectKBest", "SelectPercentile", "SelectFromModel", "RFE", "RFECV")
def selection(writing: Writing, part: Any, block: Block) -> Block:
    """Some of the columns."""
    return select(writing, block, [int(one) for one in np.flatnonzero(part.get_support())])


def _is_code(column: Column, categories: Any) -> bool:
    """Whether a column holds the numbers of these categories already, and nothing else but NaN."""
    if not isinstance(column.vocabulary, Codes):
        return False
    return [float(value) for value in categories if not _is_missing(value)] == list(range(column.vocabulary.count))


def _in_order(column: Column, categories: Any) -> bool:
    """Whether a column's codes are already the numbers of these categories."""
    if column.vocabulary is None or any(_is_missing(value) for value in categories):
        return False
    return [column.vocabulary.code(value) for value in categories] == list(range(len(categories)))


def _equal(writing: Writing, one: Block, categories: Any) -> str:
    """(n_rows, n_categories): 1 where the column is that category."""
    graph, column = writing.graph, one.columns[0]
    gaps = np.array([_is_missing(value) for value in categories])
    values = [0.0 if gap else _number_or_code(value, column) for value, gap in zip(categories, gaps, strict=True)]
    same = graph.node("Equal", one.name, graph.constant(np.array(values).reshape(1, -1)))
    if gaps.any():
        missing = graph.node("And", graph.node("IsNaN", one.name), graph.constant(gaps.reshape(1, -1), np.bool_))
        present = graph.node("And", same, graph.constant(~gaps.reshape(1, -1), np.bool_))
        same = graph.node("Or", present, missing)
    return graph.cast(same, DOUBLE)


def _number_or_code(value: Any, column: Column) -> float:
    if column.vocabulary is not None:
        return column.vocabulary.code(value)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise CannotCompile(f"{value!r} is expected in a column of numbers") from error


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))
