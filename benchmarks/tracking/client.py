"""What MLflow's unmodified client does, timed: `client.py URI CALLS RUNS` prints calls and runs a second as JSON."""

import json
import os
import sys
import time

os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"})

import mlflow

uri, calls, runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
mlflow.set_tracking_uri(uri)
mlflow.set_experiment("bench client")
with mlflow.start_run():
    for step in range(20):
        mlflow.log_metric("warm", 0.5, step=step)
    began = time.perf_counter()
    for step in range(calls):
        mlflow.log_metric("loss", 0.5, step=step)
    single = calls / (time.perf_counter() - began)
began = time.perf_counter()
for number in range(runs):
    with mlflow.start_run(run_name=f"bench {number}"):  # one call to make it, one to end it, twenty between
        for one in range(10):
            mlflow.log_param(f"p{one}", one)
            mlflow.log_metric(f"m{one}", one)
sys.stdout.write(json.dumps({"calls": single, "runs": runs / (time.perf_counter() - began)}))
