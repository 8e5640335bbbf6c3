"""Data sets of runs, and metrics on them."""

# ruff: noqa: E501 - a call a line, so that the scenes read as tables
# fmt: off
import numpy as np
import pandas as pd
from mlflow.entities import DatasetInput, InputTag, LoggedModelInput, LoggedModelOutput, Metric

import mlflow
from mlflow import MlflowClient


def play(see):
    client = MlflowClient()
    exp = see.mask(mlflow.set_experiment("inputs").experiment_id, "exp")
    table = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, None], "c": ["x", "y", "z"]})
    frame = mlflow.data.from_pandas(table, source="s3://bucket/table.csv", name="table", targets="c")
    array = mlflow.data.from_numpy(np.arange(6).reshape(3, 2), source="http://example.org/array.npy", name="array")
    with mlflow.start_run(run_name="in") as run:
        see("log_input", mlflow.log_input, frame, context="training", tags={"part": "1"})
        see("log_input again", mlflow.log_input, frame, context="training")
        see("other context", mlflow.log_input, frame, context="validation")
        see("an array", mlflow.log_input, array)
        see("metric on it", mlflow.log_metric, "acc", 0.5, dataset=frame)
        see("metrics on it", mlflow.log_metrics, {"f1": 0.25, "auc": 0.75}, dataset=array, step=2)
    see("inputs", lambda: sorted([_input(one) for one in client.get_run(run.info.run_id).inputs.dataset_inputs], key=str))
    see("data", lambda: client.get_run(run.info.run_id).data.metrics)
    see("history", client.get_metric_history, run.info.run_id, "acc")
    see("source of it", lambda: mlflow.data.get_source(sorted(client.get_run(run.info.run_id).inputs.dataset_inputs, key=lambda d: d.dataset.name)[1]).to_dict())
    with mlflow.start_run(run_name="in 2") as other:
        mlflow.log_input(array, context="testing")
    see("log_inputs", client.log_inputs, other.info.run_id, [DatasetInput(frame._to_mlflow_entity(), [InputTag("mlflow.data.context", "by client")])])
    see("no inputs", client.log_inputs, other.info.run_id)
    see("inputs to none such", client.log_inputs, "0" * 32, [DatasetInput(frame._to_mlflow_entity(), [])])
    see("inputs 2", lambda: sorted([_input(one) for one in client.get_run(other.info.run_id).inputs.dataset_inputs], key=str))
    for text in ("dataset.name = 'table'", "dataset.name LIKE 'ta%'", "datasets.name ILIKE 'TA%'", "dataset.context = 'testing'", "dataset.context = 'training' AND dataset.name = 'table'",
                 "dataset.digest = 'none'", f"dataset.digest = '{frame.digest}'", "dataset.name IN ('table', 'x')", "dataset.name != 'table'", "dataset.context != 'testing'", "dataset.foo = 'x'", "dataset.name > 'x'"):
        see(f"runs {text}", lambda text=text: sorted(r.info.run_name for r in client.search_runs([exp], text)))
    model = mlflow.create_external_model(name="external", model_type="t", params={"p": "1"}, tags={"k": "v"})
    see("model inputs", client.log_inputs, other.info.run_id, None, [LoggedModelInput(model.model_id)])
    see("model outputs", client.log_outputs, other.info.run_id, [LoggedModelOutput(model.model_id, 3)])
    see("models of the run", lambda: [client.get_run(other.info.run_id).inputs.model_inputs, client.get_run(other.info.run_id).outputs])
    see("metric of a model", client.log_metric, other.info.run_id, "m", 0.5, model_id=model.model_id, dataset_name="table", dataset_digest=frame.digest)
    see("batch of a model", client.log_batch, other.info.run_id, [Metric("n", 0.25, 1, 7, model_id=model.model_id)])
    see("metrics of the model", lambda: sorted([_metric(one) for one in client.get_logged_model(model.model_id).metrics], key=str))


def _input(one):
    return [one.dataset, {tag.key: tag.value for tag in one.tags}]


def _metric(one):
    return [one.key, one.value, one.step, one.dataset_name, one.dataset_digest, bool(one.run_id)]
