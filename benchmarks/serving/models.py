"""The two models that every server answers for, and what they are asked: `python models.py PEER FOLDER`

Each peer fits them in its own environment, from the same rows and seeds, and keeps them in its own way.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

COLUMNS = [f"x{number}" for number in range(20)]
TEXTS = COLUMNS[15:]
BATCH = 10_000
"""Rows of one request by Arrow IPC."""
CITIES = ["Paris", "Lyon", "Lille", "Nantes", "Nice", "Metz"]


def table(rows: int, *, texts: bool, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Twenty columns, five of them texts if asked for, and labels that depend on them."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, 20)).round(4)
    labels = (values[:, 0] + values[:, 1] * values[:, 2] + random.normal(size=rows) > 0).astype(int)
    frame = pd.DataFrame(values, columns=COLUMNS)
    if texts:
        for name in TEXTS:
            frame[name] = random.choice(CITIES, size=rows)
    return frame, labels


def forest() -> RandomForestClassifier:
    """200 trees on 20 columns."""
    frame, labels = table(4000, texts=False)
    return RandomForestClassifier(200, max_depth=8, random_state=0, n_jobs=1).fit(frame, labels)


def pipeline() -> object:
    """Scaled numbers and one-hot texts into a logistic regression."""
    frame, labels = table(4000, texts=True)
    scaled = ColumnTransformer(
        [("numbers", StandardScaler(), COLUMNS[:15]), ("texts", OneHotEncoder(handle_unknown="ignore"), TEXTS)]
    )
    return make_pipeline(scaled, LogisticRegression(max_iter=1000)).fit(frame, labels)


def row() -> dict[str, dict]:
    """The row that each model is asked."""
    return {name: table(1, texts=name == "pipeline", seed=1)[0].iloc[0].to_dict() for name in ("forest", "pipeline")}


def bodies(peer: str, folder: Path) -> None:
    """One row a request: as MLflow's scoring server takes it, or by the Open Inference Protocol V2."""
    for name, values in row().items():
        if peer == "mlflow":
            body = {"dataframe_split": {"columns": list(values), "data": [list(values.values())]}}
        else:
            kinds = {key: "BYTES" if isinstance(value, str) else "FP64" for key, value in values.items()}
            inputs = [{"name": key, "shape": [1], "datatype": kinds[key], "data": [values[key]]} for key in values]
            body = {"id": "@@@@@@@@", "inputs": inputs}
        (folder / f"{name}.body").write_text(json.dumps(body))


def settings(name: str) -> dict:
    """MLServer's settings: columns become a table, as the model was fitted on one."""
    texts = TEXTS if name == "pipeline" else []
    inputs = [
        {"name": key, "datatype": "BYTES", "shape": [-1], "parameters": {"content_type": "str"}}
        if key in texts
        else {"name": key, "datatype": "FP64", "shape": [-1]}
        for key in COLUMNS
    ]
    return {
        "name": name,
        "implementation": "mlserver_sklearn.SKLearnModel",
        "inputs": inputs,
        "parameters": {"uri": "./model.joblib", "content_type": "pd"},
    }


def main(peer: str, folder: Path) -> None:
    """Fit, keep, and write what is asked."""
    folder.mkdir(parents=True, exist_ok=True)
    bodies(peer, folder)
    for name, model in (("forest", forest()), ("pipeline", pipeline())):
        if peer == "boucle":
            import polars

            import boucle

            boucle.bundle(model, sample=table(500, texts=name == "pipeline")[0], path=folder, name=name)
            if name == "forest":
                batch = table(BATCH, texts=False, seed=2)[0]
                columns = {column: batch[column].to_numpy() for column in batch}
                polars.DataFrame(columns).write_ipc_stream(folder / "batch.arrow")
        elif peer == "mlflow":
            import mlflow.sklearn

            mlflow.sklearn.save_model(model, folder / name, serialization_format="cloudpickle")
        elif peer in ("bentoml", "mlserver"):
            import joblib

            (folder / name).mkdir()
            joblib.dump(model, folder / name / "model.joblib")
            (folder / name / "model-settings.json").write_text(json.dumps(settings(name)))
        else:
            from skl2onnx import to_onnx
            from skl2onnx.common.data_types import FloatTensorType, StringTensorType

            if name == "forest":  # the graph is Boucle's own, so that the servers are compared, not two converters
                continue
            types = [(key, (StringTensorType if key in TEXTS else FloatTensorType)([None, 1])) for key in COLUMNS]
            made = to_onnx(model, initial_types=types, options={"zipmap": False}, target_opset=18)
            (folder / f"{name}.onnx").write_bytes(made.SerializeToString())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
