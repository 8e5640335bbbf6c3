"""Runs as MLflow's clients know them: their life, what is logged to them, their history."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, select
from tests.protocols.mlflow.conftest import Doors

from boucle.kernel.engines import raw_of
from boucle.runs.tables import run_metrics

_INVALID = (400, "INVALID_PARAMETER_VALUE")
_ABSENT = (404, "RESOURCE_DOES_NOT_EXIST")


def _code(found: tuple[int, dict[str, Any]]) -> tuple[int, object]:
    return found[0], found[1].get("error_code")


def _tags(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}


def test_a_run_is_made_and_ends(doors: Doors) -> None:
    tags = [{"key": "mlflow.user", "value": "ada"}]
    run = doors.run(experiment_id="0", user_id="ada", run_name="first", start_time=1000, tags=tags)
    info = run["info"]
    assert info["run_id"] == info["run_uuid"]
    assert len(info["run_id"]) == 32
    assert info["artifact_uri"] == f"mlflow-artifacts:/0/{info['run_id']}/artifacts"
    expected = {"run_name": "first", "status": "RUNNING", "start_time": 1000, "lifecycle_stage": "active"}
    assert expected.items() <= info.items()
    assert "end_time" not in info
    assert _tags(run) == {"mlflow.user": "ada", "mlflow.runName": "first"}
    assert doors.seen(info["run_id"]) == run
    message = {"run_id": info["run_id"], "status": "FINISHED", "end_time": 2000}
    ended = doors.made("runs/update", message)["run_info"]
    assert (ended["status"], ended["end_time"]) == ("FINISHED", 2000)
    assert doors.made("runs/update", {"run_id": info["run_id"], "status": 5})["run_info"]["status"] == "KILLED"


def test_a_name_and_its_tag_are_one(doors: Doors) -> None:
    run_id = doors.run(tags=[{"key": "mlflow.runName", "value": "by tag"}])["info"]["run_id"]
    assert doors.seen(run_id)["info"]["run_name"] == "by tag"
    doors.made("runs/set-tag", {"run_id": run_id, "key": "mlflow.runName", "value": "again"})
    assert doors.seen(run_id)["info"]["run_name"] == "again"
    doors.made("runs/update", {"run_id": run_id, "run_name": "third"})
    assert _tags(doors.seen(run_id))["mlflow.runName"] == "third"
    doors.made("runs/set-tag", {"run_id": run_id, "key": "mlflow.runName", "value": ""})
    assert doors.seen(run_id)["info"]["run_name"] == "third"
    both = {"run_name": "a", "tags": [{"key": "mlflow.runName", "value": "b"}]}
    assert _code(doors.post("runs/create", both)) == _INVALID
    made_up = doors.run()
    assert made_up["info"]["run_name"] == _tags(made_up)["mlflow.runName"] != ""


def test_a_deleted_run_takes_nothing_until_it_is_restored(doors: Doors) -> None:
    run_id = doors.run()["info"]["run_id"]
    named = {"run_id": run_id}
    doors.made("runs/delete", named)
    assert doors.seen(run_id)["info"]["lifecycle_stage"] == "deleted"
    writes: list[tuple[str, dict[str, object]]] = [
        ("log-metric", {"key": "a", "value": 1, "timestamp": 1}),
        ("log-parameter", {"key": "a", "value": "1"}),
        ("set-tag", {"key": "a", "value": "1"}),
        ("delete-tag", {"key": "mlflow.runName"}),
        ("log-batch", {}),
        ("update", {"status": "FINISHED"}),
        ("log-inputs", {}),
    ]
    for path, fields in writes:
        assert _code(doors.post(f"runs/{path}", named | fields)) == _INVALID, path
    doors.made("runs/restore", named)
    for path, fields in writes:
        doors.made(f"runs/{path}", named | fields)


def test_metrics_have_a_newest_point_and_a_history(doors: Doors) -> None:
    run_id = doors.run()["info"]["run_id"]
    for value, step in ((0.5, 2), (0.7, 1), ("NaN", 3)):
        doors.made("runs/log-metric", {"run_uuid": run_id, "key": "a/b", "value": value, "timestamp": 5, "step": step})
    (newest,) = doors.seen(run_id)["data"]["metrics"]
    assert newest == {"key": "a/b", "value": "NaN", "timestamp": 5, "step": 3}
    found = doors.asked("metrics/get-history", run_id=run_id, metric_key="a/b")
    assert [(one["step"], one["value"]) for one in found["metrics"]] == [(1, 0.7), (2, 0.5), (3, "NaN")]
    assert "next_page_token" not in found
    assert doors.asked("metrics/get-history", run_id=run_id, metric_key="none") == {}


def test_infinities_are_the_largest_numbers(doors: Doors) -> None:
    run_id = doors.run()["info"]["run_id"]
    for key, value in (("up", "Infinity"), ("down", "-Infinity")):
        doors.made("runs/log-metric", {"run_id": run_id, "key": key, "value": value, "timestamp": 1})
    found = {one["key"]: one["value"] for one in doors.seen(run_id)["data"]["metrics"]}
    assert found == {"up": 1.7976931348623157e308, "down": -1.7976931348623157e308}


def test_a_history_comes_in_pages(doors: Doors) -> None:
    run_id = doors.run()["info"]["run_id"]
    metrics = [{"key": "a", "value": step / 10, "timestamp": step, "step": step} for step in range(10)]
    doors.made("runs/log-batch", {"run_id": run_id, "metrics": metrics})
    steps: list[int] = []
    token = ""
    for _ in range(4):
        page = doors.asked("metrics/get-history", run_id=run_id, metric_key="a", max_results=3, page_token=token)
        steps += [one["step"] for one in page["metrics"]]
        token = page.get("next_page_token", "")
    assert steps == list(range(10))
    assert token == ""
    for query in ({"max_results": 0}, {"max_results": "x"}, {"page_token": "x"}, {"page_token": "bnVsbA=="}):
        assert _code(doors.get("metrics/get-history", run_id=run_id, metric_key="a", **query)) == _INVALID


def test_a_page_that_was_made_ahead_has_what_was_logged_since(doors: Doors) -> None:
    """Whether the next page of a long history is made before it is asked for cannot be told from what is answered."""
    run_id = doors.run()["info"]["run_id"]
    moments = range(2, 12_000, 2)
    for first in range(0, len(moments), 1000):
        some = moments[first : first + 1000]
        metrics = [{"key": "a", "value": at / 7, "timestamp": at, "step": at} for at in some]
        doors.made("runs/log-batch", {"run_id": run_id, "metrics": metrics})

    def pages(between: Callable[[int], object]) -> list[int]:
        steps: list[int] = []
        token = ""
        for number in range(3):
            page = doors.asked("metrics/get-history", run_id=run_id, metric_key="a", max_results=2500, page_token=token)
            steps += [one["step"] for one in page["metrics"]]
            token = page.get("next_page_token", "")
            between(number)
        assert token == ""
        return steps

    def late(number: int) -> None:
        if number == 0:
            point = {"run_id": run_id, "key": "a", "value": 1, "timestamp": 9001, "step": 9001}
            doors.made("runs/log-metric", point)

    assert pages(lambda _: None) == list(moments)
    assert pages(late) == sorted([*moments, 9001])
    assert pages(lambda _: None) == sorted([*moments, 9001])


@pytest.mark.parametrize("limit", [3, 10, 20])
def test_a_history_is_ordered_by_moment_also_where_steps_go_back(doors: Doors, limit: int) -> None:
    run_id = doors.run()["info"]["run_id"]
    points = [(step * 3 % 10, 5 + step // 3) for step in range(10)]  # (step, moment): moments come in threes
    metrics = [{"key": "a", "value": step, "timestamp": moment, "step": step} for step, moment in points]
    doors.made("runs/log-batch", {"run_id": run_id, "metrics": metrics})
    found: list[tuple[int, int]] = []
    token = ""
    while True:
        page = doors.asked("metrics/get-history", run_id=run_id, metric_key="a", max_results=limit, page_token=token)
        found += [(one["step"], one["timestamp"]) for one in page["metrics"]]
        if not (token := page.get("next_page_token", "")):
            break
    assert found == sorted(points, key=lambda point: (point[1], point[0]))


def test_a_long_history_is_sampled_with_its_ends_and_extremes(doors: Doors) -> None:
    run_id = doors.run()["info"]["run_id"]
    values = [float(step % 50) for step in range(1000)]
    values[333], values[777] = 1e6, -1e6
    metrics = [{"key": "a", "value": value, "timestamp": 1, "step": step} for step, value in enumerate(values)]
    doors.made("runs/log-batch", {"run_id": run_id, "metrics": metrics})
    path, asked = "metrics/get-history-bulk-interval", {"run_ids": [run_id], "metric_key": "a"}
    found = doors.asked(path, **asked, max_results=20)["metrics"]
    assert len(found) == 20
    assert all(one["run_id"] == run_id for one in found)
    assert (found[0]["step"], found[-1]["step"]) == (0, 999)
    assert {1e6, -1e6} <= {one["value"] for one in found}
    some = doors.asked(path, **asked, start_step=10, end_step=14)["metrics"]
    assert [one["step"] for one in some] == [10, 11, 12, 13, 14]
    assert [one["step"] for one in doors.asked(path, **asked, max_results=1)["metrics"]] == [999]
    assert _code(doors.get(path, **asked, start_step=2)) == _INVALID
    assert _code(doors.get(path, **asked, start_step=2, end_step=1)) == _INVALID
    assert _code(doors.get(path, **asked, max_results=2501)) == _INVALID
    assert _code(doors.get(path, run_ids=[run_id] * 101, metric_key="a")) == _INVALID
    assert _code(doors.get(path, run_ids=["f" * 32], metric_key="a")) == _ABSENT
    bulk = doors.asked("metrics/get-history-bulk", run_id=[run_id], metric_key="a", max_results=5)["metrics"]
    assert [one["step"] for one in bulk] == [0, 1, 2, 3, 4]


def test_a_batch_is_all_or_nothing(doors: Doors) -> None:
    run_id = doors.run()["info"]["run_id"]
    good: dict[str, object] = {
        "run_id": run_id,
        "metrics": [{"key": "a", "value": 1, "timestamp": 1, "step": 1}],
        "params": [{"key": "p", "value": "1"}],
        "tags": [{"key": "t", "value": "1"}, {"key": "t", "value": "2"}],
    }
    for wrong in (
        {"params": [{"key": "p", "value": "1"}, {"key": "p", "value": "1"}]},
        {"metrics": [{"key": "a", "value": 1, "timestamp": 1}, {"key": "b", "timestamp": 1}]},
        {"metrics": [{"key": "a", "value": 1}]},
        {"metrics": [{"key": "a", "value": 1, "timestamp": -1}]},
        {"tags": [{"key": "", "value": "1"}]},
        {"metrics": [{"key": "a", "value": 1, "timestamp": 1}] * 1001},
        {"params": [{"key": f"p{at}", "value": "1"} for at in range(101)]},
        {"tags": [{"key": f"t{at}", "value": "1"} for at in range(101)]},
        {"metrics": [{"key": "a", "value": 1, "timestamp": 1}] * 950},
    ):
        many = [{"key": f"m{at}", "value": "1"} for at in range(60)]
        message = good | wrong if len(wrong.get("metrics", [])) != 950 else good | wrong | {"tags": many}
        assert _code(doors.post("runs/log-batch", message)) == _INVALID, str(wrong)[:80]
    assert "params" not in doors.seen(run_id)["data"]
    doors.made("runs/log-batch", good)
    doors.made("runs/log-batch", good)
    run = doors.seen(run_id)
    assert run["data"]["params"] == [{"key": "p", "value": "1"}]
    assert _tags(run)["t"] == "2"
    changed = doors.post("runs/log-batch", good | {"params": [{"key": "p", "value": "2"}]})
    assert _code(changed) == _INVALID
    assert "Changing param values is not allowed" in changed[1]["message"]
    large = doors.post("runs/log-batch", {"run_id": run_id, "tags": [{"key": "t", "value": "x" * 1_000_001}]})
    assert _code(large) == _INVALID
    assert "at most 1000000 bytes" in large[1]["message"]


def test_the_place_of_a_wrong_point_is_told(doors: Doors) -> None:
    run_id = doors.run()["info"]["run_id"]
    metrics = [{"key": "a", "value": 1, "timestamp": 1}, {"key": "a?", "value": 1, "timestamp": 1}]
    _, told = doors.post("runs/log-batch", {"run_id": run_id, "metrics": metrics})
    assert told["message"].startswith("metrics[1].key is 'a?'")


def test_long_values_are_cut_as_mlflow_cuts_them(doors: Doors) -> None:
    run_id = doors.run()["info"]["run_id"]
    doors.made("runs/log-parameter", {"run_id": run_id, "key": "p", "value": "v" * 7000})
    doors.made("runs/set-tag", {"run_id": run_id, "key": "t", "value": "v" * 9000})
    run = doors.seen(run_id)
    assert len(run["data"]["params"][0]["value"]) == 6000
    assert len(_tags(run)["t"]) == 8000


@pytest.mark.parametrize(
    "fields",
    [
        {"key": 3},
        {"key": ""},
        {"key": "a" * 251},
        {"key": "../a"},
        {"key": "/a"},
        {"key": "a//b"},
        {"key": "a\n"},
        {"key": "a\0"},
        {"key": "a?"},
        {"value": None},
        {"value": "many"},
        {"value": True},
        {"value": [1]},
        {"timestamp": -1},
        {"timestamp": 2**63},
        {"timestamp": 10**40},
        {"timestamp": 10**400},
        {"timestamp": -(10**400)},
        {"step": 10**400},
        {"timestamp": "soon"},
        {"step": 2**63},
        {"step": -(2**63) - 1},
        {"step": 1.5},
        {"run_id": ""},
        {"run_id": 5},
        {"model_id": 5},
    ],
)
def test_a_wrong_metric_is_an_error_of_the_client(doors: Doors, fields: dict[str, object]) -> None:
    run_id = doors.run()["info"]["run_id"]
    message = {"run_id": run_id, "key": "a", "value": 1.0, "timestamp": 1, "step": 0} | fields
    assert _code(doors.post("runs/log-metric", message)) == _INVALID


def test_a_number_of_any_size_is_an_error_of_the_client(doors: Doors) -> None:
    run_id = doors.run()["info"]["run_id"]
    for huge in (10**20, 10**400):
        assert _code(doors.post("runs/create", {"start_time": huge})) == _INVALID
        assert _code(doors.post("runs/update", {"run_id": run_id, "end_time": huge})) == _INVALID
        output = {"run_id": run_id, "models": [{"model_id": "m", "step": huge}]}
        assert _code(doors.post("runs/outputs", output)) == _INVALID
        for path in ("get-history-bulk", "get-history-bulk-interval"):
            asked = {"run_id": run_id, "run_ids": run_id, "metric_key": "a"}
            assert _code(doors.get(f"metrics/{path}", **asked, max_results=huge)) == _INVALID
        assert _code(doors.get("metrics/get-history", run_id=run_id, metric_key="a", max_results=-huge)) == _INVALID
        for path in ("runs/search", "experiments/search-datasets"):
            assert _code(doors.post(path, {"experiment_ids": [str(huge)[:40]]})) == _INVALID
    assert _code(doors.post("runs/search", {"experiment_ids": [str(n) for n in range(300_000)]})) == _INVALID
    assert (
        doors.made("runs/search", {"experiment_ids": [str(n) for n in range(10_000)], "filter": "metrics.a > 0"}) == {}
    )


@pytest.mark.parametrize("comparator", ["LIKE", "ILIKE"])
def test_a_pattern_that_is_too_long_is_an_error_of_the_client(doors: Doors, comparator: str) -> None:
    for pattern in ("%a" * 30_000, "*" * 20_000):
        asked = {"experiment_ids": ["0"], "filter": f"attributes.run_name {comparator} '{pattern}'"}
        assert _code(doors.post("runs/search", asked)) == _INVALID
    whole = {"experiment_ids": ["0"], "filter": f"attributes.run_name {comparator} '{'*' * 16_000}'"}
    assert doors.made("runs/search", whole) == {}


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b'{"value": 1e400}', b"[" * 90_000, b'{"a":' * 90_000])
def test_what_is_no_message_is_an_error_of_the_client(doors: Doors, raw: bytes) -> None:
    for path in ("log-metric", "log-parameter", "set-tag", "log-batch", "update", "delete", "log-inputs", "outputs"):
        assert _code(doors.post(f"runs/{path}", raw=raw)) == _INVALID, path


def test_what_is_not_there_is_told(doors: Doors) -> None:
    named = {"run_id": "f" * 32}
    assert _code(doors.get("runs/get", **named)) == _ABSENT
    assert _code(doors.get("runs/get", run_id="'; DROP TABLE runs; --")) == _ABSENT
    for path in ("delete", "restore", "update", "log-batch"):
        assert _code(doors.post(f"runs/{path}", named)) == _ABSENT
    run_id = doors.run()["info"]["run_id"]
    assert _code(doors.post("runs/delete-tag", {"run_id": run_id, "key": "none"})) == _ABSENT
    assert _code(doors.post("runs/create", {"experiment_id": "77"})) == _ABSENT
    assert _code(doors.post("runs/update", {"run_id": run_id, "status": "DONE"})) == _INVALID
    of_a_model = {"run_id": run_id, "key": "a", "value": 1, "timestamp": 1, "model_id": "m-none"}
    assert _code(doors.post("runs/log-metric", of_a_model)) == _ABSENT


def test_datasets_are_told_once_and_summed_up(doors: Doors) -> None:
    dataset = {"name": "iris", "digest": "abc", "source_type": "local", "source": "{}", "schema": "{}"}
    use = {"dataset": dataset, "tags": [{"key": "mlflow.data.context", "value": "training"}]}
    runs = [doors.run()["info"]["run_id"] for _ in range(2)]
    for run_id in [*runs, *runs]:
        doors.made("runs/log-inputs", {"run_id": run_id, "datasets": [use]})
    assert doors.seen(runs[0])["inputs"]["dataset_inputs"] == [use]
    found = doors.made("experiments/search-datasets", {"experiment_ids": ["0"]})
    summary = {"experiment_id": "0", "name": "iris", "digest": "abc", "context": "training"}
    assert found == {"dataset_summaries": [summary]}
    assert _code(doors.post("experiments/search-datasets", {"experiment_ids": []})) == _INVALID
    for wrong in ({"digest": "d" * 37}, {"name": ""}, {"name": "n" * 501}, {"source": "s" * 65_536}):
        message = {"run_id": runs[0], "datasets": [{"dataset": dataset | wrong}]}
        assert _code(doors.post("runs/log-inputs", message)) == _INVALID
    assert _code(doors.post("runs/log-inputs", {"run_id": runs[0], "datasets": [{}]})) == _INVALID


def test_models_of_older_clients_are_listed_in_a_tag(doors: Doors) -> None:
    run_id = doors.run()["info"]["run_id"]
    model = {"artifact_path": "model", "flavors": {}, "utc_time_created": "now", "run_id": run_id}
    for _ in range(2):
        doors.made("runs/log-model", {"run_id": run_id, "model_json": json.dumps(model)})
    assert json.loads(_tags(doors.seen(run_id))["mlflow.log-model.history"]) == [model, model]
    for text in ("", "{", "[]", "{}"):
        assert _code(doors.post("runs/log-model", {"run_id": run_id, "model_json": text})) == _INVALID


def test_a_tag_that_no_json_is_read_from_gives_way_to_the_models_of_older_clients(doors: Doors) -> None:
    run_id = doors.run()["info"]["run_id"]
    model = {"artifact_path": "model", "flavors": {}, "utc_time_created": "now", "run_id": run_id}
    for value in ("[" * 8000, "{", "5"):
        doors.made("runs/set-tag", {"run_id": run_id, "key": "mlflow.log-model.history", "value": value})
        doors.made("runs/log-model", {"run_id": run_id, "model_json": json.dumps(model)})
        assert json.loads(_tags(doors.seen(run_id))["mlflow.log-model.history"]) == [model]


@pytest.mark.parametrize("limit", [{}, {"max_results": 1_000_000}])
def test_a_history_of_too_many_points_for_one_answer_comes_in_pages(doors: Doors, limit: dict[str, int]) -> None:
    run_id = doors.run()["info"]["run_id"]
    doors.made("runs/log-metric", {"run_id": run_id, "key": "a", "value": 0, "timestamp": 0, "step": 0})

    def unit(conn: Connection) -> None:
        series = conn.execute(select(run_metrics.c.id)).scalar_one()
        rows = ((series, step, step, 0.5, False) for step in range(1, 250_010))
        raw_of(conn).executemany("INSERT INTO run_points VALUES (?, ?, ?, ?, ?)", rows)

    doors.store.write(unit)
    asked = {"run_id": run_id, "metric_key": "a", **limit}
    first = doors.asked("metrics/get-history", **asked)
    assert [one["step"] for one in first["metrics"]] == list(range(250_000))
    rest = doors.asked("metrics/get-history", **asked, page_token=first["next_page_token"])
    assert [one["step"] for one in rest["metrics"]] == list(range(250_000, 250_010))
    assert "next_page_token" not in rest


def test_a_history_without_a_limit_is_whole(doors: Doors) -> None:
    run_id = doors.run()["info"]["run_id"]
    for first in range(0, 26_000, 1000):
        metrics = [{"key": "a", "value": 1, "timestamp": 1, "step": first + step} for step in range(1000)]
        doors.made("runs/log-batch", {"run_id": run_id, "metrics": metrics})
    found = doors.asked("metrics/get-history", run_id=run_id, metric_key="a")
    assert len(found["metrics"]) == 26_000
    assert "next_page_token" not in found


def test_a_list_of_too_many_entries_is_refused(doors: Doors) -> None:
    run_id = doors.run(experiment_id="0")["info"]["run_id"]
    tags = [{"key": f"k{number}", "value": "v"} for number in range(1001)]
    data = [{"dataset": {"name": tag["key"], "digest": "d", "source_type": "local", "source": "s"}} for tag in tags]
    models = [{"model_id": tag["key"], "step": 0} for tag in tags]
    for path, field, body in (
        ("experiments/create", "tags", {"name": "e", "tags": tags}),
        ("runs/create", "tags", {"experiment_id": "0", "tags": tags}),
        ("runs/log-inputs", "datasets", {"run_id": run_id, "datasets": data}),
        ("runs/log-inputs", "models", {"run_id": run_id, "models": models}),
        ("runs/outputs", "models", {"run_id": run_id, "models": models}),
    ):
        status, answer = doors.post(path, body)
        assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert f"{field} has 1,001 entries; a request takes at most 1,000" in answer["message"]
    assert "inputs" not in doors.seen(run_id) or not doors.seen(run_id)["inputs"]
