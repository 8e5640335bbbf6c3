"""Opens a bundle and asks it. Imported by the serving worker: numpy, msgspec, and what the bundle's stages run on.

A bundle's files are data, not code; a file's digest is compared before it is parsed, since native parsers are not
hardened against damaged bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from boucle.kernel.digests import Digest, digest_bytes, short
from boucle.kernel.errors import Damaged
from boucle.kernel.paths import inside
from boucle.packaging.encode import Encoder, Values
from boucle.packaging.manifest import read_manifest
from boucle.packaging.records import CODE, BundleManifest, CodeStage, EncodeStage, SavedModelStage, Signature, Stage
from boucle.packaging.stages import Chain, Files
from boucle.packaging.trust import Trust, refuse_code, signed_by

if TYPE_CHECKING:
    from boucle.packaging.code import CodePipeline
    from boucle.packaging.saved import SavedModelPipeline

Scores = NDArray[np.float64]
"""Binary: probability of the positive class, (n_rows,). Multiclass: probabilities, (n_rows, n_classes). Regression:
values, (n_rows,)."""
_TRIES = 20
"""Answers of which the quickest tells how long one takes."""


class Predictor:
    """An opened bundle. Safe to share by threads."""

    def __init__(self, manifest: BundleManifest, files: Files, *, allow_code: bool = False) -> None:
        self.manifest = manifest
        self._single: Single | None = None
        self._labels: Callable[[Mapping[str, Values]], list[str] | None] | None = None
        self._stages: Pipeline | CodePipeline | SavedModelPipeline
        kept = next((stage for stage in manifest.stages if isinstance(stage, CODE)), None)
        if isinstance(kept, CodeStage) and allow_code:
            from boucle.packaging import code

            self._stages = code.CodePipeline(manifest.signature, files[kept.file])
            self._labels = self._stages.labels
        elif isinstance(kept, SavedModelStage) and allow_code:
            from boucle.packaging import saved

            model = saved.SavedModel(files[kept.file])
            self._stages = saved.SavedModelPipeline(manifest.signature, manifest.stages, model)
        else:
            self._stages = Pipeline(manifest.signature, manifest.stages, files)

    @property
    def signature(self) -> Signature:
        """What goes in and what comes out."""
        return self.manifest.signature

    def predict(self, columns: Mapping[str, Values], nthread: int = 1) -> dict[str, NDArray[np.float64] | list[str]]:
        """The outputs that the signature names, each as long as the columns; numbers as arrays, labels as text.

        At most `nthread` threads work on it; answers do not depend on how many.
        """
        scores = self._stages.scores(columns, nthread)
        return outputs_of(self.signature, scores, None if self._labels is None else self._labels(columns))

    def encode(self, columns: Mapping[str, Values]) -> NDArray[np.float64]:
        """The first stage alone: columns to the model's matrix; InvalidInput for what the model refuses. As all below,
        not for a model that is the code it was.
        """
        return self._compiled.encoder.encode(columns)

    def row(self, values: Sequence[float | str | None]) -> list[float] | None:
        """The same for one plain row; see `Encoder.row`."""
        return self._compiled.encoder.row(values)

    def ask(self, matrix: NDArray[np.float64], nthread: int = 1) -> dict[str, NDArray[np.float64] | list[str]]:
        """The stages after the first: an encoded matrix to the outputs."""
        return outputs_of(self.signature, self._compiled.chain.scores(matrix, nthread))

    @property
    def single(self) -> "Single":
        """The same for one row at a time; for one thread only. Made when it is first asked for."""
        if self._single is None:
            self._single = Single(self.signature, self._compiled)
        return self._single

    @property
    def _compiled(self) -> "Pipeline":
        assert isinstance(self._stages, Pipeline)
        return self._stages


class Pipeline:
    """The stages as one: raw columns to scores. Safe to share by threads."""

    def __init__(self, signature: Signature, stages: Sequence[Stage], files: Files) -> None:
        unseen = next((stage.unseen for stage in stages if isinstance(stage, EncodeStage)), None)
        self.encoder = Encoder(signature.inputs, unseen)
        self.chain = Chain(stages, files)

    def scores(self, columns: Mapping[str, Values], nthread: int = 1) -> Scores:
        """Scores of raw rows."""
        return self.chain.scores(self.encoder.encode(columns), nthread)


class Single:
    """A predictor that is asked one row at a time, in memory that it keeps. For one thread."""

    def __init__(self, signature: Signature, stages: Pipeline) -> None:
        self.coded = stages.encoder.coded
        """Values in the order of the inputs to numbers; None where a category is unseen or missing."""
        self._signature = signature
        self._scores = stages.chain.single(len(signature.inputs))
        exact = self._scores([0.0] * len(signature.inputs)).dtype == np.float64
        self._is_binary = exact and signature.task == "binary"
        self.seconds = self._measured()
        """How long an answer takes, at best."""

    def ask(self, row: Sequence[float]) -> list[float | str]:
        """One value for each output, in the signature's order. struct.error for a row that is not all numbers."""
        signature = self._signature
        scores = self._scores(row)
        if self._is_binary:
            score: float = scores.item(0)
            return [score, signature.classes[score >= signature.threshold]]
        values = outputs_of(signature, scores).values()
        return [one[0] if isinstance(one, list) else one.item(0) for one in values]

    def _measured(self) -> float:
        """The least of some answers to the row that is all zeros; categories have a code 0."""
        row = [0.0] * len(self._signature.inputs)
        least = inf
        for _ in range(_TRIES):
            began = perf_counter()
            self._scores(row)
            least = min(least, perf_counter() - began)
        return least


def outputs_of(
    signature: Signature, scores: Scores, own: list[str] | None = None
) -> dict[str, NDArray[np.float64] | list[str]]:
    """Scores as the named outputs of a signature; `own` are labels that the scores do not choose."""
    names = [output.name for output in signature.outputs]
    if signature.task == "regression":
        return {names[0]: scores} if scores.ndim == 1 else {name: scores[:, at] for at, name in enumerate(names)}
    labels = labels_of(signature, scores) if own is None else own
    if signature.task == "binary":
        return {names[0]: scores, names[1]: labels}
    return {**{name: scores[:, code] for code, name in enumerate(names[:-1])}, names[-1]: labels}


def labels_of(signature: Signature, scores: Scores) -> list[str]:
    """The class that each row's scores choose; none for a regression."""
    if signature.task == "regression":
        return []
    chosen = scores >= signature.threshold if signature.task == "binary" else scores.argmax(axis=1)
    return [signature.classes[code] for code in chosen.astype(np.intp).tolist()]


def open_bundle(folder: Path, trust: Trust | None = None, signature: Path | None = None) -> Predictor:
    """Open a bundle folder for predictions. Damaged if the bytes of a file are not those that were packaged.

    Its signature lies beside the folder unless `signature` names the file.

    Where `trust` names keys: NotFound if the bundle is not signed, Refused if by none of them, or if what is read here
    is not what was signed. Refused for a model that is code, unless `trust` allows it.
    """
    trust = trust or Trust()
    signed = signed_by(folder, trust.keys, signature) if trust.keys else None
    manifest = read_manifest(folder, signed)
    refuse_code(manifest, trust, folder)
    files = {name: _read(folder, name, digest) for name, digest in manifest.files.items()}
    if signed is not None:
        for name, data in files.items():
            signed.require(name, data, repr(str(folder)))
    return Predictor(manifest, files, allow_code=trust.allow_code)


def opened_manifest(folder: Path, trust: Trust, signature: Path | None = None) -> BundleManifest:
    """The manifest of a bundle folder, as far as it is trusted; see `open_bundle`."""
    return read_manifest(folder, signed_by(folder, trust.keys, signature) if trust.keys else None)


def _read(folder: Path, name: str, digest: Digest) -> bytes:
    file = inside(folder, name)
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise Damaged(f"bundle {str(folder)!r} has lost its {name}") from error
    found = digest_bytes(data)
    if found != digest:
        raise Damaged(f"{str(folder / name)!r} should have digest {short(digest)} but has {short(found)}")
    return data
