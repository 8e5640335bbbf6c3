"""Names with control characters, which would forge what a terminal shows, are refused at every door."""

import pytest
from tests.protocols.mlflow.conftest import Doors

ODD = ["a\x1b[31mb", "first\nsecond", "bell\x07", "a\u2028b", "a\x85b"]


@pytest.mark.parametrize("odd", ODD)
def test_no_name_has_a_control_character(doors: Doors, odd: str) -> None:
    run_id = doors.run()["info"]["run_id"]
    number = doors.made("experiments/create", {"name": "plain"})["experiment_id"]
    named = {"run_id": run_id}
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "{}"}
    writes: list[tuple[str, dict[str, object]]] = [
        ("experiments/create", {"name": odd}),
        ("experiments/update", {"experiment_id": number, "new_name": odd}),
        ("experiments/set-experiment-tag", {"experiment_id": number, "key": odd, "value": "x"}),
        ("runs/create", {"run_name": odd}),
        ("runs/create", {"user_id": odd}),
        ("runs/create", {"tags": [{"key": "mlflow.runName", "value": odd}]}),
        ("runs/update", named | {"run_name": odd}),
        ("runs/set-tag", named | {"key": "mlflow.runName", "value": odd}),
        ("runs/set-tag", named | {"key": odd, "value": "x"}),
        ("runs/log-parameter", named | {"key": odd, "value": "x"}),
        ("runs/log-metric", named | {"key": odd, "value": 1, "timestamp": 1}),
        ("runs/log-inputs", named | {"datasets": [{"dataset": dataset | {"name": odd}}]}),
        ("runs/log-inputs", named | {"datasets": [{"dataset": dataset | {"digest": odd}}]}),
        ("runs/log-inputs", named | {"datasets": [{"dataset": dataset, "tags": [{"key": odd, "value": "x"}]}]}),
    ]
    for path, message in writes:
        status, answer = doors.post(path, message)
        assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), (path, message)
        assert odd not in answer["message"], path


def test_what_is_no_name_may_have_several_lines(doors: Doors) -> None:
    run_id = doors.run()["info"]["run_id"]
    doors.made("runs/set-tag", {"run_id": run_id, "key": "mlflow.note.content", "value": "first\nsecond\tx"})
    doors.made("runs/log-parameter", {"run_id": run_id, "key": "prompt", "value": "first\nsecond"})


def test_a_filter_is_not_repeated_whole(doors: Doors) -> None:
    for text in (
        f"nothing.{'x' * 9000} = 1",
        f"{'x' * 9000} = 1",
        f"metrics.a = '{'x' * 9000}'",
        f"metrics.{'x' * 9000} LIKE 1",
    ):
        status, answer = doors.post("runs/search", {"experiment_ids": ["0"], "filter": text})
        assert status == 400
        assert len(answer["message"]) < 800
    for text in ("metrics.acc > 1e400", f"metrics.acc > {'9' * 400}"):
        status, answer = doors.post("runs/search", {"experiment_ids": ["0"], "filter": text})
        assert status == 400, text
        assert "a number up to 1.7e308" in answer["message"]
