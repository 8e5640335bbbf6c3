"""Writes a bundle: the folder that serves, with the proof in it."""

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec
import polars as pl

from boucle.kernel.digests import canonical_json, digest_bytes
from boucle.kernel.errors import Conflict
from boucle.kernel.paths import write_atomic
from boucle.kernel.points import reach
from boucle.packaging.compile import Compiler, asked_compiled, compile_onnx
from boucle.packaging.fitted import asked_fitted, split_thresholds, training_rows
from boucle.packaging.lock import locked
from boucle.packaging.manifest import FORMAT, MANIFEST
from boucle.packaging.mlmodel import mlflow_files
from boucle.packaging.parity import prove
from boucle.packaging.records import BundleManifest, OnnxStage, PackagingSection, Signature, Stage, TreeliteStage
from boucle.packaging.roles import check_roles
from boucle.packaging.tables import signature_of
from boucle.training.records import Fitted

SERVING_NEEDS = ("msgspec", "numpy")
READABLE = 0o666
"""Of a bundle's files, less what the umask of the process takes away: a bundle is for others."""
STAGE_NEEDS: Mapping[type, tuple[str, ...]] = {OnnxStage: ("onnxruntime",), TreeliteStage: ("treelite",)}
"""What a stage runs on beyond `SERVING_NEEDS`."""


def package(
    fitted: Fitted,
    held_out: pl.DataFrame,
    folder: Path,
    section: PackagingSection,
    *,
    key: str | None,
    time: str | None,
    compiler: Compiler = compile_onnx,
) -> BundleManifest:
    """Compile, prove, and write the bundle into `folder`, which is new or empty.

    Refused, with nothing written, if the compiled model differs from the fitted one. The bytes depend on the trees, the
    signature and the installed packages only: on no clock, host or run.
    """
    refuse_filled(folder)
    signature = signature_of(fitted, key=key, time=time)
    check_roles(signature)
    written = compiler(fitted)
    parity = prove(
        asked_fitted(fitted),
        asked_compiled(signature, written.stages, written.files),
        signature,
        _as_asked(held_out, signature),
        training_rows(fitted),
        thresholds=split_thresholds(fitted),
        compiler=compiler.__name__.removeprefix("compile_"),
        tolerance=section.tolerance,
    )
    manifest = BundleManifest(
        format=FORMAT,
        signature=signature,
        stages=written.stages,
        files={name: digest_bytes(data) for name, data in written.files.items()},
        parity=parity,
        params=fitted.params,
        environment=locked_environment(written.stages),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        framework=f"scikit-learn {version('scikit-learn')}",
    )
    write_folder(folder, manifest, written.files, held_out)
    return manifest


def _as_asked(table: pl.DataFrame, signature: Signature) -> pl.DataFrame:
    """The inputs' columns as the rows that a proof makes have them: floats, and texts."""
    kinds = {one.name: pl.String if one.kind == "category" else pl.Float64 for one in signature.inputs}
    return table.select([pl.col(name).cast(kind) for name, kind in kinds.items()])


def refuse_filled(folder: Path) -> None:
    """Conflict if there is something in the folder already."""
    if folder.exists() and any(folder.iterdir()):
        raise Conflict(f"{str(folder)!r} is not empty", hint="name a new folder for the bundle")


def write_folder(folder: Path, manifest: BundleManifest, files: Mapping[str, bytes], sample: pl.DataFrame) -> None:
    """Write a proven bundle: what its stages load, what MLflow needs, last the manifest that makes it one.

    `sample` gives the example that lies in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    reach("bundle.proven")
    for name, data in files.items():
        write_atomic(folder / name, data, mode=READABLE)
    reach("bundle.model_written")
    others = mlflow_files(manifest.signature, sample, environment=manifest.environment, python=manifest.python)
    for name, data in others.items():
        write_atomic(folder / name, data, mode=READABLE)
    reach("bundle.mlflow_written")
    write_atomic(folder / MANIFEST, msgspec.json.format(canonical_json(manifest), indent=2) + b"\n", mode=READABLE)
    reach("bundle.written")


def locked_environment(stages: Sequence[Stage], more: Sequence[str] = ()) -> list[str]:
    """What serving these stages and `more` packages need, and what that needs, in the installed versions."""
    needs = [*SERVING_NEEDS, *more, *(need for stage in stages for need in STAGE_NEEDS.get(type(stage), ()))]
    return [f"{name}=={version}" for name, version in sorted(locked(needs).items())]
