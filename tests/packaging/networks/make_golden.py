"""Writes `golden/`: a module of PyTorch as torch.onnx exported it, for tests without PyTorch.

tests/frameworks/install-frameworks torch && build/torch/bin/python tests/packaging/networks/make_golden.py
"""

from pathlib import Path

import numpy as np
import onnx

FOLDER = Path(__file__).parent / "golden"


def main() -> None:
    """Two layers over four numbers, seeded, three values out."""
    import torch
    from torch import nn

    torch.manual_seed(4)
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    program = torch.onnx.export(
        module, (torch.randn(2, 2, 2),), dynamo=True, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), verbose=False
    )
    model = program.model_proto
    for node in model.graph.node:  # paths of this machine
        kept = [one for one in node.metadata_props if "stack_trace" not in one.key]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    FOLDER.mkdir(exist_ok=True)
    onnx.save(model, str(FOLDER / "torch.onnx"))
    weights = {name.replace(".", "_"): value.numpy() for name, value in module.state_dict().items()}
    np.savez(FOLDER / "weights.npz", **weights)


if __name__ == "__main__":
    main()
