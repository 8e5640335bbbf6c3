"""Searching as MLflow's clients do it; the grammar and its speed have their own tests beside `boucle.runs.search`."""

from typing import Any

from tests.protocols.mlflow.conftest import Doors

_INVALID = (400, "INVALID_PARAMETER_VALUE")


def _code(found: tuple[int, dict[str, Any]]) -> tuple[int, object]:
    return found[0], found[1].get("error_code")


def test_experiments_are_found_in_pages(doors: Doors) -> None:
    assert [one["name"] for one in doors.made("experiments/search", {})["experiments"]] == ["Default"]
    for name in ("deep", "wide", "tall"):
        doors.made("experiments/create", {"name": name})
    doors.made("experiments/delete", {"experiment_id": "3"})
    names, token = [], ""
    for _ in range(3):
        page = doors.made("experiments/search", {"max_results": 1, "order_by": ["name"], "page_token": token})
        names += [one["name"] for one in page["experiments"]]
        token = page.get("next_page_token", "")
    assert (names, token) == (["Default", "deep", "wide"], "")
    found = doors.asked("experiments/search", filter="name LIKE 't%'", view_type="DELETED_ONLY", max_results=5)
    assert [one["experiment_id"] for one in found["experiments"]] == ["3"]
    assert len(doors.made("experiments/search", {"view_type": 3})["experiments"]) == 4
    assert _code(doors.post("experiments/search", {"view_type": "SOME"})) == _INVALID
    assert _code(doors.post("experiments/search", {"filter": "name ="})) == _INVALID


def test_runs_are_found_whole_and_in_order(doors: Doors) -> None:
    ids = []
    for value in (3, 1, 2):
        run_id = doors.run(start_time=value)["info"]["run_id"]
        doors.made("runs/log-metric", {"run_id": run_id, "key": "loss", "value": value, "timestamp": 1})
        ids.append(run_id)
    message = {"experiment_ids": ["0"], "filter": "metrics.loss > 1", "order_by": ["metrics.loss ASC"]}
    found = doors.made("runs/search", message)["runs"]
    assert [run["info"]["run_id"] for run in found] == [ids[2], ids[0]]
    assert found == [doors.seen(ids[2]), doors.seen(ids[0])]
    first = doors.made("runs/search", message | {"max_results": 1})
    token = first["next_page_token"]
    assert doors.made("runs/search", message | {"max_results": 1, "page_token": token})["runs"] == found[1:]
    doors.made("runs/delete", {"run_id": ids[0]})
    assert len(doors.made("runs/search", message)["runs"]) == 1
    assert len(doors.made("runs/search", message | {"run_view_type": "ALL"})["runs"]) == 2
    assert doors.made("runs/search", {"experiment_ids": []}) == {}
    for wrong in ({"max_results": 50_001}, {"max_results": 0}, {"filter": "x"}, {"page_token": "x"}):
        assert _code(doors.post("runs/search", message | wrong)) == _INVALID
