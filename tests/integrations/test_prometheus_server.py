"""A real Prometheus scrapes `boucle up`, evaluates the exported rules and tells a real Alertmanager."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from boucle.integrations.grafana import dashboard
from boucle.project.yaml_file import read_project

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("prometheus-alertmanager") is None, reason="tests/install-prometheus brings it"),
]
PATIENCE_S = 180.0
TABLE = """\
import numpy as np
import polars as pl
from datetime import UTC, datetime, timedelta

def table():
    draw = np.random.default_rng(5)
    x = draw.normal(size=400)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    return pl.DataFrame({
        "id": [f"o{n}" for n in range(400)],
        "at": [start + timedelta(hours=n) for n in range(400)],
        "x": x,
        "late": (draw.random(400) < 1 / (1 + np.exp(-4 * x))).astype(int),
    })
"""
PROJECT = """\
project: orders
data: {{source: "table.py:table", target: late, key: id, time: at, features: {{numeric: [x]}}}}
objectives:
  - {{metric: auc_roc, at_least: 0.55}}
  - {{metric: availability, at_least: 0.995}}
  - {{metric: error_rate, at_most: 0.01}}
  - {{metric: latency_p95_ms, at_most: 40}}
training: {{holdout_days: 4, params: {{max_iter: 6}}, search: {{trials: 1}}}}
evaluation: {{bootstrap: 20}}
monitoring: {{window: {{rows: 40}}, cost: {{per_hour: 1.0}}}}
serving: {{port: {port}}}
"""


def ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return found


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def get(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


def ask(port: int, number: int, column: str = "x") -> None:
    inputs = [
        {"name": column, "shape": [1], "datatype": "FP64", "data": [50.0 + number % 7]},
        {"name": "id", "shape": [1], "datatype": "BYTES", "data": [f"q{number}"]},
        {"name": "at", "shape": [1], "datatype": "BYTES", "data": ["2024-02-01T00:00:00Z"]},
    ]
    body = json.dumps({"inputs": inputs}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/models/orders/infer", body)
    with suppress(urllib.error.HTTPError):  # of a wrong question
        urllib.request.urlopen(request, timeout=10).read()


@contextmanager
def running(*words: str, cwd: Path) -> Iterator[None]:
    with (cwd / f"{Path(words[0]).name}.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=cwd, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


def test_a_burning_budget_and_a_drift_reach_a_real_alertmanager_through_a_real_prometheus(tmp_path: Path) -> None:
    control, serving, prometheus, alertmanager = ports(4)
    (tmp_path / "table.py").write_text(TABLE)
    (tmp_path / "boucle.yaml").write_text(PROJECT.format(port=serving))
    boucle = [sys.executable, "-m", "boucle"]

    def run(*words: str) -> None:
        subprocess.run([*boucle, *words], cwd=tmp_path, check=True, capture_output=True)

    run("run")
    run("export", "prometheus", "-o", "boucle.rules.yml")
    run("export", "scrape", "--control", f"127.0.0.1:{control}", "-o", "prometheus.yml")
    writer = YAML(typ="safe", pure=True)
    config = writer.load((tmp_path / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]}
    with (tmp_path / "prometheus.yml").open("w") as file:
        writer.dump(config, file)
    (tmp_path / "am.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    url = f"http://127.0.0.1:{prometheus}/api/v1"
    receiver = ["prometheus-alertmanager", "--config.file=am.yml", "--storage.path=am", "--cluster.listen-address="]
    scraper = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with (
        running(*boucle, "up", "--port", str(control), cwd=tmp_path),
        running(*receiver, f"--web.listen-address=127.0.0.1:{alertmanager}", cwd=tmp_path),
        running(*scraper, f"--web.listen-address=127.0.0.1:{prometheus}", cwd=tmp_path),
    ):
        wait_until(lambda: get(f"http://127.0.0.1:{serving}/v2/models/orders") is not None, "the endpoint answers")
        ask(serving, 0)
        ask(serving, 1, "wrong")  # so that Prometheus has seen both series before they grow
        wait_until(lambda: targets_up(url) == 2, "both servers are scraped")

        def told() -> bool:
            for number in range(2, 42):
                ask(serving, number, "x" if number % 4 else "wrong")
            alerts = get(f"http://127.0.0.1:{alertmanager}/api/v2/alerts") or []
            labels = [one["labels"] for one in alerts]
            burns = {one["slo"] for one in labels if one["alertname"] == "BoucleBudgetBurns"}
            words = [one["annotations"]["summary"] for one in alerts if one["labels"]["alertname"] == "BoucleDrift"]
            assert "availability" not in burns  # a wrong question is no fault of the server's
            return "error_rate" in burns and any("x drifted" in one for one in words)

        wait_until(told, "both alerts reach the Alertmanager")
        board, empty = dashboard(read_project(tmp_path / "boucle.yaml")), []
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                answer = get(f"{url}/query?{urllib.parse.urlencode({'query': target['expr']})}")
                assert answer is not None, target["expr"]
                assert answer["status"] == "success", target["expr"]
                if not answer["data"]["result"]:
                    empty.append(panel["title"])
        # No labels came, there is no GPU here, and the server has not kept a minute yet.
        assert set(empty) <= {"GPU", "Quality", "Budget left", "A thousand predictions cost", *burn_panels(board)}


def targets_up(url: str) -> int:
    answer = get(f"{url}/query?query=up") or {"data": {"result": []}}
    return sum(one["value"][1] == "1" for one in answer["data"]["result"])


def burn_panels(board: dict[str, Any]) -> set[str]:
    return {panel["title"] for panel in board["panels"] if "burn rate" in panel["title"]}
