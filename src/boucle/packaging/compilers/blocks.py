"""What flows between the parts of a model while it is compiled, and the list of what can be.

A block is a matrix in the graph of which each column is known: numbers, or the codes of a text. An estimator's compiler
takes a block and answers a block (transformers) or a `Model` (what predicts).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from boucle.kernel.errors import CannotCompile
from boucle.packaging.code import class_name
from boucle.packaging.compilers.graph import Graph

UNSEEN = -1.0
"""The code of a text that no part of the model names."""


class Vocabulary:
    """The texts of one column, each with a code; it grows while the model's parts name their texts."""

    def __init__(self, texts: Iterable[object] = ()) -> None:
        self.texts: list[str] = list(map(class_name, texts))  # categories may be whole numbers
        self._codes = {text: float(code) for code, text in enumerate(self.texts)}

    def code(self, value: object) -> float:
        """The code of a text, NaN for a missing one."""
        if value is None or value != value:
            return float("nan")
        text = class_name(value)
        if text not in self._codes:
            self._codes[text] = float(len(self.texts))
            self.texts.append(text)
        return self._codes[text]


class Codes(Vocabulary):
    """The codes 0, 1, ... of an encoder before the model: nothing else but NaN reaches it."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def code(self, value: object) -> float:
        """The number itself."""
        return float(value)  # type: ignore[arg-type] # codes are numbers


class Column(Struct, frozen=True):
    """One column of a block."""

    vocabulary: Vocabulary | None = None
    """Set where the column holds codes of texts."""
    source: str | None = None
    """The raw column, where the values are still its own."""


class Block(Struct, frozen=True):
    """A matrix of the graph, (n_rows, len(columns))."""

    name: str
    columns: list[Column]


class Model(Struct, frozen=True, kw_only=True):
    """What predicts: the values that the last stage makes outputs of."""

    name: str
    width: int
    task: Literal["binary", "multiclass", "regression"]
    link: Literal["identity", "sigmoid", "softmax"] = "identity"
    classes: list[Any] = field(default_factory=list)
    probabilities: bool = True
    """Whether scores are probabilities; else they are a margin, cut at `threshold`."""
    threshold: float = 0.5
    labels: bool = False
    """Whether the original answers labels only: then scores are 1 at the label and 0 elsewhere."""
    votes: bool = False
    """Whether scores count votes of pairs of classes, as libsvm's labels do."""
    single: bool = False
    """Whether the original computes in float32, so that it is not to be met more closely."""


class Writing(Struct, frozen=True):
    """One compilation: the graph, and what is learned of the raw columns on the way."""

    graph: Graph
    thresholds: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)
    """Where trees split a raw column."""
    rows: list[int] = field(default_factory=list)
    """At most so many rows at once, as some parts need memory for each pair of rows."""

    def split(self, block: Block, feature: NDArray[np.int64], splits: NDArray[np.float64]) -> None:
        """Note the splits of trees that look at a block."""
        for position, column in enumerate(block.columns):
            if column.source is not None and column.vocabulary is None:
                self.thresholds.setdefault(column.source, []).append(splits[feature == position])


Compile = Callable[[Writing, Any, Block], Any]
_known: dict[tuple[str, str], Compile] = {}


def compiles(package: str, *names: str) -> Callable[[Compile], Compile]:
    """Register a compiler for classes of a package. A subclass is none of them: it may predict otherwise."""

    def register(compiler: Compile) -> Compile:
        for name in names:
            _known[package, name] = compiler
        return compiler

    return register


def compiled(writing: Writing, part: Any, block: Block) -> Any:
    """What a part of a model makes of a block; CannotCompile names the part."""
    kind = type(part)
    compiler = _known.get((kind.__module__.partition(".")[0], kind.__name__))
    if compiler is None:
        raise CannotCompile(
            f"{kind.__module__.partition('.')[0]}'s {kind.__name__} cannot be compiled",
            hint="see which estimators can in docs/compile.md; this one can be served as it is: keep_code=True",
        )
    return compiler(writing, part, block)


def numbers(block: Block, part: Any) -> str:
    """The name of a block that must hold numbers only."""
    if any(column.vocabulary for column in block.columns):
        raise CannotCompile(f"{type(part).__name__} is fed text", hint="encode text columns before it")
    return block.name


def block_of(name: str, width: int) -> Block:
    """A block of computed numbers."""
    return Block(name, [Column()] * width)


def linked(graph: Graph, model: Model) -> str:
    """The scores of a model: margins become probabilities inside the graph, where it costs a microsecond."""
    if model.link == "identity":
        return model.name
    return graph.node("Softmax", model.name, axis=1) if model.link == "softmax" else graph.node("Sigmoid", model.name)


def known_parts() -> Sequence[tuple[str, str]]:
    """Package and class of everything that can be compiled."""
    return sorted(_known)
