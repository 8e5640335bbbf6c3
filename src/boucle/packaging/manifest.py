"""Reads `boucle.json` in all its formats. Imported by the serving worker: msgspec and the standard library."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from boucle.kernel.digests import Digest
from boucle.kernel.errors import Damaged, InvalidInput, NotFound
from boucle.packaging.records import (
    BundleManifest,
    EncodeStage,
    Parity,
    PostStage,
    Signature,
    TreeliteStage,
)

if TYPE_CHECKING:
    from boucle.packaging.signing import Signed

FORMAT = 2
MANIFEST = "boucle.json"
MODEL = "model.treelite"


def read_manifest(folder: Path, signed: "Signed | None" = None) -> BundleManifest:
    """The manifest of a bundle folder.

    NotFound if there is none, InvalidInput if it is of a newer format, Damaged if it cannot be read. Refused if its
    bytes are not those that were `signed`.
    """
    try:
        data = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"{str(folder)!r} is no bundle: it has no {MANIFEST}", hint="run `boucle run` to make one"
        ) from error
    if signed is not None:
        signed.require(MANIFEST, data, repr(str(folder)))
    return manifest_of(data, where=repr(str(folder)))


def manifest_of(data: bytes, *, where: str) -> BundleManifest:
    """The manifest in the bytes of a `boucle.json`; `where` names the bundle in messages."""
    try:
        number = msgspec.json.decode(data, type=_Format).format
        if number == 1:
            return _from_first(msgspec.json.decode(data, type=_First))
        if number != FORMAT:
            raise InvalidInput(
                f"{where} has bundle format {number}; this Boucle reads formats 1 to {FORMAT}",
                hint="update Boucle where the bundle is read",
            )
        manifest = msgspec.json.decode(data, type=BundleManifest)
    except msgspec.MsgspecError as error:
        raise Damaged(f"the {MANIFEST} of {where} cannot be read: {error}") from error
    return _checked(manifest, where)


def _checked(manifest: BundleManifest, where: str) -> BundleManifest:
    for stage in manifest.stages:
        name = getattr(stage, "file", None)
        if name is not None and name not in manifest.files:
            raise Damaged(
                f"{where}: stage {stage.__struct_config__.tag!r} names {name!r}, which is not among its files"
            )
    return manifest


class _Format(msgspec.Struct):
    format: int


class _First(msgspec.Struct, frozen=True, kw_only=True):
    """Format 1: one file of trees, always treelite's."""

    signature: Signature
    parity: Parity
    params: dict[str, str | int | float | bool | None]
    environment: list[str]
    python: str
    model: Digest


def _from_first(read: _First) -> BundleManifest:
    several = read.signature.task == "multiclass"
    return BundleManifest(
        format=1,
        signature=read.signature,
        stages=[
            EncodeStage(),
            TreeliteStage(file=MODEL, margins=several),
            PostStage(link="softmax" if several else "identity"),
        ],
        files={MODEL: read.model},
        parity=read.parity,
        params=read.params,
        environment=read.environment,
        python=read.python,
        framework="scikit-learn",
    )
