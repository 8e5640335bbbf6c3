"""Which data a run used: the digest of their content, whatever they come as."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any, Final

import msgspec

from boucle.kernel.errors import InvalidInput
from boucle.runs.client.cells import of_arrow, of_objects
from boucle.runs.client.checks import check_text
from boucle.runs.code_version import without_credentials
from boucle.runs.spool.records import PART_BYTES, Dataset

_DIGEST: Final = re.compile("[0-9a-f]{64}")


def describe(name: str, data: object, context: str) -> Dataset:
    """The record of a file, a folder, a table, an array or a digest. InvalidInput for anything else."""
    check_text("dataset name", name, 500)
    if not name.strip():
        raise InvalidInput("a dataset name is empty; allowed are 1 to 500 characters")
    check_text("context", context, 500)
    if isinstance(data, str) and _DIGEST.fullmatch(data):
        return Dataset(name, data, "boucle", f"boucle:{data}", None, context)
    if isinstance(data, str) and "://" in data:
        raise InvalidInput(
            f"{without_credentials(data)!r} is an address; allowed are files, folders, tables and digests",
            hint="give the table that you read from it",
        )
    if isinstance(data, str | os.PathLike):
        path = Path(data)
        return Dataset(name, _of_path(path), "local", _as_text(path.absolute()), None, context)
    return Dataset(name, _of_table(data), "code", type(data).__module__.partition(".")[0], _schema(data), context)


def _as_text(path: Path) -> str:
    """A path as it can be kept: names of files may hold bytes that are no text."""
    return str(path).encode(errors="replace").decode()


def _of_path(path: Path) -> str:
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if not path.is_dir():
        raise InvalidInput(f"{str(path)!r} is no file and no folder; allowed are data that can be read")
    whole = hashlib.sha256()
    for one in sorted(path.rglob("*")):
        if one.is_file():
            with one.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{one.relative_to(path).as_posix()}\0{digest}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def _of_table(data: Any) -> str:
    """The digest of a table's cells and names, or of an array's bytes, by the library that holds them."""
    kind = type(data).__module__.partition(".")[0]
    whole = hashlib.sha256()
    if kind == "numpy" and hasattr(data, "tobytes"):
        whole.update(f"{data.dtype}{data.shape}".encode())
        for piece in of_objects(data.reshape(-1).tolist()) if data.dtype.hasobject else [data.tobytes()]:
            whole.update(piece)
    elif kind == "polars" and hasattr(data, "hash_rows"):
        whole.update(repr(data.schema).encode())
        odd = [name for name, dtype in data.schema.items() if _differs_by_process(dtype)]
        if len(odd) < data.width:
            whole.update(data.drop(odd).hash_rows(seed=0).to_numpy().tobytes())
        for piece in (piece for name in odd for piece in of_objects(data[name].to_list())):
            whole.update(piece)
    elif kind == "pandas" and hasattr(data, "columns"):
        whole.update(repr([(str(name), str(dtype)) for name, dtype in data.dtypes.items()]).encode())
        whole.update(_hashed_by_pandas(data))
    elif kind == "pyarrow" and hasattr(data, "combine_chunks"):
        whole.update(str(data.schema.remove_metadata()).encode())
        for piece in (piece for column in data.columns for piece in of_arrow(column)):
            whole.update(piece)
    else:
        raise InvalidInput(
            f"a {type(data).__name__} cannot be a dataset; allowed are a path, a digest, a table of Polars, pandas or "
            "Arrow, and an array of NumPy"
        )
    return whole.hexdigest()


def _differs_by_process(dtype: Any) -> bool:
    """Whether Polars hashes such cells by addresses or by numbers that another process gives otherwise."""
    words = str(dtype)
    return "Object" in words or (dtype.is_nested() and "Categorical" in words)


def _hashed_by_pandas(data: Any) -> bytes:
    from pandas.util import hash_pandas_object

    try:
        hashed: bytes = hash_pandas_object(data, index=True).to_numpy().tobytes()
    except TypeError as error:
        raise InvalidInput(
            f"the content of this data cannot be told: {error}; allowed are columns of plain values",
            hint="give the file that it was read from, or the other columns",
        ) from None
    return hashed


def _schema(data: Any) -> str | None:
    """Names and types of columns, as JSON; the shape alone where there are none, or more than one record should say."""
    if hasattr(data, "dtypes") and hasattr(data, "columns"):
        names = [str(one) for one in data.columns]
        types = [str(one) for one in (data.dtypes if isinstance(data.dtypes, list) else data.dtypes.tolist())]
        columns = [{"name": name, "type": kind} for name, kind in zip(names, types, strict=True)]
        schema = msgspec.json.encode({"columns": columns, "rows": len(data)})
        if len(schema) <= PART_BYTES:
            return schema.decode()
    shape = getattr(data, "shape", None)
    return msgspec.json.encode({"shape": list(shape)}).decode() if shape is not None else None
