"""System metrics, and what Boucle leaves out: traces, prompts, evaluation data sets. The client must not break."""

# ruff: noqa: E501 - a call a line, so that the scenes read as tables
# fmt: off
import os

import mlflow
from mlflow import MlflowClient


def play(see):
    client = MlflowClient()
    exp = see.mask(mlflow.set_experiment("beyond").experiment_id, "exp")
    mlflow.set_system_metrics_sampling_interval(0.05)
    mlflow.set_system_metrics_samples_before_logging(2)
    os.environ["MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"] = "0.05"
    with mlflow.start_run(log_system_metrics=True) as run:
        import time

        deadline = time.monotonic() + 20
        while "system/cpu_utilization_percentage" not in client.get_run(run.info.run_id).data.metrics and time.monotonic() < deadline:
            time.sleep(0.05)
    see.note("system metrics", sorted(name for name in client.get_run(run.info.run_id).data.metrics if name.startswith("system/")))

    @mlflow.trace
    def work(x):
        return x + 1

    see("traced function", work, 1)
    see("flush", mlflow.flush_trace_async_logging)
    see("search traces", lambda: len(mlflow.search_traces(locations=[exp], return_type="list")) <= 1)
    see("get trace", lambda: mlflow.get_trace("tr-" + "0" * 32))
    see("delete traces", lambda: client.delete_traces(exp, trace_ids=["tr-" + "0" * 32]))
    with mlflow.start_run():
        see("traced within a run", lambda: [work(2), mlflow.log_metric("m", 1)][0])
    see("prompt", lambda: mlflow.genai.register_prompt("greeting", "Hello {{name}}", tags={"a": "b"}).version)
    see("prompt again", lambda: mlflow.genai.register_prompt("greeting", "Hi {{name}}").version)
    see("load prompt", lambda: mlflow.genai.load_prompt("prompts:/greeting/1").template)
    see("prompt alias", lambda: mlflow.genai.set_prompt_alias("greeting", "best", 2))
    see("load by alias", lambda: mlflow.genai.load_prompt("prompts:/greeting@best").template)
    see("search prompts", lambda: [p.name for p in mlflow.genai.search_prompts("name = 'greeting'")])
    see("no such prompt", lambda: mlflow.genai.load_prompt("prompts:/never/1"))
    see("a prompt is no model", lambda: client.get_registered_model("greeting").name)
    see("models without prompts", lambda: "greeting" in [m.name for m in client.search_registered_models()])
    see("data set of genai", lambda: bool(mlflow.genai.datasets.create_dataset("d", experiment_id=exp).dataset_id))
    see("webhooks", lambda: len(client.list_webhooks()))
    see("work goes on", lambda: client.get_run(run.info.run_id).info.status)
