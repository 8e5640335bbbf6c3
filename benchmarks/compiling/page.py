"""Writes `docs/compile.md` from the kept outcomes and timings."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "compile.md"
COMPILERS = ("boucle", "skl2onnx", "treelite")
HEAD = """\
# Compiling

A bundle holds a model as data: `boucle.packaging.api.compile_model(model, sample)` writes a fitted model as a list of
stages and proves them equal to it before anything is kept. The first stage encodes the raw columns as the signature
lists them, the second is an ONNX graph in float64, the last one names the outputs. What cannot be compiled is refused
with the name of the part (`boucle explain cannot_compile`), what is compiled wrongly with how far it is off.

## What the proof asks

The fitted model and the stages answer the same raw rows: all rows of the sample; a missing value and an unseen
category in each column, and the value that a part of the model takes for missing (`missing=-999` of XGBoost,
`missing_values=-1` of an imputer); every category; both sides of the splits of its trees, in float64 and in float32 (of
at most 20,000 rows, spread evenly); the ends of float64 and of float32, and the whole numbers that each can hold; rows
one by one; no rows. The largest difference and the flipped labels are kept in the bundle. A probability may differ by
1e-9, a value by that share of the largest; by 1e-5 where the model itself computes in float32 (XGBoost, arrays of
float32). A label may flip only where the model is that close to its own border.

What the fitted model refuses, the bundle refuses: the signature says for each column whether a value may be missing,
whether other categories are answered, and how large a number may be (`limit`). Where two equal models answer apart far
out, because each rounds in its own way, the limit is drawn in until they do not. An exponential link has no finite
answer to a number of a few hundred or thousand, a logarithm none below zero: then the signature has a `lowest` or a
`highest`, found by asking the model on either side, to three digits, and never inside the sample. Each column is asked
by itself, beside rows of the sample; several numbers near their limits at once may still add up to infinity. A row of
the sample that the model answers with no finite number is refused by name, and so is a proof in which no row is left.

## Which estimators, on which data, by which compiler

Each cell is what the proof says, with a tolerance of 1e-5 for all: the largest difference, or, in **bold**, what is
wrong. "-" was not tried: the estimator does not take such data, or the compiler does not know the kind.

"""
KINDS = {
    "numbers": "plain numbers",
    "missing": "a tenth of the values missing; behind `SimpleImputer` where the estimator takes none",
    "native": "two columns of pandas's `category` type, taken by the estimator itself",
    "one-hot": "the same two columns as text, behind `OneHotEncoder(handle_unknown='ignore')`",
    "borders": "whole numbers from 16,777,216 on, which float32 cannot all hold",
}
NOTES = """
skl2onnx 1.20 is asked as its documentation shows, with float32; treelite 4.8 through its importers, in the model's own
type. Where they are off, it is mostly on the rows at the splits: a threshold rounded to float32 sends a value to the
other side, and so does a row that is not rounded although the framework rounds it. Neither raises an error.
`make compile-matrix` makes this table anew.

A transformer's row is a LogisticRegression behind it. Models that `xgboost.train` and `lightgbm.train` return, or that
either reads from a file, compile as their estimators do; their classes are the numbers 0, 1, ... that they were trained
on, and of XGBoost's all trees answer; it forgets the `missing=` of its DMatrix, so send null. A classifier that answers
labels only (votes that are counted) has the output `score`: 1 at its label, 0 elsewhere. Not compiled are
PowerTransformer by Box and Cox, splines that repeat or are refused beyond their knots, and KBinsDiscretizer with
`dtype=float32`. Nor is `SVC(probability=True)`: libsvm stops its search for a probability up to half a percent from it,
so that equal arithmetic is not enough. Fit it without, to serve its scores, or within `CalibratedClassifierCV`.
SGDClassifier with `loss="modified_huber"` compiles for two classes.

KNeighbors is refused where several rows of training are equally near to a row, as among whole numbers: which of them
counts is then decided by the order in scikit-learn's tree, or from 16,777,216 on ("borders"), where it takes squares
from each other, by rounding. With small whole numbers `algorithm="brute"` helps, else `keep_code=True`.

## The rule

One rule, with nothing to choose: every model becomes one ONNX graph that Boucle writes itself, from the fitted numbers
and in float64. Trees are `TreeEnsemble` of ONNX's machine-learning operators 5, which has float64 thresholds, sets of
categories and a way for missing values. The same fitted model gives the same bytes. treelite is read, for bundles of
format 1, and no longer written: it is equal on Boucle's own trees, but a row takes four to six times as long.

## How long a prediction takes

Microseconds in process on one thread, one row and a thousand, the better of two rounds; the machine was busy with
other work. "Raw columns" is what a server asks: Python lists of one value, checked and encoded.

"""


NETWORKS = """
## Neural networks

A module of PyTorch, a model of Keras (which TensorFlow or PyTorch computes) and a SavedModel of TensorFlow are exported
by the exporters of their frameworks: `torch.onnx` with onnxscript, else by tracing; tf2onnx. The graph keeps the
network's own type, float32 or float64, and begins and ends with float64 as all others do.

The proof asks the network and the graph: all rows of the sample; rows of noise as large as the sample's; of one number;
of the largest that were seen; each column (of tensors, 256 of a row's numbers) at the ends and borders of float64 and
float32; missing values, where both answer them; one row, two rows and a thousand at once, and none. A probability may
differ by 1e-5, a value by that share of the largest. A network that answers a row otherwise among others, or by chance,
is refused. How far from zero a number may be is where the two still agree: an exporter changes the order of sums, which
shows when they are large.

Networks with the weights of a seed, three classes of logits, one thread; microseconds of one row, as the framework is
asked and as the bundle is. "NaN" says whether a missing value is answered; all others refuse it.

"""


def networks() -> str:
    """The table of neural networks."""
    found = json.loads((HERE / "networks.json").read_text(encoding="utf-8"))
    lines = [
        "| network | framework | exporter | difference | rows | numbers up to | NaN | framework | bundle |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, by in found.items():
        for framework, outcomes in by.items():
            for exporter, one in outcomes.items():
                rest = [" - "] * 5
                if "largest" in one:
                    rest = [f"{one['rows']:,}", f"{one['limit']:.1g}", "yes" if one["missing"] else "no"]
                    rest += [f"{one['framework_us']:,.0f}", f"{one['bundle_us']:,.0f}"]
                lines.append(f"| {name} | {framework} | {exporter} | {cell(one)} | {' | '.join(rest)} |")
    return NETWORKS + "\n".join(lines) + "\n"


def write(page: Path = PAGE) -> None:
    """Write the page."""
    cells = json.loads((HERE / "matrix.json").read_text(encoding="utf-8"))
    timings = json.loads((HERE / "latency.json").read_text(encoding="utf-8"))
    kinds = [f"- **{name}**: {text}\n" for name, text in KINDS.items()]
    lines = [f"| estimator | compiler | {' | '.join(KINDS)} |", f"|---|---|{'---|' * len(KINDS)}"]
    for name, found in cells.items():
        tried = [compiler for compiler in COMPILERS if any(compiler in outcomes for outcomes in found.values())]
        for compiler in tried:
            shown = " | ".join(cell(found.get(kind, {}).get(compiler)) for kind in KINDS)
            lines.append(f"| {name} | {compiler} | {shown} |")
    times = ["| model | who | one row | 1,000 rows |", "|---|---|---|---|"]
    times += [
        f"| {model} | {who} | {one:,.1f} | {many:,.0f} |"
        for model, found in timings.items()
        for who, (one, many) in found.items()
    ]
    text = HEAD + "".join(kinds) + "\n" + "\n".join(lines) + "\n" + NOTES + "\n".join(times) + "\n" + networks()
    page.write_text(text, encoding="utf-8")


def cell(outcome: dict[str, Any] | None) -> str:
    """One outcome as the table shows it.

    >>> cell({"largest": 1e-15, "flips": 0}), cell({"off": 0.25, "flips": 12}), cell({"cannot": "TypeError"})
    ('1e-15', '**off by 0.25, 12 flips**', '**TypeError**')
    """
    if outcome is None:
        return "-"
    if "cannot" in outcome:
        return f"**{outcome['cannot']}**"
    if "off" in outcome:
        return f"**off by {outcome['off']:.2g}, {outcome['flips']:,} flips**"
    return f"{outcome['largest']:.0e}" + (f", {outcome['flips']:,} flips" if outcome["flips"] else "")


if __name__ == "__main__":
    write()
