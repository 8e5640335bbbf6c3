"""Requests that no client of MLflow sends: no JSON, wrong types, missing fields, odd methods and paths."""

# ruff: noqa: E501 - a request a line
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

# The routes that take a JSON body, each with a body that is right; `{exp}` and `{run}` stand for what was made before.
BODIES: dict[str, dict[str, Any]] = {
    "experiments/create": {"name": "raw made"},
    "experiments/search": {"max_results": 10},
    "experiments/update": {"experiment_id": "{exp}", "new_name": "raw renamed"},
    "experiments/set-experiment-tag": {"experiment_id": "{exp}", "key": "k", "value": "v"},
    "experiments/delete-experiment-tag": {"experiment_id": "{exp}", "key": "k"},
    "runs/create": {"experiment_id": "{exp}", "start_time": 5, "tags": [{"key": "a", "value": "b"}]},
    "runs/update": {"run_id": "{run}", "status": "RUNNING", "end_time": 7},
    "runs/search": {"experiment_ids": ["{exp}"], "filter": "", "max_results": 5, "order_by": []},
    "runs/log-metric": {"run_id": "{run}", "key": "m", "value": 1.5, "timestamp": 1, "step": 0},
    "runs/log-parameter": {"run_id": "{run}", "key": "p", "value": "1"},
    "runs/set-tag": {"run_id": "{run}", "key": "t", "value": "1"},
    "runs/delete-tag": {"run_id": "{run}", "key": "t"},
    "runs/log-batch": {
        "run_id": "{run}",
        "metrics": [{"key": "b", "value": 1, "timestamp": 1, "step": 1}],
        "params": [{"key": "q", "value": "1"}],
        "tags": [{"key": "u", "value": "1"}],
    },
    "runs/log-inputs": {
        "run_id": "{run}",
        "datasets": [{"dataset": {"name": "d", "digest": "x", "source_type": "local", "source": "{}"}, "tags": []}],
    },
    "logged-models": {"experiment_id": "{exp}", "name": "lm"},
    "logged-models/search": {"experiment_ids": ["{exp}"]},
    "registered-models/create": {"name": "raw model"},
    "registered-models/set-tag": {"name": "raw model", "key": "k", "value": "v"},
    "registered-models/get-latest-versions": {"name": "raw model"},
    "registered-models/rename": {"name": "raw model", "new_name": "raw model 2"},
    "model-versions/create": {"name": "raw model 2", "source": "mlflow-artifacts:/{exp}/{run}/artifacts/x", "run_id": "{run}"},
    "registered-models/alias": {"name": "raw model 2", "alias": "a", "version": "1"},
    "model-versions/set-tag": {"name": "raw model 2", "version": "1", "key": "k", "value": "v"},
    "model-versions/transition-stage": {"name": "raw model 2", "version": "1", "stage": "Staging", "archive_existing_versions": False},
}  # fmt: skip
WRONG: list[Any] = [{"a": 1}, 5, True, ["x"]]

# Others by name: method, path, body, headers.
ODD: list[tuple[str, str, str, bytes | dict[str, Any] | None]] = [
    ("no such route", "GET", "/api/2.0/mlflow/nothing", None),
    ("no such root", "GET", "/nothing", None),
    ("wrong method", "GET", "/api/2.0/mlflow/runs/create", None),
    ("wrong method 2", "DELETE", "/api/2.0/mlflow/runs/get?run_id={run}", None),
    ("wrong method 3", "POST", "/api/2.0/mlflow/runs/get", {"run_id": "{run}"}),
    ("odd method", "BREW", "/api/2.0/mlflow/runs/get?run_id={run}", None),
    ("head", "HEAD", "/api/2.0/mlflow/runs/get?run_id={run}", None),
    ("ajax", "GET", "/ajax-api/2.0/mlflow/runs/get?run_id={run}", None),
    ("ajax search", "POST", "/ajax-api/2.0/mlflow/runs/search", {"experiment_ids": ["{exp}"]}),
    ("3.0 route", "GET", "/api/3.0/mlflow/runs/get?run_id={run}", None),
    ("health", "GET", "/health", None),
    ("version", "GET", "/version", None),
    ("health post", "POST", "/health", {}),
    ("trailing slash", "GET", "/api/2.0/mlflow/runs/get/?run_id={run}", None),
    ("double slash", "GET", "/api/2.0//mlflow/runs/get?run_id={run}", None),
    ("capital path", "GET", "/API/2.0/mlflow/runs/get?run_id={run}", None),
    ("encoded path", "GET", "/api/2.0/mlflow/runs%2Fget?run_id={run}", None),
    ("encoded letter", "GET", "/api/2.0/mlflow/%72uns/get?run_id={run}", None),
    ("get without run", "GET", "/api/2.0/mlflow/runs/get", None),
    ("get an empty run", "GET", "/api/2.0/mlflow/runs/get?run_id=", None),
    ("get by run_uuid", "GET", "/api/2.0/mlflow/runs/get?run_uuid={run}", None),
    ("get twice", "GET", "/api/2.0/mlflow/runs/get?run_id={run}&run_id=x", None),
    ("unknown argument", "GET", "/api/2.0/mlflow/runs/get?run_id={run}&foo=bar", None),
    ("get experiment by GET", "GET", "/api/2.0/mlflow/experiments/get?experiment_id={exp}", None),
    ("search experiments by GET", "GET", "/api/2.0/mlflow/experiments/search?max_results=3", None),
    ("search experiments without a limit", "POST", "/api/2.0/mlflow/experiments/search", {}),
    ("search by GET, bad number", "GET", "/api/2.0/mlflow/experiments/search?max_results=x", None),
    ("search by GET, view", "GET", "/api/2.0/mlflow/experiments/search?max_results=3&view_type=ALL", None),
    ("search by GET, odd view", "GET", "/api/2.0/mlflow/experiments/search?max_results=3&view_type=FOO", None),
    ("runs by a text number", "POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": ["{exp}"], "max_results": "5"}),
    ("runs by a float", "POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": ["{exp}"], "max_results": 5.5}),
    ("runs by a whole float", "POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": ["{exp}"], "max_results": 5.0}),
    ("runs by number ids", "POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": [0]}),
    ("runs view", "POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": ["{exp}"], "run_view_type": "ALL"}),
    ("runs view as number", "POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": ["{exp}"], "run_view_type": 3}),
    ("runs odd view", "POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": ["{exp}"], "run_view_type": "FOO"}),
    ("runs null filter", "POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": ["{exp}"], "filter": None}),
    ("run with a text time", "POST", "/api/2.0/mlflow/runs/create", {"experiment_id": "{exp}", "start_time": "123"}),
    ("run with an odd time", "POST", "/api/2.0/mlflow/runs/create", {"experiment_id": "{exp}", "start_time": "x"}),
    ("run without experiment", "POST", "/api/2.0/mlflow/runs/create", {}),
    ("run with number id", "POST", "/api/2.0/mlflow/runs/create", {"experiment_id": 0}),
    ("run with huge time", "POST", "/api/2.0/mlflow/runs/create", {"experiment_id": "{exp}", "start_time": 2**63}),
    ("metric NaN", "POST", "/api/2.0/mlflow/runs/log-metric", b'{"run_id":"{run}","key":"n1","value":"NaN","timestamp":1}'),
    ("metric bare NaN", "POST", "/api/2.0/mlflow/runs/log-metric", b'{"run_id":"{run}","key":"n2","value":NaN,"timestamp":1}'),
    ("metric Infinity", "POST", "/api/2.0/mlflow/runs/log-metric", b'{"run_id":"{run}","key":"n3","value":"-Infinity","timestamp":1}'),
    ("metric 1e400", "POST", "/api/2.0/mlflow/runs/log-metric", b'{"run_id":"{run}","key":"n4","value":1e400,"timestamp":1}'),
    ("metric of text digits", "POST", "/api/2.0/mlflow/runs/log-metric", b'{"run_id":"{run}","key":"n5","value":"1.5","timestamp":"7","step":"3"}'),
    ("metric of odd text", "POST", "/api/2.0/mlflow/runs/log-metric", b'{"run_id":"{run}","key":"n6","value":"x","timestamp":1}'),
    ("metric null", "POST", "/api/2.0/mlflow/runs/log-metric", b'{"run_id":"{run}","key":"n7","value":null,"timestamp":1}'),
    ("metric true", "POST", "/api/2.0/mlflow/runs/log-metric", b'{"run_id":"{run}","key":"n8","value":true,"timestamp":1}'),
    ("metric without time", "POST", "/api/2.0/mlflow/runs/log-metric", b'{"run_id":"{run}","key":"n9","value":1}'),
    ("metric without run", "POST", "/api/2.0/mlflow/runs/log-metric", b'{"key":"n9","value":1,"timestamp":1}'),
    ("metric huge time", "POST", "/api/2.0/mlflow/runs/log-metric", b'{"run_id":"{run}","key":"n10","value":1,"timestamp":99999999999999999999}'),
    ("metric time 1e3", "POST", "/api/2.0/mlflow/runs/log-metric", b'{"run_id":"{run}","key":"n11","value":1,"timestamp":1e3}'),
    ("metric negative time", "POST", "/api/2.0/mlflow/runs/log-metric", b'{"run_id":"{run}","key":"n12","value":1,"timestamp":-5}'),
    ("metric by run_uuid", "POST", "/api/2.0/mlflow/runs/log-metric", b'{"run_uuid":"{run}","key":"n13","value":1,"timestamp":1}'),
    ("metric twice a field", "POST", "/api/2.0/mlflow/runs/log-metric", b'{"run_id":"x","run_id":"{run}","key":"n14","value":1,"timestamp":1}'),
    ("camel case", "POST", "/api/2.0/mlflow/runs/log-metric", b'{"runId":"{run}","key":"n15","value":1,"timestamp":1}'),
    ("history", "GET", "/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key=m", None),
    ("history without a key", "GET", "/api/2.0/mlflow/metrics/get-history?run_id={run}", None),
    ("history page", "GET", "/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key=m&max_results=1", None),
    ("history bad page", "GET", "/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key=m&max_results=1&page_token=zzz", None),
    ("history bad limit", "GET", "/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key=m&max_results=-1", None),
    ("history 0", "GET", "/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key=m&max_results=0", None),
    ("interval", "GET", "/api/2.0/mlflow/metrics/get-history-bulk-interval?run_ids={run}&metric_key=m&max_results=10", None),
    ("interval steps", "GET", "/api/2.0/mlflow/metrics/get-history-bulk-interval?run_ids={run}&metric_key=m&start_step=0&end_step=5", None),
    ("interval backwards", "GET", "/api/2.0/mlflow/metrics/get-history-bulk-interval?run_ids={run}&metric_key=m&start_step=5&end_step=0", None),
    ("interval without run", "GET", "/api/2.0/mlflow/metrics/get-history-bulk-interval?metric_key=m", None),
    ("interval too many", "GET", "/api/2.0/mlflow/metrics/get-history-bulk-interval?run_ids={run}&metric_key=m&max_results=9999", None),
    ("interval by ajax", "GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?run_ids={run}&metric_key=m", None),
    ("bulk history", "GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk?run_id={run}&metric_key=m", None),
    ("search data sets", "POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", {"experiment_ids": ["{exp}"]}),
    ("search data sets of none", "POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", {"experiment_ids": []}),
    ("artifacts", "GET", "/api/2.0/mlflow/artifacts/list?run_id={run}", None),
    ("artifacts odd", "GET", "/api/2.0/mlflow/artifacts/list?run_id={run}&path=../..", None),
    ("artifacts of none", "GET", f"/api/2.0/mlflow/artifacts/list?run_id={'0' * 32}", None),
    ("upload", "PUT", "/api/2.0/mlflow-artifacts/artifacts/{exp}/{run}/artifacts/raw.txt", b"raw"),
    ("upload nothing", "PUT", "/api/2.0/mlflow-artifacts/artifacts/{exp}/{run}/artifacts/none.txt", b""),
    ("download", "GET", "/api/2.0/mlflow-artifacts/artifacts/{exp}/{run}/artifacts/raw.txt", None),
    ("download none", "GET", "/api/2.0/mlflow-artifacts/artifacts/{exp}/{run}/artifacts/never.txt", None),
    ("download a folder", "GET", "/api/2.0/mlflow-artifacts/artifacts/{exp}/{run}/artifacts", None),
    ("list", "GET", "/api/2.0/mlflow-artifacts/artifacts?path={exp}/{run}/artifacts", None),
    ("list odd", "GET", "/api/2.0/mlflow-artifacts/artifacts?path=../..", None),
    ("list absolute", "GET", "/api/2.0/mlflow-artifacts/artifacts?path=/etc", None),
    ("list by ajax", "GET", "/ajax-api/2.0/mlflow-artifacts/artifacts?path={exp}/{run}/artifacts", None),
    ("upload up", "PUT", "/api/2.0/mlflow-artifacts/artifacts/{exp}/{run}/artifacts/../../../x", b"x"),
    ("upload up encoded", "PUT", "/api/2.0/mlflow-artifacts/artifacts/{exp}/{run}/artifacts/..%2f..%2fx", b"x"),
    ("upload up twice encoded", "PUT", "/api/2.0/mlflow-artifacts/artifacts/{exp}/{run}/artifacts/%252e%252e/x", b"x"),
    ("upload encoded dots", "PUT", "/api/2.0/mlflow-artifacts/artifacts/{exp}/{run}/artifacts/%2e%2e/x", b"x"),
    ("upload backslash", "PUT", "/api/2.0/mlflow-artifacts/artifacts/{exp}/{run}/artifacts/..%5cx", b"x"),
    ("upload absolute", "PUT", "/api/2.0/mlflow-artifacts/artifacts//etc/x", b"x"),
    ("upload NUL", "PUT", "/api/2.0/mlflow-artifacts/artifacts/{exp}/{run}/artifacts/a%00b", b"x"),
    ("upload newline", "PUT", "/api/2.0/mlflow-artifacts/artifacts/{exp}/{run}/artifacts/a%0ab", b"x"),
    ("delete artifact", "DELETE", "/api/2.0/mlflow-artifacts/artifacts/{exp}/{run}/artifacts/raw.txt", None),
    ("delete artifact again", "DELETE", "/api/2.0/mlflow-artifacts/artifacts/{exp}/{run}/artifacts/raw.txt", None),
    ("delete up", "DELETE", "/api/2.0/mlflow-artifacts/artifacts/../x", None),
    ("get model", "GET", "/api/2.0/mlflow/registered-models/get?name=raw%20model%202", None),
    ("get model plus", "GET", "/api/2.0/mlflow/registered-models/get?name=raw+model+2", None),
    ("get model nothing", "GET", "/api/2.0/mlflow/registered-models/get", None),
    ("search models", "GET", "/api/2.0/mlflow/registered-models/search?max_results=5", None),
    ("search versions", "GET", "/api/2.0/mlflow/model-versions/search?filter=name%3D%27raw%20model%202%27", None),
    ("search versions bad", "GET", "/api/2.0/mlflow/model-versions/search?filter=zzz", None),
    ("version by alias", "GET", "/api/2.0/mlflow/registered-models/alias?name=raw%20model%202&alias=a", None),
    ("version by no alias", "GET", "/api/2.0/mlflow/registered-models/alias?name=raw%20model%202", None),
    ("latest by GET", "GET", "/api/2.0/mlflow/registered-models/get-latest-versions?name=raw%20model%202", None),
    ("update model", "PATCH", "/api/2.0/mlflow/registered-models/update", {"name": "raw model 2", "description": "d"}),
    ("update version", "PATCH", "/api/2.0/mlflow/model-versions/update", {"name": "raw model 2", "version": "1", "description": "d"}),
    ("delete tag by body", "DELETE", "/api/2.0/mlflow/registered-models/delete-tag", {"name": "raw model 2", "key": "k"}),
    ("delete alias by body", "DELETE", "/api/2.0/mlflow/registered-models/alias", {"name": "raw model 2", "alias": "a"}),
    ("delete version", "DELETE", "/api/2.0/mlflow/model-versions/delete", {"name": "raw model 2", "version": "1"}),
    ("delete model", "DELETE", "/api/2.0/mlflow/registered-models/delete", {"name": "raw model 2"}),
    ("get logged model none", "GET", f"/api/2.0/mlflow/logged-models/m-{'0' * 32}", None),
    ("get logged model odd", "GET", "/api/2.0/mlflow/logged-models/..%2f..", None),
    ("presigned up", "POST", "/api/2.0/mlflow/artifacts/presigned-upload-url", {"run_id": "{run}", "path": "a.txt"}),
    ("presigned down", "GET", "/api/2.0/mlflow-artifacts/presigned/{exp}/{run}/artifacts/none.txt", None),
    ("mpu create", "POST", "/api/2.0/mlflow-artifacts/mpu/create/{exp}/{run}/artifacts", {"path": "a.bin", "num_parts": 2}),
    ("empty name", "POST", "/api/2.0/mlflow/experiments/create", {"name": ""}),
    ("name of a number", "POST", "/api/2.0/mlflow/experiments/create", {"name": 5}),
    ("name of null", "POST", "/api/2.0/mlflow/experiments/create", {"name": None}),
    ("name with NUL", "POST", "/api/2.0/mlflow/experiments/create", {"name": "a\x00b"}),
    ("lone surrogate", "POST", "/api/2.0/mlflow/experiments/create", b'{"name": "a\\ud800b"}'),
    ("not UTF-8", "POST", "/api/2.0/mlflow/experiments/create", b'{"name": "\xff\xfe"}'),
    ("deep", "POST", "/api/2.0/mlflow/runs/search", b"[" * 5000 + b"]" * 5000),
    ("deep object", "POST", "/api/2.0/mlflow/runs/search", b'{"a":' * 5000 + b"1" + b"}" * 5000),
    ("only white space", "POST", "/api/2.0/mlflow/runs/search", b"   "),
    ("a word", "POST", "/api/2.0/mlflow/runs/search", b"null"),
    ("a byte order mark", "POST", "/api/2.0/mlflow/runs/search", b'\xef\xbb\xbf{"experiment_ids": ["0"]}'),
    ("two documents", "POST", "/api/2.0/mlflow/runs/search", b'{"experiment_ids": ["0"]} {}'),
    ("delete experiment", "POST", "/api/2.0/mlflow/experiments/delete", {"experiment_id": "{exp}"}),
    ("restore experiment", "POST", "/api/2.0/mlflow/experiments/restore", {"experiment_id": "{exp}"}),
]  # fmt: skip


def asked(url: str) -> dict[str, dict[str, Any]]:
    """Status, `error_code` and names of the answer's fields for every request here."""
    made = _send(url, "POST", "/api/2.0/mlflow/experiments/create", b'{"name": "raw"}')[1]["experiment_id"]
    body = json.dumps({"experiment_id": made, "start_time": 1}).encode()
    run = _send(url, "POST", "/api/2.0/mlflow/runs/create", body)[1]["run"]["info"]["run_id"]
    seen: dict[str, dict[str, Any]] = {}
    for name, method, path, sent in _requests():
        filled = {key: value.replace(b"{exp}", made.encode()).replace(b"{run}", run.encode()) for key, value in (("path", path.encode()), ("body", sent))}  # fmt: skip
        status, answer = _send(url, method, filled["path"].decode(), filled["body"])
        assert name not in seen, name
        seen[name] = {"status": status}
        if isinstance(answer, dict):
            seen[name] |= {"error_code": answer.get("error_code")} if status >= 400 else {"fields": sorted(answer)}
    return seen


def _requests() -> Iterator[tuple[str, str, str, bytes]]:
    for route, right in BODIES.items():
        path = f"/api/2.0/mlflow/{route}"
        yield f"{route}: right", "POST", path, _json(right)
        yield (
            f"{route}: an unknown field",
            "POST",
            path,
            _json({**right, "unknown": {"x": [1]}, "name2": 1} | _again(route)),
        )
        for what, body in {
            "no body": b"",
            "not JSON": b"{nope",
            "a list": b"[1]",
            "a number": b"5",
            "nothing in it": b"{}",
        }.items():
            yield f"{route}: {what}", "POST", path, body
        for field in right:
            for wrong in WRONG:
                if type(wrong) is not type(right[field]) and field != "archive_existing_versions":
                    yield f"{route}: {field} {wrong}", "POST", path, _json({**right, field: wrong})
    for name, method, path, sent in ODD:
        yield name, method, path, sent if isinstance(sent, bytes) else b"" if sent is None else _json(sent)


def _again(route: str) -> dict[str, Any]:
    """What makes a second request of a route that takes a name only once succeed."""
    return {"experiments/create": {"name": "raw made 2"}, "registered-models/create": {"name": "raw model 3"}, "registered-models/rename": {"name": "raw model 3", "new_name": "raw model 4"}}.get(route, {})  # fmt: skip


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _send(url: str, method: str, path: str, body: bytes) -> tuple[int, Any]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
    try:
        headers = {"Content-Type": "application/json"} if body or method == "POST" else {}
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        text = response.read()
    finally:
        connection.close()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, None
