"""Whatever is sent to whatever door: an answer with an error code, never 5xx; nothing outside the home is touched."""

# ruff: noqa: E501 - samples on a line
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from held_ports import free_port
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import raw, servers
from .asking import Answer, Asker

pytestmark = pytest.mark.slow

SOME = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MANY = settings(SOME, max_examples=5000)
ODD_TEXT = st.sampled_from(
    ["", " ", "\x00", "a\x00b", "\n", "../..", "..%2f", "/etc/passwd", "\\", "\ud800", "é", "😀", "x" * 9000, "' OR 1=1 --", "%", "{}", "1e400", "NaN", "-1", "0x10", "٣", "runs://[x/y", "s3://[a"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | ODD_TEXT
    | st.sampled_from([2**31, 2**63 - 1, 2**63, -(2**63) - 1, 2**200, 1e308, -0.0, 5e-324]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"])
GETS = [
    "runs/get?run_id=", "experiments/get?experiment_id=", "experiments/get-by-name?experiment_name=", "metrics/get-history?metric_key=m&run_id=", "metrics/get-history?run_id={run}&metric_key=", "metrics/get-history?run_id={run}&metric_key=m&page_token=", "metrics/get-history?run_id={run}&metric_key=m&max_results=",
    "metrics/get-history-bulk-interval?metric_key=m&run_ids=", "metrics/get-history-bulk-interval?run_ids={run}&metric_key=m&start_step=", "metrics/get-history-bulk-interval?run_ids={run}&metric_key=m&max_results=", "artifacts/list?run_id={run}&path=", "artifacts/list?run_id={run}&page_token=", "registered-models/get?name=", "registered-models/search?filter=", "registered-models/search?page_token=", "registered-models/search?max_results=", "registered-models/search?order_by=",
    "model-versions/get?name=fuzz&version=", "model-versions/get-download-uri?name=fuzz&version=", "model-versions/search?filter=", "model-versions/search?page_token=", "model-versions/search?order_by=", "registered-models/alias?name=fuzz&alias=", "logged-models/", "experiments/search?max_results=5&filter=", "experiments/search?max_results=5&order_by=", "experiments/search?max_results=5&page_token=",
]  # fmt: skip
SEGMENTS = st.lists(
    st.sampled_from(
        ["..", ".", "", "%2e%2e", "%2E.", "..%2f", "%2f", "%5c", "..%5c", "%00", "%0a", "%252e%252e", "%c0%ae", "a", "artifacts", "0", "{run}", "etc", "passwd", "~", "C:", "%ff", "a" * 300, "con", ";", "%3f", "models", "versions", "mlflow", "api", "2.0"]
    ),
    max_size=8,
)  # fmt: skip


class Target:
    """A server with one run in it, and what lies beside its home."""

    def __init__(self, folder: Path, ask: Asker) -> None:
        self.folder = folder
        self.ask = ask
        self.run = str(ask.mlflow("POST", "runs/create", {"experiment_id": "0"}).body["run"]["info"]["run_id"])
        ask.mlflow("POST", "registered-models/create", {"name": "fuzz"})
        ask.mlflow("POST", "runs/log-metric", {"run_id": self.run, "key": "m", "value": 1, "timestamp": 1})
        (folder / "secret.txt").write_text("secret")
        self.beside = self.lying()

    def lying(self) -> set[str]:
        """What lies in the folder of the home."""
        return {path.name for path in self.folder.iterdir()}

    def filled(self, value: Any) -> Any:
        """With the real ids."""
        return json.loads(json.dumps(value).replace("{run}", self.run).replace("{exp}", "0"))

    def holds(self, answer: Answer) -> None:
        """The promise, for one answer."""
        assert answer.status < 500 or answer.status == 501, answer
        assert answer.body != b"secret"
        if answer.status >= 400 and answer.body != b"":  # HEAD has no body
            assert set(answer.body) >= {"error_code", "message"}, answer
            assert isinstance(answer.body["error_code"], str)
        assert self.lying() == self.beside


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder, port = tmp_path_factory.mktemp("fuzz"), free_port()
    with servers.running(servers.boucle_command(folder, port), port, folder) as server:
        ask = Asker(server.url)
        yield Target(folder, ask)
        assert ask("GET", "/health").status == 200
        ask.close()


def a_field_is_wrong(target: Target, data: st.DataObject) -> None:
    route = data.draw(st.sampled_from(sorted(raw.BODIES)))
    body = target.filled(raw.BODIES[route])
    for _ in range(data.draw(st.integers(1, 2))):
        body[data.draw(st.sampled_from([*body, "extra"]))] = data.draw(VALUES)
    target.holds(target.ask.mlflow("POST", route, body))


def any_bytes(target: Target, data: st.DataObject) -> None:
    route = data.draw(st.sampled_from(sorted(raw.BODIES)))
    right = json.dumps(target.filled(raw.BODIES[route])).encode()
    cut = data.draw(st.integers(0, len(right)))
    target.holds(target.ask.mlflow("POST", route, right[:cut] + data.draw(st.binary(max_size=20)) + right[cut:]))


def any_query(target: Target, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(GETS)).replace("{run}", target.run)
    text = data.draw(ODD_TEXT | st.text(max_size=30))
    target.holds(target.ask.mlflow("GET", path + quote(text, safe="", errors="surrogatepass")))


def any_filter(target: Target, data: st.DataObject) -> None:
    words = st.sampled_from(
        ["metrics", "params", "tags", ".", "acc", "=", "!=", ">", "<=", "LIKE", "ILIKE", "IN", "NOT", "IS", "NULL", "AND", "OR", "'x'", '"y"', "`z`", "1", "1e999", "-", "(", ")", ",", ";", "status", "start_time", "dataset.name", "run_id", "'", "--", "%", "\x00", "name", "version_number"]
    )  # fmt: skip
    text = data.draw(st.sampled_from([" ", ""])).join(data.draw(st.lists(words, max_size=12)))
    order = data.draw(st.lists(st.lists(words, max_size=3).map(" ".join), max_size=2))
    body = {"experiment_ids": ["0"], "filter": text, "order_by": order, "max_results": 5}
    for route in ("runs/search", "experiments/search"):
        target.holds(target.ask.mlflow("POST", route, body))
    for route in ("registered-models", "model-versions"):
        target.holds(target.ask.mlflow("GET", f"{route}/search?filter={quote(text, safe='')}"))
    models = {**body, "order_by": [{"field_name": one} for one in order]}
    target.holds(target.ask.mlflow("POST", "logged-models/search", models))


def any_path(target: Target, data: st.DataObject) -> None:
    begin = data.draw(st.sampled_from(["/api/2.0/mlflow-artifacts/artifacts/", "/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/", "/api/2.0/mlflow/", "/api/2.0/mlflow/logged-models/", "/ajax-api/2.0/mlflow/", "/p/"]))  # fmt: skip
    path = (begin + "/".join(data.draw(SEGMENTS))).replace("{run}", target.run)
    # Bodies only where they are meant, or the connection would be out of step.
    method = data.draw(METHODS)
    answer = target.ask(method, path, b"{}" if method in ("POST", "PUT", "PATCH") else None)
    if begin.startswith("/api") or begin.startswith("/ajax"):
        target.holds(answer)
    assert answer.status < 500 or answer.status == 501, answer


TRIES = [a_field_is_wrong, any_bytes, any_query, any_filter, any_path]


@pytest.mark.parametrize("sends", TRIES, ids=lambda sends: sends.__name__)
def test_no_door_breaks(target: Target, sends: Any) -> None:
    SOME(given(data=st.data())(lambda data: sends(target, data)))()


@pytest.mark.long
@pytest.mark.parametrize("sends", TRIES, ids=lambda sends: sends.__name__)
def test_no_door_breaks_however_often_it_is_tried(target: Target, sends: Any) -> None:
    MANY(given(data=st.data())(lambda data: sends(target, data)))()
