"""BentoML's server of one model, asked by the same body as the others: `BENCH_MODEL=FILE bentoml serve bento:Bench`"""

import os

import bentoml
import joblib
import pandas as pd
from pydantic import BaseModel


class Tensor(BaseModel):
    """An input as it comes."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float | str | None]


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Bench:
    """Reads the columns, asks the model as it was fitted."""

    def __init__(self) -> None:
        self._model = joblib.load(os.environ["BENCH_MODEL"])

    @bentoml.api(route="/infer")
    def infer(self, inputs: list[Tensor], id: str = "") -> dict:
        """One answer of the Open Inference Protocol V2."""
        rows = pd.DataFrame({one.name: one.data for one in inputs})
        probability = self._model.predict_proba(rows)[:, 1]
        labels = self._model.classes_[(probability > 0.5).astype(int)]
        outputs = [
            {"name": "probability", "shape": [len(rows)], "datatype": "FP64", "data": probability.tolist()},
            {"name": "label", "shape": [len(rows)], "datatype": "BYTES", "data": [str(one) for one in labels]},
        ]
        return {"model_name": "bench", "id": id, "outputs": outputs}
