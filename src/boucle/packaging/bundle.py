"""Reads a bundle and asks it. Imported by the serving worker: only numpy, treelite and msgspec.

A predictor is three stages: encode (`boucle.packaging.encode`), trees (treelite), post (sigmoid, softmax or nothing).
The model's file is data, not code; its digest is compared before treelite parses it, since native parsers are not
hardened against damaged bytes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import treelite
from numpy.typing import NDArray

from boucle.kernel.digests import digest_bytes, short
from boucle.kernel.errors import Damaged, InvalidInput, NotFound
from boucle.packaging.encode import Encoder, Values
from boucle.packaging.records import BundleManifest, Signature

FORMAT = 1
MANIFEST = "boucle.json"
MODEL = "model.treelite"

Scores = NDArray[np.float64]
"""Binary: probability of the positive class, (n_rows,). Multiclass: probabilities, (n_rows, n_classes). Regression:
values, (n_rows,)."""


class Trees:
    """A compiled forest: an encoded matrix to scores. Safe to share by threads."""

    def __init__(self, model: bytes, signature: Signature) -> None:
        self._model: Any = treelite.Model.deserialize_bytes(model)
        self._task = signature.task

    def scores(self, matrix: NDArray[np.float64], nthread: int = 1) -> Scores:
        """Scores of encoded rows, by at most `nthread` threads."""
        rows = np.ascontiguousarray(matrix)
        try:
            answer = self._ask(rows, nthread)
        except treelite.TreeliteError:
            if nthread <= 1:
                raise
            answer = self._ask(rows, 0)  # more threads than OpenMP allows here; 0 is as many as it does
        # treelite's own softmax rounds to float32 on the way (6e-8 off, measured with 4.8), so that stage is ours.
        return softmax(answer[:, 0, :]) if self._task == "multiclass" else answer.reshape(len(rows))

    def _ask(self, rows: NDArray[np.float64], nthread: int) -> NDArray[np.float64]:
        margins = self._task == "multiclass"
        return np.asarray(treelite.gtil.predict(self._model, rows, nthread=nthread, pred_margin=margins))


class Predictor:
    """An opened bundle. Safe to share by threads."""

    def __init__(self, manifest: BundleManifest, model: bytes) -> None:
        self.manifest = manifest
        self._encoder = Encoder(manifest.signature.inputs)
        self._trees = Trees(model, manifest.signature)

    @property
    def signature(self) -> Signature:
        """What goes in and what comes out."""
        return self.manifest.signature

    def predict(self, columns: Mapping[str, Values], nthread: int = 1) -> dict[str, NDArray[np.float64] | list[str]]:
        """The outputs that the signature names, each as long as the columns; numbers as arrays, labels as text.

        At most `nthread` threads work on it; answers do not depend on how many.
        """
        return outputs_of(self.signature, self._trees.scores(self._encoder.encode(columns), nthread))


def outputs_of(signature: Signature, scores: Scores) -> dict[str, NDArray[np.float64] | list[str]]:
    """Scores as the named outputs of a signature."""
    names = [output.name for output in signature.outputs]
    if signature.task == "regression":
        return {names[0]: scores}
    chosen = scores >= signature.threshold if signature.task == "binary" else scores.argmax(axis=1)
    labels = [signature.classes[code] for code in chosen.astype(np.intp).tolist()]
    if signature.task == "binary":
        return {names[0]: scores, names[1]: labels}
    return {**{name: scores[:, code] for code, name in enumerate(names[:-1])}, names[-1]: labels}


def softmax(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows to probabilities.

    >>> softmax(np.array([[0.0, 0.0], [1000.0, 0.0]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    powers = np.exp(margins - margins.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


def read_manifest(folder: Path) -> BundleManifest:
    """The manifest of a bundle folder.

    NotFound if there is none, InvalidInput if it is of a newer format, Damaged if it cannot be read.
    """
    try:
        data = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"{str(folder)!r} is no bundle: it has no {MANIFEST}", hint="run `boucle run` to make one"
        ) from error
    try:
        manifest_format = msgspec.json.decode(data, type=_Format).format
        if manifest_format != FORMAT:
            raise InvalidInput(
                f"{str(folder)!r} has bundle format {manifest_format}; this Boucle reads format {FORMAT}",
                hint="update Boucle where the bundle is read",
            )
        return msgspec.json.decode(data, type=BundleManifest)
    except msgspec.MsgspecError as error:
        raise Damaged(f"{str(folder / MANIFEST)!r} cannot be read: {error}") from error


def open_bundle(folder: Path) -> Predictor:
    """Open a bundle folder for predictions. Damaged if the model's bytes are not those that were packaged."""
    manifest = read_manifest(folder)
    if manifest.flavor != "treelite":
        raise InvalidInput(f"{str(folder)!r} has flavor {manifest.flavor!r}; this reader opens 'treelite'")
    file = folder / MODEL
    try:
        model = file.read_bytes()
    except FileNotFoundError as error:
        raise Damaged(f"bundle {str(folder)!r} has lost its {MODEL}") from error
    found = digest_bytes(model)
    if found != manifest.model:
        raise Damaged(f"{str(file)!r} should have digest {short(manifest.model)} but has {short(found)}")
    return Predictor(manifest, model)


class _Format(msgspec.Struct):
    format: int
