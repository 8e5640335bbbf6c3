"""Bodies of TensorFlow Serving's REST API, read and written: pure.

https://github.com/tensorflow/serving, g3doc/api_rest.md and util/json_tensor.cc, which goes before it: classify and
regress answer under `results`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from boucle.kernel.errors import InvalidInput
from boucle.packaging.records import Signature
from boucle.protocols.rows import Columns, decode, of_columns, of_instances, of_records, to_lists, to_records
from boucle.serving.endpoint import Answer

SIGNATURE_NAME: Final = "serving_default"
_DTYPES: Final = {"number": "DT_DOUBLE", "tensor": "DT_DOUBLE", "FP64": "DT_DOUBLE"}


def read_predict(signature: Signature, body: bytes) -> tuple[Columns, bool]:
    """The columns of `:predict`, and whether they came as columns, so that the answer shall be columns as well."""
    asked = _object(body)
    if ("instances" in asked) == ("inputs" in asked):
        raise InvalidInput('the body needs either "instances" or "inputs", and not both')
    if "instances" in asked:
        return of_instances(signature, asked["instances"]), False
    inputs = asked["inputs"]
    if isinstance(inputs, dict):
        return of_columns(signature, inputs), True
    names = [one.name for one in signature.inputs]
    if len(names) != 1:
        raise InvalidInput(f'"inputs" is no object; allowed is one with a list for each of {", ".join(names)}')
    return of_columns(signature, {names[0]: inputs}), True


def read_examples(signature: Signature, body: bytes) -> Columns:
    """The columns of `:classify` and `:regress`: a value, or a list of one, a feature; `context` holds for all rows."""
    asked = _object(body)
    examples, context = asked.get("examples"), asked.get("context", {})
    if type(examples) is not list or type(context) is not dict:
        raise InvalidInput('the body needs "examples", a list of objects, and "context", if any, an object')
    for number, example in enumerate(examples):
        if type(example) is not dict:
            raise InvalidInput(f"row {number} is no object; allowed is one with a value for each feature")
    return of_records(signature, [{**context, **example} for example in examples])


def predictions(answer: Answer) -> bytes:
    """What `:predict` answers to rows. The name of the only output is left out."""
    if len(answer.outputs) == 1:
        (values,) = to_lists(answer).values()
        return msgspec.json.encode({"predictions": values})
    return msgspec.json.encode({"predictions": to_records(answer)})


def outputs(answer: Answer) -> bytes:
    """What `:predict` answers to columns."""
    lists = to_lists(answer)
    return msgspec.json.encode({"outputs": next(iter(lists.values())) if len(lists) == 1 else lists})


def classes(answer: Answer) -> bytes:
    """What `:classify` answers: for each row every class with its score."""
    names = answer.signature.classes
    scores: Sequence[list[float]] = [
        values.tolist() for values in answer.outputs.values() if not isinstance(values, list)
    ]
    if answer.signature.task == "binary":
        (positive,) = scores
        # A distance has no other side but its mirror image: of two classes the higher is the label.
        whole = 2.0 * answer.signature.threshold if answer.signature.margins else 1.0
        scores = [[whole - score for score in positive], positive]
    rows = zip(*scores, strict=True)
    return msgspec.json.encode({"results": [list(zip(names, row, strict=True)) for row in rows]})


def values(answer: Answer) -> bytes:
    """What `:regress` answers: a number for each row."""
    (column,) = to_lists(answer).values()
    return msgspec.json.encode({"results": column})


def status(problems: Mapping[str, str]) -> dict[str, Any]:
    """The state of versions that are served; why one cannot be asked just now, empty for one that can."""
    told = [
        {
            "version": number,
            "state": "LOADING" if why else "AVAILABLE",
            "status": {"error_code": "UNAVAILABLE" if why else "OK", "error_message": why},
        }
        for number, why in problems.items()
    ]
    return {"model_version_status": told}


def metadata(model: str, number: int, signature: Signature) -> dict[str, Any]:
    """`GetModelMetadataResponse` as JSON."""
    optional = [name for name in (signature.key, signature.time) if name is not None]
    definition = {
        "inputs": {
            **{
                one.name: _tensor(one.name, _DTYPES.get(one.kind, "DT_STRING"), one.row_shape)
                for one in signature.inputs
            },
            **{name: _tensor(name, "DT_STRING") for name in optional},
        },
        "outputs": {one.name: _tensor(one.name, _DTYPES.get(one.datatype, "DT_STRING")) for one in signature.outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": model, "signature_name": "", "version": str(number)},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE_NAME: definition}}},
    }


def _object(body: bytes) -> dict[str, Any]:
    asked = decode(body)
    if type(asked) is not dict:
        raise InvalidInput("the body is no JSON object")
    name = asked.get("signature_name")
    if name not in (None, "", SIGNATURE_NAME):
        raise InvalidInput(f"signature_name {str(name)[:80]!r} is unknown; allowed is {SIGNATURE_NAME!r}")
    return asked


def _tensor(name: str, dtype: str, row_shape: tuple[int, ...] = ()) -> dict[str, Any]:
    shape = {"dim": [{"size": str(size), "name": ""} for size in (-1, *row_shape)], "unknown_rank": False}
    return {"dtype": dtype, "tensor_shape": shape, "name": name}
