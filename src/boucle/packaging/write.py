"""Writes a bundle: the folder that serves, with the proof in it."""

import re
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import msgspec
import polars as pl

from boucle.kernel.digests import canonical_json, digest_bytes
from boucle.kernel.errors import Conflict
from boucle.kernel.paths import write_atomic
from boucle.kernel.points import reach
from boucle.packaging.compile import Compiler, compile_treelite, stages_of
from boucle.packaging.manifest import FORMAT, MANIFEST, MODEL
from boucle.packaging.mlmodel import mlflow_files
from boucle.packaging.parity import prove
from boucle.packaging.records import BundleManifest, PackagingSection
from boucle.packaging.stages import Chain
from boucle.packaging.tables import signature_of
from boucle.training.records import Fitted

SERVING_NEEDS = ("msgspec", "numpy", "treelite")


def package(
    fitted: Fitted,
    held_out: pl.DataFrame,
    folder: Path,
    section: PackagingSection,
    *,
    key: str | None,
    time: str | None,
    compiler: Compiler = compile_treelite,
) -> BundleManifest:
    """Compile, prove, and write the bundle into `folder`, which is new or empty.

    Refused, with nothing written, if the compiled model differs from the fitted one. The bytes depend on the trees, the
    signature and the installed packages only: on no clock, host or run.
    """
    refuse_filled(folder)
    signature = signature_of(fitted, key=key, time=time)
    model, stages = compiler(fitted), stages_of(fitted)
    parity = prove(
        fitted,
        Chain(stages, {MODEL: model}).scores,
        signature,
        held_out,
        compiler=compiler.__name__.removeprefix("compile_"),
        tolerance=section.tolerance,
    )
    manifest = BundleManifest(
        format=FORMAT,
        signature=signature,
        stages=stages,
        files={MODEL: digest_bytes(model)},
        parity=parity,
        params=fitted.params,
        environment=locked_environment(),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        framework=f"scikit-learn {version('scikit-learn')}",
    )
    write_folder(folder, manifest, {MODEL: model}, held_out)
    return manifest


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
        write_atomic(folder / name, data)
    reach("bundle.model_written")
    others = mlflow_files(manifest.signature, sample, environment=manifest.environment, python=manifest.python)
    for name, data in others.items():
        write_atomic(folder / name, data)
    reach("bundle.mlflow_written")
    write_atomic(folder / MANIFEST, msgspec.json.format(canonical_json(manifest), indent=2) + b"\n")
    reach("bundle.written")


def locked_environment() -> list[str]:
    """What serving a bundle needs, and what that needs, in the installed versions."""
    found: dict[str, str] = {}
    wanted = list(SERVING_NEEDS)
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in found:
            continue
        try:
            installed = distribution(name)
        except PackageNotFoundError:  # needed on another platform only
            continue
        found[name] = installed.version
        needs = [need for need in installed.requires or [] if "extra ==" not in need]
        wanted.extend(match[0] for need in needs if (match := re.match(r"[A-Za-z0-9._-]+", need)))
    return [f"{name}=={version}" for name, version in sorted(found.items())]
