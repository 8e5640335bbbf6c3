"""Which windows NannyML's defaults alarm on: run by detection.py, in an environment of its own."""

import json
import sys
import warnings

import nannyml
import pandas as pd

warnings.filterwarnings("ignore")
folder, asked = sys.argv[1], json.loads(sys.argv[2])
found: dict[str, list[list[bool]]] = {"columns": [], "reconstruction": []}
for number, stream in enumerate(asked["streams"]):
    reference, rows = (pd.read_parquet(f"{folder}/{number}.{part}.parquet") for part in ("reference", "rows"))
    names = list(reference.columns)
    columns = nannyml.UnivariateDriftCalculator(
        column_names=names, treat_as_categorical=stream["texts"], chunk_size=asked["rows"]
    )
    result = columns.fit(reference).calculate(rows).filter(period="analysis").to_df()
    alerts = result.loc[:, [name for name in result.columns if name[-1] == "alert"]]
    found["columns"].append(alerts.any(axis=1).tolist())
    together = nannyml.DataReconstructionDriftCalculator(column_names=names, chunk_size=asked["rows"])
    result = together.fit(reference).calculate(rows).filter(period="analysis").to_df()
    found["reconstruction"].append(result[("reconstruction_error", "alert")].astype(bool).tolist())
sys.stdout.write(f"{json.dumps(found)}\n")
