"""SavedModels of TensorFlow kept as they are: a folder in one file, which is code.

Threat model: the operations of a SavedModel read and write files with the rights of whoever loads it. So, as for a
pickle (`boucle.packaging.code`), only a reader that was told to allow code imports this module, for a bundle that a
trusted key signed, and what is loaded are the very bytes that were compared with the signature.
"""

import io
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from boucle.kernel.errors import InvalidInput, Unavailable
from boucle.packaging.encode import Encoder, Values
from boucle.packaging.records import PostStage, SavedModelStage, Signature, Stage
from boucle.packaging.stages import Chain

MODEL: Final = "saved_model.zip"
INSTALL: Final = "pip install 'boucle[tensorflow]'"
SIGNATURE: Final = "serving_default"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def packed(folder: Path) -> bytes:
    """The files of a folder in one, the same bytes for the same files."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            archive.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH), path.read_bytes())
    return written.getvalue()


def unpacked(data: bytes) -> dict[str, bytes]:
    """The files of a folder by their names, of what was packed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


class SavedModel:
    """A SavedModel that is loaded from its files in one. TensorFlow says how many threads work on it."""

    def __init__(self, data: bytes) -> None:
        try:
            import tensorflow as tf
        except ModuleNotFoundError as error:
            raise Unavailable(
                "this bundle is a SavedModel, and TensorFlow is not installed here", hint=INSTALL
            ) from error
        self._tensorflow = tf
        self._folder = tempfile.TemporaryDirectory(prefix="boucle-")  # as long as the model, which may read its assets
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(self._folder.name)
        self._model = tf.saved_model.load(self._folder.name)  # its variables go with it
        self._function = self._model.signatures[SIGNATURE]
        (self._input,) = self._function.structured_input_signature[1]

    def values(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """What it answers, (n_rows, n_values). InvalidInput for rows that it refuses."""
        try:
            (values,) = self._function(**{self._input: self._tensorflow.constant(rows)}).values()
            return np.asarray(values.numpy(), dtype=np.float64).reshape(len(rows), -1)
        except Exception as error:  # whatever TensorFlow raises is its refusal
            said = (str(error) or repr(error)).splitlines()[0]
            raise InvalidInput(f"the model refuses these rows: {said}") from error


class SavedModelPipeline:
    """A kept SavedModel as a predictor asks it."""

    def __init__(self, signature: Signature, stages: Sequence[Stage], model: SavedModel) -> None:
        (self._kept,) = (one for one in stages if isinstance(one, SavedModelStage))
        self._encoder, self._model = Encoder(signature.inputs), model
        self._after = Chain([one for one in stages if isinstance(one, PostStage)], {})

    def scores(self, columns: Mapping[str, Values], _nthread: int = 1) -> NDArray[np.float64]:
        """Scores of raw rows. InvalidInput for rows that the model refuses."""
        encoded, kept = self._encoder.encode(columns), self._kept
        rows = encoded if len(encoded) else np.zeros((1, encoded.shape[1]))
        with np.errstate(over="ignore"):
            given = rows.astype(np.float64 if kept.double else np.float32).reshape(len(rows), *kept.shape)
        values = self._model.values(given)
        if kept.taken != "all":
            values = values[:, 1:] - (values[:, :1] if kept.taken == "difference" else 0.0)
        return self._after.scores(values)[: len(encoded)]
