"""What makes a bundle folder an MLflow model as well: `MLmodel` and the files that it names.

The format is MLflow's (https://mlflow.org/docs/latest/ml/model/, read with 3.17). What MLflow writes beside it and what
would make two bundles of one model differ (a time, a uuid, a run) is left out; MLflow does without.
"""

import io
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

import polars as pl
from ruamel.yaml import YAML

from boucle.packaging.records import Input, Signature

MLMODEL: Final = "MLmodel"
CONDA: Final = "conda.yaml"
PYTHON_ENV: Final = "python_env.yaml"
REQUIREMENTS: Final = "requirements.txt"
EXAMPLE: Final = "input_example.json"
SERVING_EXAMPLE: Final = "serving_input_example.json"
LOADER: Final = "boucle.packaging.pyfunc"
EXAMPLE_ROWS: Final = 5


def mlflow_files(
    signature: Signature, sample: pl.DataFrame, *, environment: Sequence[str], python: str
) -> dict[str, bytes]:
    """The files by their names. `sample` gives the example (its first rows) and the types that MLflow asks for.

    `environment` is locked (`name==version`); this Boucle is added to it, since MLflow loads the model through it.
    """
    needs = sorted([*environment, f"boucle=={version('boucle')}"])
    tensor = _tensor(signature)
    example = _example(signature, sample) if tensor is None else sample[tensor.name].head(EXAMPLE_ROWS).to_list()
    return {
        REQUIREMENTS: "".join(f"{line}\n" for line in needs).encode(),
        CONDA: _yaml({"channels": ["conda-forge"], "dependencies": [f"python={python}", "pip", {"pip": needs}]}),
        PYTHON_ENV: _yaml({"python": python, "build_dependencies": ["pip"], "dependencies": [f"-r {REQUIREMENTS}"]}),
        EXAMPLE: _json(example),
        SERVING_EXAMPLE: _json({"dataframe_split" if tensor is None else "inputs": example}),
        MLMODEL: _yaml(_mlmodel(signature, sample, python)),
    }


def _tensor(signature: Signature) -> Input | None:
    """The input, where it is one of tensors: MLflow then wants an array and no table."""
    return next((one for one in signature.inputs if one.kind == "tensor"), None)


def _inputs(signature: Signature, sample: pl.DataFrame) -> list[dict[str, object]]:
    tensor = _tensor(signature)
    if tensor is not None:
        dtype = sample[tensor.name].to_numpy().dtype.name
        return [{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": [-1, *tensor.row_shape]}}]
    inputs = [_field(one.name, _type_of(one, sample)) for one in signature.inputs]
    return inputs + [_field(name, "string", required=False) for name in (signature.key, signature.time) if name]


def _mlmodel(signature: Signature, sample: pl.DataFrame, python: str) -> dict[str, Any]:
    inputs = _inputs(signature, sample)
    outputs = [_field(one.name, "string" if one.datatype == "BYTES" else "double") for one in signature.outputs]
    return {
        "flavors": {
            "python_function": {
                "env": {"conda": CONDA, "virtualenv": PYTHON_ENV},
                "loader_module": LOADER,
                "python_version": python,
            }
        },
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs), "params": None},
        "saved_input_example_info": {
            "artifact_path": EXAMPLE,
            **({"pandas_orient": "split"} if _tensor(signature) is None else {}),
            "serving_input_path": SERVING_EXAMPLE,
            "type": "dataframe" if _tensor(signature) is None else "ndarray",
        },
    }


def _field(name: str, kind: str, *, required: bool = True) -> dict[str, object]:
    return {"type": kind, "name": name, "required": required}


def _type_of(one: Input, sample: pl.DataFrame) -> str:
    """The type by which MLflow checks a column: what pandas would make of the sample's.

    MLflow refuses whole numbers where it expects `double`, and pandas makes floats of whole numbers with gaps.
    """
    if one.kind == "category":
        return "string"
    values = sample[one.name]
    if values.dtype == pl.Boolean:
        return "boolean"
    return "long" if values.dtype.is_integer() and not values.null_count() else "double"


def _example(signature: Signature, sample: pl.DataFrame) -> dict[str, object]:
    names = [one.name for one in signature.inputs]
    texts = [one.name for one in signature.inputs if one.kind == "category"]
    rows = sample.select(names).head(EXAMPLE_ROWS).with_columns(pl.col(texts).cast(pl.String))
    rows = rows.with_columns(pl.when(pl.selectors.float().is_finite()).then(pl.selectors.float()).name.keep())
    return {"columns": names, "data": [list(row) for row in rows.rows()]}


def _json(value: object) -> bytes:
    return json.dumps(value, allow_nan=False).encode() + b"\n"


def _yaml(value: Mapping[str, object]) -> bytes:
    """Block style, in the order of the value, long lines unbroken.

    >>> _yaml({"python": "3.11", "dependencies": ["-r requirements.txt"]}).decode().splitlines()
    ["python: '3.11'", 'dependencies:', '- -r requirements.txt']
    """
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # its None means: sort
    writer.width = 1 << 20
    stream = io.BytesIO()
    writer.dump(value, stream)
    return stream.getvalue()
