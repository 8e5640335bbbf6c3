"""Run where PyTorch is: trains small models on real data, makes bundles of them, and notes what they answer.

build/torch/bin/python tests/frameworks/torch_models.py FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    """A folder for each model, with `bundle` and `expected.npz`; what was refused is in `refused.json`."""
    import numpy as np
    import pandas as pd
    import torch
    from sklearn.datasets import load_breast_cancer, load_digits
    from torch import nn

    import boucle
    from boucle.kernel.errors import BoucleError

    torch.manual_seed(0)
    torch.set_num_threads(1)

    def fit(module: Any, rows: Any, targets: Any, loss: Any, steps: int = 150) -> Any:
        optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
        for _ in range(steps):
            chosen = torch.randint(0, len(rows), (128,))
            optimizer.zero_grad()
            loss(module(rows[chosen]), targets[chosen]).backward()
            optimizer.step()
        return module

    def keep(name: str, module: Any, sample: Any, rows: Any, **options: Any) -> None:
        # the module is left in training, as a script may leave it: it is in use that counts, and it stays as it was
        module.train()
        boucle.bundle(module, sample=sample, path=folder / name / "bundle", **options)
        assert module.training
        module.eval()
        with torch.no_grad():
            values = module(rows).numpy()
        np.savez(folder / name / "expected.npz", rows=rows.numpy(), values=values)

    # a table of thirty columns, two logits
    data = load_breast_cancer()
    table = pd.DataFrame(data.data, columns=[name.replace(" ", "_") for name in data.feature_names])
    rows, targets = torch.tensor(table.to_numpy(), dtype=torch.float32), torch.tensor(data.target)
    scaled = nn.Sequential(nn.BatchNorm1d(30), nn.Linear(30, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))
    fit(scaled, rows[:400], targets[:400], nn.CrossEntropyLoss())
    keep("table", scaled, table[400:], rows[400:], classes=["malignant", "benign"])
    same = boucle.bundle(scaled, sample=table[400:], path=folder / "again", classes=["malignant", "benign"])
    assert (same / "model.onnx").read_bytes() == (folder / "table" / "bundle" / "model.onnx").read_bytes()

    # images of digits
    digits = load_digits()
    images = torch.tensor(digits.images[:, None] / 16, dtype=torch.float32)

    class Digits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
            self.norm, self.drop, self.last = nn.BatchNorm2d(8), nn.Dropout(0.2), nn.Linear(64, 10)

        def forward(self, image: Any) -> Any:
            hidden = nn.functional.max_pool2d(torch.relu(self.norm(self.first(image))), 2)
            hidden = nn.functional.avg_pool2d(torch.relu(self.second(hidden)), 2)
            return self.last(self.drop(hidden.flatten(1)))

    network = fit(Digits(), images[:1400], torch.tensor(digits.target[:1400]), nn.CrossEntropyLoss())
    keep("digits", network, images[1400:1600], images[1600:], classes=[str(one) for one in range(10)])

    # series of three numbers, one value
    class Series(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory, self.last = nn.LSTM(3, 12, batch_first=True), nn.Linear(12, 1)

        def forward(self, series: Any) -> Any:
            return self.last(self.memory(series)[0][:, -1]).squeeze(1)

    series = torch.randn(400, 10, 3)
    model = fit(Series(), series, series[:, :, 0].mean(dim=1), nn.MSELoss(), steps=60)
    keep("series", model, series[:100].numpy(), series[100:200])

    # attention, several values, in float64
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.last = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 3)

        def forward(self, tokens: Any) -> Any:
            return self.last(self.layer(tokens).mean(dim=1))

    keep("attention", Attention().double(), torch.randn(40, 5, 8).double(), torch.randn(60, 5, 8).double())

    # what MLflow loads is such a module, and what is made of it MLflow loads
    import mlflow

    mlflow.pytorch.save_model(network.eval(), folder / "mlflow", serialization_format="pickle")
    keep("mlflow", mlflow.pytorch.load_model(folder / "mlflow"), images[1400:1600], images[1600:])
    loaded = mlflow.pyfunc.load_model(str(folder / "mlflow" / "bundle"))
    answered = loaded.predict(images[1600:].numpy())
    values = np.load(folder / "mlflow" / "expected.npz")["values"]
    assert np.abs(answered.to_numpy() - values).max() < 1e-4
    assert len(loaded.predict(loaded.input_example)) == 5

    class Beside(nn.Module):
        def forward(self, x: Any) -> Any:
            return (x - x.mean(dim=0)).sum(dim=1)

    class Chance(nn.Module):
        def forward(self, x: Any) -> Any:
            return (x + torch.rand_like(x)).sum(dim=1)

    class Two(nn.Module):
        def forward(self, x: Any) -> Any:
            return x[:, 0], x[:, 1]

    class Branch(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.sum(dim=1) if x.sum().item() > 0 else -x.sum(dim=1)

    refused: dict[str, str] = {}
    for module in (Beside(), Chance(), Two(), Branch(), nn.Linear(4, 1).half(), nn.Linear(5, 1)):
        try:
            boucle.bundle(module, sample=torch.randn(20, 4), path=folder / "refused")
        except BoucleError as error:
            refused[type(module).__name__ + ("" if len(refused) < 5 else " 2")] = f"{error.code}: {error.message}"
    (folder / "refused.json").write_text(json.dumps(refused))
    assert not (folder / "refused").exists()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
