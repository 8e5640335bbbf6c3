"""Bodies of MLflow's scoring protocol, read and written: pure.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/, mlflow/pyfunc/scoring_server (read with 3.17): one
of four shapes of JSON, CSV or Parquet; besides, JSON lines, as SageMaker's batches are, and an Arrow IPC stream. As
there, columns that the model does not know are passed over, and a row that leaves a column out misses its value.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from boucle.identity.http import JSON, Headers, NotUnderstood
from boucle.kernel.errors import InvalidInput
from boucle.packaging.records import Signature
from boucle.protocols import frame_columns, head
from boucle.protocols.arrow import of_arrow
from boucle.protocols.arrow_stream import STREAM
from boucle.protocols.csv_rows import of_csv
from boucle.protocols.parquet_rows import of_parquet
from boucle.protocols.rows import Columns, decode, of_columns, of_instances, of_records, of_table, to_records
from boucle.serving.endpoint import Answer

CSV: Final = "text/csv"
JSON_LINES: Final = "application/jsonlines"
PARQUET: Final = "application/vnd.apache.parquet"
SHAPES: Final = ("dataframe_split", "dataframe_records", "instances", "inputs")
_TYPES: Final = (JSON, CSV, JSON_LINES, PARQUET, STREAM)


def kind_of(headers: Headers) -> str:
    """What the body is said to be; NotUnderstood for other types, charsets and parameters."""
    said = headers.get("content-type", JSON)
    kind, parameters = head.content_type(said)
    charset = parameters.pop("charset", "utf-8")
    if kind not in _TYPES or parameters or charset not in ("utf-8", "utf8"):
        raise NotUnderstood(
            f"content-type {said[:100]!r} is not understood here; allowed are {', '.join(_TYPES)}, in UTF-8 and "
            "without other parameters"
        )
    if kind in (PARQUET, STREAM):
        frame_columns.check_installed()
    return kind


def read(signature: Signature, body: bytes, *, headers: Headers, max_rows: int) -> Columns:
    """The columns of a body of the kind that the headers say."""
    table = _TABLES.get(kind_of(headers))
    columns = of_json(signature, body) if table is None else table(signature, body, max_rows=max_rows)
    known = {one.name for one in signature.inputs}.union((signature.key, signature.time))
    return {name: values for name, values in columns.items() if name in known}


def of_json(signature: Signature, body: bytes) -> Columns:
    """The columns of any of the four shapes."""
    asked = decode(body)
    if type(asked) is not dict:
        raise InvalidInput(f"the body is no JSON object; allowed is one with one of {', '.join(SHAPES)}")
    shapes = [name for name in asked if name in SHAPES]
    unknown = [name for name in asked if name not in (*SHAPES, "params", "parameters")]
    if len(shapes) != 1 or unknown:
        has = ", ".join(name[:40] for name in asked) or "nothing"
        raise InvalidInput(f"the body has {has}; allowed are one of {', '.join(SHAPES)}, and params")
    for name in ("params", "parameters"):  # the second as Vertex AI has it; the models here have no parameters
        if type(asked.get(name, {})) not in (dict, type(None)):
            raise InvalidInput(f"{name} is no object")
    return _READERS[shapes[0]](signature, asked[shapes[0]])


def of_json_lines(signature: Signature, body: bytes, *, max_rows: int) -> Columns:
    """The columns of lines that are each an object, or a list of values in the signature's order."""
    lines = [(number, line) for number, line in enumerate(body.split(b"\n"), start=1) if line.strip()]
    if len(lines) > max_rows:
        raise InvalidInput(f"{len(lines):,} rows in one request; at most {max_rows:,} are allowed")
    rows = []
    for number, line in lines:
        try:
            rows.append(decode(line))
        except InvalidInput as error:
            raise InvalidInput(f"line {number}: {error.message.replace('the body', 'it')}") from error
    if rows and type(rows[0]) is dict:
        return of_records(signature, rows, ragged=True)
    return of_instances(signature, rows, noun="the lines")


def predictions(answer: Answer) -> bytes:
    """The answer: a row for each, with every output by its name."""
    return msgspec.json.encode({"predictions": to_records(answer)})


def prediction_lines(answer: Answer) -> bytes:
    """The same, a line for each row."""
    return msgspec.json.Encoder().encode_lines(to_records(answer))


def _split(signature: Signature, value: Any) -> Columns:
    if type(value) is not dict or type(value.get("columns")) is not list or "data" not in value:
        raise InvalidInput('dataframe_split is no object with "columns", a list of names, and "data", a list of rows')
    return of_table(signature, value["columns"], value["data"])


def _records(signature: Signature, value: Any) -> Columns:
    if type(value) is not list:
        raise InvalidInput("dataframe_records is no list; allowed is one of objects")
    return of_records(signature, value, ragged=True) if value else of_instances(signature, value)


def _instances(signature: Signature, value: Any) -> Columns:
    if type(value) is dict:
        return of_columns(signature, value)
    is_tensor = len(signature.inputs) == 1 and signature.inputs[0].kind == "tensor"
    if type(value) is list and value and type(value[0]) is not dict and not is_tensor:
        raise InvalidInput("the model has named columns; send each row as an object")
    return of_instances(signature, value)


_READERS: Final[dict[str, Callable[[Signature, Any], Columns]]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _instances,
    "inputs": _instances,
}
_TABLES: Final = {CSV: of_csv, JSON_LINES: of_json_lines, PARQUET: of_parquet, STREAM: of_arrow}
