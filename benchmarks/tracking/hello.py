"""The least a server of this kind can do: Granian, RSGI, answers that are ready. `python hello.py PORT [FILE]`

With a file it also does what no durable write can do without: it writes three pages into the file, as the write-ahead
log of a database would for one point of a metric, and has them synced before it answers.
"""

import json
import os
import sys
from urllib.parse import parse_qs

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
HISTORY = "/api/2.0/mlflow/metrics/get-history"
PAGE, PAGES = 25_000, 4
BODIES = {f"/api/2.0/mlflow/{path}": json.dumps(answer).encode() for path, answer in ANSWERS.items()}
HEADERS = [("content-type", "application/json")]
FRAMES, FRAME = 900, b"\0" * 4120


def page(number: int) -> bytes:
    """A page of the history that `work.long_run` logs."""
    steps = range(number * PAGE, (number + 1) * PAGE)
    points = [{"key": "m", "value": step % 97 / 7, "timestamp": step, "step": step} for step in steps]
    token = {"next_page_token": str(number + 1)} if number + 1 < PAGES else {}
    return json.dumps({"metrics": points, **token}, separators=(",", ":")).encode()


HISTORIES = [page(number) for number in range(PAGES)]


class App:
    """Answers at once, or once what it wrote is on the disk."""

    def __init__(self, file: str | None) -> None:
        self.at = 0
        self.file = None
        if file is not None:
            self.file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self.file, FRAME * FRAMES, 0)  # a log that has its blocks is quicker to sync than one that grows
            os.fsync(self.file)

    async def __call__(self, scope, protocol):
        """Read the body, answer."""
        await protocol()
        if scope.path == HISTORY:
            token = parse_qs(scope.query_string).get("page_token", ["0"])[0]
            protocol.response_bytes(200, HEADERS, HISTORIES[int(token)])
            return
        if self.file is not None and scope.method == "POST":
            for _ in range(3):
                os.pwrite(self.file, FRAME, self.at * len(FRAME))
                self.at = (self.at + 1) % FRAMES
            os.fdatasync(self.file)
        protocol.response_bytes(200, HEADERS, BODIES.get(scope.path, b"{}"))


app = App(os.environ.get("HELLO_FILE"))

if __name__ == "__main__":
    if len(sys.argv) > 2:
        os.environ["HELLO_FILE"] = sys.argv[2]  # the worker, another process, makes the app
    Granian("hello:app", "127.0.0.1", int(sys.argv[1]), interface=Interfaces.RSGI, log_enabled=False).serve()
