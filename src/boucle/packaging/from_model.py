"""`boucle.bundle`: the bundle of any fitted model, from any program."""

import sys
from pathlib import Path
from typing import Any

import polars as pl
from msgspec.structs import replace

from boucle.kernel.digests import digest_bytes
from boucle.kernel.errors import InvalidInput
from boucle.packaging.compile import compile_model, names_of
from boucle.packaging.compilers.original import sample_of
from boucle.packaging.manifest import FORMAT
from boucle.packaging.records import BundleManifest
from boucle.packaging.write import locked_environment, refuse_filled, write_folder


def bundle(
    model: Any,
    *,
    sample: Any,
    path: str | Path | None = None,
    name: str | None = None,
    key: str | None = None,
    time: str | None = None,
    tolerance: float | None = None,
) -> Path:
    """Compile a fitted model, prove the result equal, and write it as a bundle folder; the folder.

    `sample` is a polars or pandas table or an array of rows as the model takes them, at best rows it was not fitted on:
    the proof asks with them and with rows made from them, and the first five stay in the bundle as its example. `path`
    is the folder, new or empty; `name` is one below it, or below the current folder. A server calls the model as the
    folder is called. `key` and `time` name columns that clients may send along: the entity, and the moment (ISO 8601).

    CannotCompile names the part of the model that no compiler knows. Refused, with nothing written, where the compiled
    model is off by more than `tolerance`: by default 1e-9, or 1e-5 for models that compute in float32.
    """
    folder = _folder(path, name)
    refuse_filled(folder)
    compiled = compile_model(model, sample, tolerance=tolerance)
    signature = replace(compiled.signature, key=key, time=time)
    taken = {one.name for one in signature.inputs} & {key, time}
    if taken:
        raise InvalidInput(f"column {taken.pop()!r} is one that the model takes; key and time are columns beside those")
    manifest = BundleManifest(
        format=FORMAT,
        signature=signature,
        stages=compiled.stages,
        files={file: digest_bytes(data) for file, data in compiled.files.items()},
        parity=compiled.parity,
        params={},
        environment=locked_environment(compiled.stages),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        framework=compiled.framework,
    )
    write_folder(folder, manifest, compiled.files, as_given(sample, sample_of(sample, names_of(model)).table))
    return folder


def as_given(sample: Any, table: pl.DataFrame) -> pl.DataFrame:
    """A sample's table with whole numbers and booleans as they were given: the compilers see them as numbers.

    >>> as_given(pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"a": [1.0, 2.0]})).schema
    Schema({'a': Int64})
    """
    return table.with_columns(
        [
            column.cast(dtype, strict=False)
            for column in table.iter_columns()
            if (dtype := _dtype(sample, column.name)) is not None and column.is_finite().all()
        ]
    )


def _dtype(sample: Any, name: str) -> type[pl.DataType] | None:
    """Int64 or Boolean where the sample has a column of such, else None."""
    if isinstance(sample, pl.DataFrame):
        dtype = sample.schema[name]
        kind = "b" if dtype == pl.Boolean else "i" if dtype.is_integer() else ""
    else:
        columns = getattr(sample, "dtypes", None)
        found = sample.dtype if columns is None else {str(one): columns[one] for one in columns.index}[name]
        kind = getattr(found, "kind", "")
    return {"b": pl.Boolean, "i": pl.Int64, "u": pl.Int64}.get(kind)


def _folder(path: str | Path | None, name: str | None) -> Path:
    if name is not None and (not name or Path(name).name != name):
        raise InvalidInput(f"name {name!r} is no name of a folder", hint="say where it shall be with path=")
    if path is None and name is None:
        raise InvalidInput("the bundle has no place", hint='pass path="models/churn", or name="churn"')
    return Path(path or ".", name or "")
