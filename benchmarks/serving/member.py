"""Serving: Boucle, MLflow's scoring server, BentoML, MLServer and a bare endpoint in one run, asked by one program."""

import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from environments import BUILD, environment, surroundings, version

HERE = Path(__file__).parent
LOAD = HERE.parent / "tracking" / "load.c"
TITLE = "Serving: one row a request"
ABOUT = """Each server has one worker and answers for a random forest (200 trees, 20 columns) and for a logistic
pipeline (scaled numbers, one-hot texts), fitted from the same rows. Boucle validates, logs and counts every request;
the others do none of it. MLflow's scoring server and BentoML (`bento.py`) ask the model as it was fitted, and so does
MLServer's scikit-learn runtime, which answers the label alone. All but MLflow's are sent the same body. The bare
endpoint (`bare.py`: Granian's RSGI and ONNX Runtime) only parses it, and is the limit of this design. Load is made by a
program in C on the same cores. A ratio says how many times better Boucle is than MLflow."""
MODELS = {"forest": "forest", "pipeline": "logistic pipeline"}
CONNECTIONS = (1, 16, 64)
FIGURES = {"rps": ("answers", "1/s", "more"), "p50": ("median", "ms", "less"), "p99": ("99th percentile", "ms", "less")}
CASES = {
    "start": ("start to ready, forest", "s", "less"),
    "memory": ("resident memory of all its processes, forest, after the load", "MiB", "less"),
    "arrow": ("10,000 rows by Arrow IPC, forest", "ms", "less"),
    "cpu": ("processor time a request, forest, 64 connections", "us", "less"),
    **{
        f"{model} {connections} {figure}": (f"{words}, {connections} at once: {name}", unit, better)
        for model, words in MODELS.items()
        for connections in CONNECTIONS
        for figure, (name, unit, better) in FIGURES.items()
    },
}
PEERS = {
    "boucle": ("Boucle", [".[all]", "pandas"], "."),
    "mlflow": ("MLflow", ["mlflow==3.17.2", "scikit-learn==1.9.1"], "mlflow==3.17.2"),
    "bentoml": (
        "BentoML",
        ["bentoml>=1.4,<2", "scikit-learn==1.9.1", "pandas", "joblib"],
        "bentoml",
    ),
    "mlserver": (
        "MLServer",
        ["mlserver>=1.6,<2", "mlserver-sklearn>=1.6,<2", "scikit-learn", "pandas", "joblib"],
        "mlserver",
    ),
    "bare": (
        "bare endpoint",
        ["granian==2.8.7", "onnxruntime==1.32.0", "msgspec", "numpy", "pandas", "skl2onnx", "scikit-learn==1.9.1"],
        "granian==2.8.7",
    ),
}
READY = {"mlflow": "/ping", "bentoml": "/readyz", "boucle": "/v2/health/ready", "bare": "/v2/health/ready"}
ARROW = "application/vnd.apache.arrow.stream"
BATCHES = 20
ROUNDS = 2
SECONDS = 1.5
PATIENCE_S = 120.0


def measure(rounds: int = ROUNDS, seconds: float = SECONDS) -> dict[str, object]:
    """Every case; the peers take turns in each round."""
    folder = BUILD / "serving"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    load = folder / "load"
    subprocess.run(["gcc", "-O2", "-o", load, LOAD], check=True)
    programs = {peer: environment(f"serving-{peer}", needs) for peer, (_, needs, _) in PEERS.items()}
    for peer, path in programs.items():
        subprocess.run([path / "python", HERE / "models.py", peer, folder / peer], env=surroundings(path), check=True)
    shutil.copy(folder / "boucle" / "forest" / "model.onnx", folder / "bare" / "forest.onnx")
    values: dict[str, dict[str, list[float]]] = {peer: defaultdict(list) for peer in PEERS}
    for _ in range(rounds):
        for model in MODELS:
            for peer in PEERS:
                with running(peer, programs[peer], folder / peer, model) as server:
                    _ask(server, peer, model, load, folder / peer, seconds, values[peer])
                    if (peer, model) == ("boucle", "forest"):
                        values[peer]["arrow"].append(_batches_ms(server[0], folder / peer / "batch.arrow"))
                sys.stderr.write(f"{peer}, {model}: done\n")
        values["bare"]["arrow"].append(_in_process_ms(programs["bare"], folder / "bare" / "forest.onnx"))
    return {
        "title": TITLE,
        "about": ABOUT,
        "cases": {key: dict(zip(("name", "unit", "better"), case, strict=True)) for key, case in CASES.items()},
        "peers": {
            peer: {"name": name, "version": version(programs[peer], told), "values": dict(values[peer])}
            for peer, (name, _, told) in PEERS.items()
        },
    }


def _ask(
    server: tuple[int, int, float], peer: str, model: str, load: Path, folder: Path, seconds: float, values: dict
) -> None:
    port, group, started_s = server
    body = (folder / f"{model}.body").read_bytes()
    path = {"mlflow": "/invocations", "bentoml": "/infer"}.get(peer, f"/v2/models/{model}/infer")
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    request = folder / "request"
    request.write_bytes(head.encode() + b"\r\n\r\n" + body)
    subprocess.run([load, str(port), "4", "0.5", request], check=True, capture_output=True)
    for connections in CONNECTIONS:
        before = _cpu_s(group)
        done = subprocess.run(
            [load, str(port), str(connections), str(seconds), request], check=True, capture_output=True, text=True
        )
        found = json.loads(done.stdout)
        if found["errors"]:
            raise SystemExit(f"{peer} answered {found['errors']} of {found['requests']} requests with an error")
        values[f"{model} {connections} rps"].append(found["requests"] / found["seconds"])
        for figure in ("p50", "p99"):
            values[f"{model} {connections} {figure}"].append(found[f"{figure}_us"] / 1000)
    if model == "forest":
        values["start"].append(started_s)
        values["cpu"].append((_cpu_s(group) - before) / found["requests"] * 1e6)
        values["memory"].append(sum(_status(one, "VmRSS") for one in _members(group)) / 1024)


def _batches_ms(port: int, file: Path) -> float:
    """How long a batch takes by one connection, the median of some."""
    body, took = file.read_bytes(), []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(BATCHES):
        began = time.perf_counter()
        connection.request("POST", "/arrow/models/forest/predict", body, {"Content-Type": ARROW})
        answer = connection.getresponse()
        answer.read()
        took.append((time.perf_counter() - began) * 1000)
        if answer.status != 200:
            raise SystemExit(f"a batch by Arrow IPC was answered {answer.status}")
    connection.close()
    return statistics.median(took)


def _in_process_ms(programs: Path, model: Path) -> float:
    """The same rows by ONNX Runtime alone."""
    command = [programs / "python", HERE / "in_process.py", model, str(BATCHES)]
    done = subprocess.run(command, env=surroundings(programs), check=True, capture_output=True, text=True)
    return float(done.stdout)


def _command(peer: str, programs: Path, folder: Path, model: str, port: int) -> list[str]:
    if peer == "boucle":
        return [str(programs / "boucle"), "serve", str(folder / model), "--port", str(port)]
    if peer == "mlflow":
        words = ["models", "serve", "-m", str(folder / model), "-p", str(port), "--env-manager", "local", "-w", "1"]
        return [str(programs / "mlflow"), *words]
    if peer == "bentoml":
        return [str(programs / "bentoml"), "serve", "bento:Bench", "--port", str(port), "--host", "127.0.0.1"]
    if peer == "mlserver":
        return [str(programs / "mlserver"), "start", str(folder / model)]
    return [str(programs / "python"), "bare.py", str(folder / f"{model}.onnx"), str(port)]


@contextmanager
def running(peer: str, programs: Path, folder: Path, model: str) -> Iterator[tuple[int, int, float]]:
    """A server from when it is ready until the end of the block: its port, process group, and seconds to ready."""
    port = _free_port()
    around = {
        **surroundings(programs),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "BENTOML_DO_NOT_TRACK": "true",
        "BENTOML_HOME": str(folder),
        "BENCH_MODEL": str(folder / model / "model.joblib"),
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_HTTP_PORT": str(port),
        "MLSERVER_GRPC_PORT": str(_free_port()),
        "MLSERVER_METRICS_PORT": str(_free_port()),
        "MLSERVER_PARALLEL_WORKERS": "0",
        "MLSERVER_DEBUG": "false",
    }
    began = time.perf_counter()
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            _command(peer, programs, folder, model, port),
            cwd=HERE if peer in ("bare", "bentoml") else folder,
            env=around,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}" + READY.get(peer, f"/v2/models/{model}/ready")
        while not _healthy(url):
            if process.poll() is not None or time.perf_counter() - began > PATIENCE_S:
                raise SystemExit(f"{peer} did not start:\n{(folder / 'server.log').read_text()[-3000:]}")
            time.sleep(0.002)
        yield port, process.pid, time.perf_counter() - began
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _members(server: int) -> list[int]:
    """A server's processes, also those that it started in groups of their own."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    found = [server]
    for one in found:  # which grows meanwhile
        found += [child for child, parent in parents.items() if parent == one]
    return found


def _cpu_s(group: int) -> float:
    ticks = 0
    for pid in _members(group):
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _status(pid: int, name: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0
