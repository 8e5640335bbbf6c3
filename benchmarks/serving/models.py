"""The two models that every server answers for, fitted once, and what they are asked: `python models.py FOLDER`

In FOLDER: forest.joblib, pipeline.joblib, forest.onnx, pipeline.onnx, and the request bodies.
"""

import json
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

COLUMNS = [f"x{number}" for number in range(20)]
TEXTS = COLUMNS[15:]
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
    return RandomForestClassifier(200, max_depth=8, random_state=0, n_jobs=1).fit(frame.to_numpy(np.float32), labels)


def pipeline() -> object:
    """Scaled numbers and one-hot texts into a logistic regression."""
    frame, labels = table(4000, texts=True)
    scaled = ColumnTransformer(
        [("numbers", StandardScaler(), COLUMNS[:15]), ("texts", OneHotEncoder(handle_unknown="ignore"), TEXTS)]
    )
    return make_pipeline(scaled, LogisticRegression(max_iter=1000)).fit(frame, labels)


def body(frame: pd.DataFrame) -> bytes:
    """One row as a request of the Open Inference Protocol V2."""
    row = frame.iloc[0]
    inputs = [
        {"name": name, "shape": [1], "datatype": "BYTES" if isinstance(row[name], str) else "FP64", "data": [row[name]]}
        for name in frame.columns
    ]
    return json.dumps({"id": "@@@@@@@@", "inputs": inputs}).encode()


def main(folder: Path) -> None:
    """Write all of it."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    folder.mkdir(parents=True, exist_ok=True)
    trees, linear = forest(), pipeline()
    joblib.dump(trees, folder / "forest.joblib")
    joblib.dump(linear, folder / "pipeline.joblib")
    one = [("x", FloatTensorType([None, 20]))]
    many = [(name, StringTensorType([None, 1]) if name in TEXTS else FloatTensorType([None, 1])) for name in COLUMNS]
    for model, name, types in ((trees, "forest", one), (linear, "pipeline", many)):
        made = to_onnx(model, initial_types=types, options={"zipmap": False}, target_opset=18)
        (folder / f"{name}.onnx").write_bytes(made.SerializeToString())
    for name, texts in (("forest", False), ("pipeline", True)):
        (folder / f"{name}.body").write_bytes(body(table(1, texts=texts, seed=1)[0]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
