"""How long a prediction takes in process: scikit-learn, skl2onnx's graph in ONNX Runtime, and Boucle's stages.

    .venv/bin/python benchmarks/compiling/latency.py

Boucle is asked with raw columns (lists of Python values for one row, arrays for a thousand) and checks them; ONNX
Runtime is asked with a float32 matrix that is ready.
"""

import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from boucle.packaging.api import columns_of
from boucle.packaging.bundle import Pipeline
from boucle.packaging.compile import compile_model
from boucle.packaging.compilers.original import sample_of

HERE = Path(__file__).resolve().parent


def best(ask: Callable[[], Any], times: int) -> float:
    """Microseconds of the fastest of five rounds."""
    ask()
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(times):
            ask()
        rounds.append((time.perf_counter() - start) / times)
    return min(rounds) * 1e6


def models() -> dict[str, tuple[Any, Any]]:
    """What is measured: fitted models and their rows."""
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(3000, 20))
    late = (rows[:, 0] + rows[:, 1] ** 2 + draw.normal(size=3000) > 1).astype(int)
    table = pd.DataFrame(rows[:, :10], columns=[f"n{place}" for place in range(10)])
    table["city"] = draw.choice(["Lima", "Oslo", "Rome", "Kyiv"], 3000)
    table["size"] = draw.choice(["S", "M", "L"], 3000)
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), list(table.columns[:10])),
            ("hot", OneHotEncoder(handle_unknown="ignore"), ["city", "size"]),
        ]
    )
    found: dict[str, tuple[Any, Any]] = {
        "forest, 200 trees x 20 columns": (
            RandomForestClassifier(200, max_depth=10, random_state=0).fit(rows, late),
            rows,
        ),
        "histogram boosting, 100 rounds": (HistGradientBoostingClassifier(random_state=0).fit(rows, late), rows),
        "logistic pipeline, 12 columns": (make_pipeline(columns, LogisticRegression()).fit(table, late), table),
        "logistic regression, 20 columns": (LogisticRegression().fit(rows, late), rows),
    }
    return found


def measured(model: Any, rows: Any) -> dict[str, list[float]]:
    """Microseconds for one row and for a thousand, by who answers."""
    made = compile_model(model, rows[:200])
    pipeline = Pipeline(made.signature, made.stages, made.files)
    table = sample_of(rows[:1000], None).table
    thousand = columns_of(table, made.signature)
    single = {name: table[name].head(1).to_list() for name in table.columns}
    matrix = pipeline.encoder.encode(thousand)
    graph = pipeline.chain
    one = np.ascontiguousarray(matrix[:1])
    found = {
        "scikit-learn": [
            best(lambda: model.predict_proba(rows[:1]), 5),
            best(lambda: model.predict_proba(rows[:1000]), 2),
        ],
        "Boucle, raw columns": [best(lambda: pipeline.scores(single), 300), best(lambda: pipeline.scores(thousand), 3)],
        "Boucle, matrix": [best(lambda: graph.scores(one), 300), best(lambda: graph.scores(matrix), 3)],
    }
    if isinstance(rows, np.ndarray):
        import onnxruntime
        from skl2onnx import to_onnx

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        data = to_onnx(model, rows[:1].astype(np.float32), options={"zipmap": False}).SerializeToString()
        run = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run
        few, many = rows[:1].astype(np.float32), rows[:1000].astype(np.float32)
        found["ONNX Runtime, skl2onnx"] = [
            best(lambda: run(None, {"X": few}), 300),
            best(lambda: run(None, {"X": many}), 3),
        ]
    return found


def main() -> None:
    """Measure, print and keep."""
    warnings.simplefilter("ignore")
    found = {name: measured(*one) for name, one in models().items()}
    (HERE / "latency.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))  # noqa: T201 # this is its output


if __name__ == "__main__":
    main()
