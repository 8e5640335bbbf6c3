"""What MLflow's unmodified client does, timed: `client.py ROUNDS CALLS RUNS URI=RUN_ID...` prints lists as JSON.

For each server: single calls a second, runs of 22 calls a second, seconds for the whole history of a run's metric `m`.

The servers take turns in each round, in one process: what else the machine does meets all of them.
"""

import json
import os
import sys
import time

os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"})

import mlflow


def single(calls: int) -> float:
    """Metrics a second, one a call."""
    with mlflow.start_run():
        for step in range(5):
            mlflow.log_metric("warm", 0.5, step=step)
        began = time.perf_counter()
        for step in range(calls):
            mlflow.log_metric("loss", 0.5, step=step)
        return calls / (time.perf_counter() - began)


def whole(runs: int) -> float:
    """Runs a second: one call to make each, one to end it, twenty between."""
    began = time.perf_counter()
    for number in range(runs):
        with mlflow.start_run(run_name=f"bench {number}"):
            for one in range(10):
                mlflow.log_param(f"p{one}", one)
                mlflow.log_metric(f"m{one}", one)
    return runs / (time.perf_counter() - began)


def history(run_id: str) -> float:
    """Seconds until the client has all points as its own objects."""
    began = time.perf_counter()
    found = mlflow.MlflowClient().get_metric_history(run_id, "m")
    took = time.perf_counter() - began
    if len(found) != 100_000:
        raise SystemExit(f"{len(found)} of 100000 points were found")
    return took


rounds, calls, runs = map(int, sys.argv[1:4])
servers = [one.split("=") for one in sys.argv[4:]]
told = [{"calls": [], "runs": [], "history": []} for _ in servers]
for _ in range(rounds):
    for (uri, run_id), into in zip(servers, told, strict=True):
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment("bench client")
        into["calls"].append(single(calls))
        into["runs"].append(whole(runs))
        into["history"].append(history(run_id))
sys.stdout.write(json.dumps(told))
