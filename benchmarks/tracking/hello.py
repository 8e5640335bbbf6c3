"""The least a server of this kind can do: Granian, RSGI, an answer that is always the same. `python hello.py PORT`"""

import json
import sys

from granian import Granian
from granian.constants import Interfaces

INFO = {"run_id": "a" * 32, "run_uuid": "a" * 32, "experiment_id": "1", "user_id": "ann", "status": "RUNNING"}
INFO |= {
    "start_time": 1,
    "lifecycle_stage": "active",
    "run_name": "one",
    "artifact_uri": "mlflow-artifacts:/1/a/artifacts",
}
EXPERIMENT = {"experiment_id": "1", "name": "bench client", "lifecycle_stage": "active"}
ANSWERS = {
    "runs/create": {"run": {"info": INFO, "data": {}, "inputs": {}}},
    "runs/update": {"run_info": INFO},
    "experiments/get-by-name": {"experiment": {**EXPERIMENT, "artifact_location": "mlflow-artifacts:/1"}},
}
"""What MLflow's client needs to go on; whatever else it calls is answered `{}`."""
BODIES = {f"/api/2.0/mlflow/{path}": json.dumps(answer).encode() for path, answer in ANSWERS.items()}


async def app(scope, protocol):
    """Read the body, answer."""
    await protocol()
    protocol.response_bytes(200, [("content-type", "application/json")], BODIES.get(scope.path, b"{}"))


if __name__ == "__main__":
    Granian("hello:app", "127.0.0.1", int(sys.argv[1]), interface=Interfaces.RSGI, log_enabled=False).serve()
