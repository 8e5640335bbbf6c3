"""Which neural networks are exported rightly, by which exporter, and how long a row takes.

    tests/frameworks/install-frameworks torch
    build/torch/bin/python benchmarks/compiling/networks.py torch
    KERAS_BACKEND=torch build/torch/bin/python benchmarks/compiling/networks.py keras
    build/tensorflow/bin/python benchmarks/compiling/networks.py keras

Each run adds its lines to `networks.json`; `page.py` shows them. Weights are those that a seed gives, rows are normal,
every network answers three classes, and the proof is that of `boucle.bundle`.
"""

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = Path(__file__).resolve().parent
KEPT = HERE / "networks.json"
CLASSES = ["a", "b", "c"]
SHAPES = {
    "dense": (20,),
    "dense, normed": (20,),
    "convolution": (16, 16, 1),
    "LSTM": (12, 4),
    "GRU": (12, 4),
    "attention": (6, 8),
}
"""Networks and what a row of theirs is; PyTorch has channels first."""


def of_torch(name: str) -> tuple[Any, tuple[int, ...]]:
    """A module and the shape of a row."""
    import torch
    from torch import nn

    torch.manual_seed(1)

    class Recurrent(nn.Module):
        def __init__(self, kind: Any) -> None:
            super().__init__()
            self.memory, self.last = kind(4, 16, batch_first=True), nn.Linear(16, 3)

        def forward(self, x: Any) -> Any:
            return self.last(self.memory(x)[0][:, -1])

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.last = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 3)

        def forward(self, x: Any) -> Any:
            return self.last(self.layer(x).mean(dim=1))

    made: dict[str, Callable[[], Any]] = {
        "dense": lambda: nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 3)),
        "dense, normed": lambda: nn.Sequential(
            nn.BatchNorm1d(20), nn.Linear(20, 32), nn.LayerNorm(32), nn.GELU(), nn.Dropout(), nn.Linear(32, 3)
        ),
        "convolution": lambda: nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(512, 3),
        ),
        "LSTM": lambda: Recurrent(nn.LSTM),
        "GRU": lambda: Recurrent(nn.GRU),
        "attention": Attention,
    }
    shape = SHAPES[name]
    return made[name](), (1, 16, 16) if name == "convolution" else shape


def of_keras(name: str) -> tuple[Any, tuple[int, ...]]:
    """A model and the shape of a row."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    given = keras.Input(SHAPES[name])
    steps: dict[str, list[Any]] = {
        "dense": [layers.Dense(32, activation="relu")],
        "dense, normed": [
            layers.BatchNormalization(),
            layers.Dense(32),
            layers.LayerNormalization(),
            layers.Activation("gelu"),
            layers.Dropout(0.5),
        ],
        "convolution": [
            layers.Conv2D(8, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
        ],
        "LSTM": [layers.LSTM(16)],
        "GRU": [layers.GRU(16)],
        "attention": [lambda x: layers.MultiHeadAttention(2, 4)(x, x), layers.GlobalAveragePooling1D()],
    }
    hidden = given
    for step in steps[name]:
        hidden = step(hidden)
    return keras.Model(given, layers.Dense(3)(hidden)), SHAPES[name]


def best(ask: Callable[[], Any], times: int = 30) -> float:
    """Microseconds of the fastest of five rounds."""
    ask()
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(times):
            ask()
        rounds.append((time.perf_counter() - start) / times)
    return min(rounds) * 1e6


def judged(network: Any, rows: Any) -> dict[str, Any]:
    """What the proof says of one network, and how long a row takes."""
    from boucle.kernel.errors import BoucleError
    from boucle.packaging.bundle import Pipeline
    from boucle.packaging.networks.compile import compile_network

    try:
        made, _ = compile_network(network, rows, classes=CLASSES)
    except BoucleError as error:
        details = error.details or {}
        if "largest_difference" in details:
            return {"off": details["largest_difference"], "flips": details["label_flips"]}
        return {"cannot": type(error).__name__}
    (one,) = made.signature.inputs
    pipeline = Pipeline(made.signature, made.stages, made.files)
    row = rows[:1]
    return {
        "largest": made.parity.largest_difference,
        "flips": made.parity.label_flips,
        "rows": made.parity.held_out_rows + made.parity.generated_rows,
        "missing": one.nullable,
        "limit": one.limit,
        "framework_us": best(lambda: network.ask(row)),
        "bundle_us": best(lambda: pipeline.scores({one.name: row})),
    }


def main(kind: str) -> None:
    """Judge all networks of one kind, and keep what was found."""
    import numpy as np
    from msgspec.structs import replace

    from boucle.packaging.networks import torch_model
    from boucle.packaging.networks.network import network_of

    warnings.simplefilter("ignore")
    found = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    for name in SHAPES:
        model, shape = of_torch(name) if kind == "torch" else of_keras(name)
        rows = np.random.default_rng(3).normal(size=(100, *shape)).astype(np.float32)
        network = network_of(model)
        assert network is not None
        by = (
            "PyTorch"
            if kind == "torch"
            else "Keras on PyTorch"
            if network.exporter == "torch.onnx"
            else "Keras on TensorFlow"
        )
        found.setdefault(name, {}).setdefault(by, {})[network.exporter] = judged(network, rows)
        if kind == "torch":
            module = model.eval()

            def traced(given: Any, module: Any = module) -> bytes:
                import torch

                return torch_model._by_trace(module, torch.from_numpy(given))

            older = judged(replace(network, export=traced), rows)
            found[name][by]["torch.onnx, traced"] = older
        print(name, by, found[name][by], file=sys.stderr, flush=True)  # noqa: T201 # progress
    KEPT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
