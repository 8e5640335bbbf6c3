"""How MLflow loads a bundle: `mlflow.pyfunc.load_model(folder)` calls `_load_pyfunc` in the process of MLflow.

MLflow has checked the columns by then, by the signature in `MLmodel`.
"""

from pathlib import Path
from typing import Any

from boucle.packaging.bundle import Predictor, open_bundle
from boucle.packaging.installed import columns_for


class Model:
    """A bundle as MLflow asks it: pandas in, pandas out."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:  # noqa: ARG002 - MLflow gives it
        """A data frame with the outputs that the bundle's signature names, on the index of the one that came."""
        import pandas as pd

        signature = self.predictor.signature
        is_tensor = any(one.kind == "tensor" for one in signature.inputs)
        table = model_input if is_tensor else pd.DataFrame(model_input)  # MLflow gives an array for a tensor
        outputs = self.predictor.predict(columns_for(table, signature))
        return pd.DataFrame(dict(outputs), index=None if is_tensor else table.index)


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> Model:  # noqa: ARG001 - MLflow gives it
    """The hook that MLflow calls; `path` is the bundle's folder."""
    return Model(open_bundle(Path(path)))
