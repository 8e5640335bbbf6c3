"""`boucle.bundle`: the bundle of any fitted model, from any program."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from msgspec import Struct
from msgspec.structs import replace

from boucle.kernel.digests import digest_bytes
from boucle.kernel.errors import BoucleError, CannotCompile, InvalidInput, Refused
from boucle.kernel.paths import write_atomic
from boucle.packaging.compile import Compiled, compile_model, framework_of, names_of
from boucle.packaging.compilers.native import as_estimator
from boucle.packaging.compilers.original import named, sample_of
from boucle.packaging.manifest import FORMAT
from boucle.packaging.naming import check_served_name
from boucle.packaging.networks.network import Network, network_of
from boucle.packaging.records import BundleManifest, CodeStage, Parity, Signature, Stage
from boucle.packaging.roles import check_roles
from boucle.packaging.write import READABLE, locked_environment, refuse_filled, write_folder


def bundle(
    model: Any,
    *,
    sample: Any,
    path: str | Path | None = None,
    name: str | None = None,
    key: str | None = None,
    time: str | None = None,
    tolerance: float | None = None,
    keep_code: bool = False,
    classes: Sequence[str] | None = None,
    saved_model: str | Path | None = None,
) -> Path:
    """Compile a fitted model, prove the result equal, and write it as a bundle folder; the folder.

    `sample` is a polars or pandas table or an array of rows as the model takes them, at best rows it was not fitted on:
    the proof asks with them and with rows made from them, and the first five stay in the bundle as its example. `path`
    is the folder, new or empty; `name` is one below it, or below the current folder. A server calls the model as the
    folder is called. `key` and `time` name columns that clients may send along: the entity, and the moment (ISO 8601).

    CannotCompile names the part of the model that no compiler knows. Refused, with nothing written, where the compiled
    model is off by more than `tolerance`: by default 1e-9, or 1e-5 for models that compute in float32. With `keep_code`
    such a model is kept as it is, with a warning: as a pickle, which is code, and which is served only where code is
    allowed and its maker's signature counts (`boucle sign`, `boucle serve --allow-code --signed-by`).

    A module of PyTorch, a model of Keras and a SavedModel of TensorFlow (its folder, or what was loaded from it) are
    exported to ONNX, and proven in the same way. The sample is a table, whose columns are one vector, or an array or
    tensor of rows. `classes` names what their values are of; without it they are numbers. Of a network that TensorFlow
    computes, `saved_model` is a folder, new or empty, for its SavedModel, proven as well; with `keep_code` that is what
    is kept of one that cannot be exported.
    """
    folder = _folder(path, name)
    refuse_filled(folder)
    model = as_estimator(model)
    network = network_of(model)
    parity: Parity | None
    if network is not None:
        written, parity, table = _exported(network, sample, classes, tolerance, keep_code=keep_code)
        if saved_model is not None:
            _save(network, Path(saved_model), sample, classes, tolerance)
    elif classes is not None or saved_model is not None:
        raise InvalidInput(
            f"a {type(model).__name__} is no network: it knows its classes itself, and has no SavedModel",
            hint="leave out classes= and saved_model=",
        )
    else:
        sample = named(sample, model)
        table = as_given(sample, sample_of(sample, names_of(model)).table)
        written, parity = _written(model, sample, tolerance, keep_code=keep_code)
    signature = replace(written.signature, key=key, time=time)
    check_roles(signature)
    manifest = BundleManifest(
        format=FORMAT,
        signature=signature,
        stages=written.stages,
        files={file: digest_bytes(data) for file, data in written.files.items()},
        parity=parity,
        params={},
        environment=written.environment,
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        framework=written.framework,
    )
    write_folder(folder, manifest, written.files, table)
    return folder


class _Written(Struct, frozen=True, kw_only=True):
    """What a bundle is made of."""

    signature: Signature
    stages: list[Stage]
    files: dict[str, bytes]
    environment: list[str]
    framework: str


def _exported(
    network: Network, sample: Any, classes: Sequence[str] | None, tolerance: float | None, *, keep_code: bool
) -> tuple[_Written, Parity, pl.DataFrame]:
    """The network as data, or as it is, if that is wanted and it cannot be otherwise; proven both ways."""
    from boucle.packaging.networks.compile import compile_network, keep_network

    try:
        made, table = compile_network(network, sample, classes=classes, tolerance=tolerance)
    except (CannotCompile, Refused) as error:
        if not keep_code or network.saved is None:
            raise
        made, table = keep_network(network, sample, classes=classes, tolerance=tolerance)
        _warn(error)
        return replace(_as_data(made), environment=locked_environment([], ["tensorflow"])), made.parity, table
    return _as_data(made), made.parity, table


def _save(network: Network, folder: Path, sample: Any, classes: Sequence[str] | None, tolerance: float | None) -> None:
    """Write a network's SavedModel, once it is proven to answer as the network does."""
    from boucle.packaging.networks.compile import keep_network
    from boucle.packaging.saved import MODEL, unpacked

    refuse_filled(folder)
    made, _ = keep_network(network, sample, classes=classes, tolerance=tolerance)
    for name, data in unpacked(made.files[MODEL]).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / name, data, mode=READABLE)


def _warn(error: BoucleError) -> None:
    warnings.warn(
        f"{error.message}; so it is kept as it is, as code, which `boucle serve` loads with --allow-code and a "
        "verified signature only",
        stacklevel=4,
    )


def _as_data(made: Compiled) -> _Written:
    return _Written(
        signature=made.signature,
        stages=made.stages,
        files=made.files,
        environment=locked_environment(made.stages),
        framework=made.framework,
    )


def _written(model: Any, sample: Any, tolerance: float | None, *, keep_code: bool) -> tuple[_Written, Parity | None]:
    """The model as data with its proof, or as it is, if that is wanted and it cannot be otherwise."""
    try:
        made = compile_model(model, sample, tolerance=tolerance)
    except (CannotCompile, Refused) as error:
        if not keep_code:
            raise
        kept = _kept(model, sample)
        _warn(error)  # only now that it is so
        return kept, None
    return _as_data(made), made.parity


def _kept(model: Any, sample: Any) -> _Written:
    from boucle.packaging import code, keeping

    signature, data = keeping.keep(model, sample, sample_of(sample, names_of(model)).table)
    return _Written(
        signature=signature,
        stages=[CodeStage(file=code.MODEL)],
        files={code.MODEL: data},
        environment=locked_environment([], keeping.needed(data)),
        framework=framework_of(model),
    )


def as_given(sample: Any, table: pl.DataFrame) -> pl.DataFrame:
    """A sample's table with whole numbers and booleans as they were given: the compilers see them as numbers.

    >>> as_given(pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"a": [1.0, 2.0]})).dtypes
    [Int64]
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
    if name is not None:
        check_served_name(name, "a model")  # a server calls it as the folder is called
    if path is None and name is None:
        raise InvalidInput("the bundle has no place", hint='pass path="models/churn", or name="churn"')
    return Path(path or ".", name or "")
