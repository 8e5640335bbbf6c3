"""Autologging of PyTorch, by Lightning. Needs the larger environment: `install-mlflow torch`."""

# ruff: noqa: E501 - a call a line, so that the scenes read as tables
# fmt: off
import logging
import warnings

import lightning
import torch

import mlflow
from mlflow import MlflowClient


class Line(lightning.LightningModule):
    """A straight line."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch, _number):
        loss = torch.nn.functional.mse_loss(self(batch[0]), batch[1])
        self.log("train_loss", loss, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def play(see):
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(7)
    client = MlflowClient()
    exp = see.mask(mlflow.set_experiment("torch").experiment_id, "exp")
    mlflow.pytorch.autolog(silent=True)
    data = torch.utils.data.TensorDataset(torch.randn(32, 2), torch.randn(32, 1))
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    trainer = lightning.Trainer(max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    see("fit", lambda: trainer.fit(Line(), loader))
    mlflow.pytorch.autolog(disable=True)
    (run,) = client.search_runs([exp])
    see("run", lambda: [run.info.status, sorted(run.data.params), sorted(run.data.metrics), sorted(f.path for f in client.list_artifacts(run.info.run_id))])
    see("history", lambda: len(client.get_metric_history(run.info.run_id, "train_loss")))
    models = client.get_run(run.info.run_id).outputs.model_outputs
    see("models", lambda: [client.get_logged_model(one.model_id).name for one in models])
    for name, address in {"by id": f"models:/{models[0].model_id}", "by run": f"runs:/{run.info.run_id}/model"}.items():
        see(f"loaded {name}", lambda address=address: list(mlflow.pytorch.load_model(address)(torch.zeros(1, 2)).shape))
    model = torch.nn.Linear(2, 1)
    with mlflow.start_run():
        info = mlflow.pytorch.log_model(model, name="plain", serialization_format="pickle", pip_requirements=["torch"])
    see("plain", lambda: list(mlflow.pytorch.load_model(info.model_uri)(torch.zeros(1, 2)).shape))
    with mlflow.start_run() as run:
        mlflow.pytorch.log_state_dict(model.state_dict(), "state")
    see("state", lambda: sorted(mlflow.pytorch.load_state_dict(f"runs:/{run.info.run_id}/state")))
