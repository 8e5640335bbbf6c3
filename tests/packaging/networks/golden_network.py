"""A network as torch.onnx exported it once (see `make_golden.py`), and by numpy: known to the last bits."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boucle.kernel.digests import digest_bytes
from boucle.packaging.bundle import Predictor
from boucle.packaging.compile import Compiled
from boucle.packaging.manifest import FORMAT
from boucle.packaging.networks.compile import compile_network
from boucle.packaging.networks.network import Network
from boucle.packaging.records import BundleManifest
from boucle.packaging.write import write_folder

GOLDEN = Path(__file__).parent / "golden"
WRITTEN = (GOLDEN / "torch.onnx").read_bytes()
WEIGHTS = dict(np.load(GOLDEN / "weights.npz"))
ROWS = np.random.default_rng(2).normal(size=(48, 2, 2)).astype(np.float32)
Array = NDArray[Any]


def values_of(rows: Array) -> Array:
    """What the module computes, by numpy."""
    hidden = np.maximum(rows.reshape(len(rows), 4) @ WEIGHTS["1_weight"].T + WEIGHTS["1_bias"], 0)
    return np.asarray(hidden @ WEIGHTS["3_weight"].T + WEIGHTS["3_bias"])


NETWORK = Network(
    title="Sequential",
    framework="torch 2.13.0",
    ask=values_of,
    export=lambda _: WRITTEN,
    input_name="image",
    dtype=np.float32,
    exporter="torch.onnx",
)


def manifest_of(made: Compiled) -> BundleManifest:
    """The manifest of a bundle of it."""
    return BundleManifest(
        format=FORMAT,
        signature=made.signature,
        stages=made.stages,
        files={name: digest_bytes(data) for name, data in made.files.items()},
        parity=made.parity,
        params={},
        environment=[],
        python="3.11",
        framework=made.framework,
    )


def predictor(made: Compiled) -> Predictor:
    """What was compiled, opened."""
    return Predictor(manifest_of(made), made.files)


def write_bundle(folder: Path) -> Path:
    """The bundle folder of the network, which answers classes."""
    made, table = compile_network(NETWORK, ROWS, classes=["cat", "dog", "owl"])
    write_folder(folder, manifest_of(made), made.files, table)
    return folder
