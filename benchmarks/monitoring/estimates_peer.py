"""NannyML's estimates of the rows that estimates.py wrote; run by it, in an environment of its own."""

import json
import sys
import warnings

import nannyml
import pandas as pd

warnings.filterwarnings("ignore")
folder, asked = sys.argv[1], json.loads(sys.argv[2])
reference, analysis = (pd.read_parquet(f"{folder}/{part}.parquet") for part in ("reference", "analysis"))
metrics = asked["metrics"]
if asked["task"] == "regression":
    estimator = nannyml.DLE(
        feature_column_names=asked["names"], y_pred="score", y_true="truth", metrics=metrics, chunk_number=10
    )
elif asked["task"] == "binary":
    estimator = nannyml.CBPE(
        problem_type="classification_binary", y_pred_proba="score", y_pred="called", y_true="truth", metrics=metrics,
        chunk_number=10,
    )  # fmt: skip
else:
    estimator = nannyml.CBPE(
        problem_type="classification_multiclass", y_pred_proba={name: f"score_{name}" for name in asked["names"]},
        y_pred="called", y_true="truth", metrics=metrics, chunk_number=10,
    )  # fmt: skip
estimator.fit(reference)
found: dict[str, list[float]] = {metric: [] for metric in metrics}
for _, rows in analysis.groupby("chunk", sort=False):
    table = rows.drop(columns=["truth", "chunk"]).reset_index(drop=True)
    estimator.chunker = nannyml.chunk.SizeBasedChunker(len(table))
    result = estimator.estimate(table).filter(period="analysis").to_df()
    for metric in metrics:
        found[metric].append(float(result[metric]["value"].iloc[0]))
sys.stdout.write(f"{json.dumps(found)}\n")
