"""Experiments as MLflow's clients know them."""

from tests.protocols.mlflow.conftest import Doors

from boucle.kernel.store import Store
from boucle.runs.experiments import has_begun


def _code(found: tuple[int, dict[str, object]]) -> tuple[int, object]:
    return found[0], found[1].get("error_code")


def test_a_fresh_project_has_the_default_experiment(doors: Doors) -> None:
    found = doors.asked("experiments/get", experiment_id="0")["experiment"]
    assert (found["experiment_id"], found["name"], found["lifecycle_stage"]) == ("0", "Default", "active")
    assert found["artifact_location"] == "mlflow-artifacts:/0"
    assert "tags" not in found
    assert doors.asked("experiments/get-by-name", experiment_name="Default")["experiment"] == found


def test_reading_makes_no_project(doors: Doors) -> None:
    doors.asked("experiments/get", experiment_id="0")
    doors.asked("experiments/get-by-name", experiment_name="Default")
    doors.asked("experiments/search", max_results=5)
    assert [one["name"] for one in doors.made("experiments/search", {})["experiments"]] == ["Default"]
    assert not has_begun(doors.store, doors.project)
    doors.run(experiment_id="0")
    assert has_begun(doors.store, doors.project)


def test_an_experiment_is_made_found_and_named_anew(doors: Doors) -> None:
    message = {"name": "deep", "tags": [{"key": "team", "value": "blue"}]}
    number = doors.made("experiments/create", message)["experiment_id"]
    assert number == "1"
    found = doors.asked("experiments/get-by-name", experiment_name="deep")["experiment"]
    assert found["tags"] == [{"key": "team", "value": "blue"}]
    assert doors.made("experiments/update", {"experiment_id": number, "new_name": "deeper"}) == {}
    renamed = doors.asked("experiments/get", experiment_id=number)["experiment"]
    assert renamed["name"] == "deeper"
    assert renamed["last_update_time"] >= renamed["creation_time"]


def test_a_name_is_taken_also_by_a_deleted_experiment(doors: Doors) -> None:
    number = doors.made("experiments/create", {"name": "deep"})["experiment_id"]
    taken = (400, "RESOURCE_ALREADY_EXISTS")
    assert _code(doors.post("experiments/create", {"name": "deep"})) == taken
    doors.made("experiments/delete", {"experiment_id": number})
    assert _code(doors.post("experiments/create", {"name": "deep"})) == taken
    assert _code(doors.post("experiments/update", {"experiment_id": "0", "new_name": "deep"})) == taken


def test_deleting_takes_the_runs_along_and_restoring_brings_them_back(doors: Doors) -> None:
    number = doors.made("experiments/create", {"name": "deep"})["experiment_id"]
    run_id = doors.run(experiment_id=number)["info"]["run_id"]
    doors.made("experiments/delete", {"experiment_id": number})
    assert doors.asked("experiments/get", experiment_id=number)["experiment"]["lifecycle_stage"] == "deleted"
    assert doors.seen(run_id)["info"]["lifecycle_stage"] == "deleted"
    refused = (400, "INVALID_PARAMETER_VALUE")
    assert _code(doors.post("runs/create", {"experiment_id": number})) == refused
    tag = {"experiment_id": number, "key": "a", "value": "b"}
    assert _code(doors.post("experiments/set-experiment-tag", tag)) == refused
    assert _code(doors.post("experiments/update", {"experiment_id": number, "new_name": "x"})) == refused
    assert _code(doors.post("experiments/delete", {"experiment_id": number})) == (404, "RESOURCE_DOES_NOT_EXIST")
    doors.made("experiments/restore", {"experiment_id": number})
    assert doors.seen(run_id)["info"]["lifecycle_stage"] == "active"
    assert _code(doors.post("experiments/restore", {"experiment_id": number})) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_tags_are_set_and_taken(doors: Doors) -> None:
    for value in ("b", "c"):
        doors.made("experiments/set-experiment-tag", {"experiment_id": "0", "key": "a", "value": value})
    assert doors.asked("experiments/get", experiment_id="0")["experiment"]["tags"] == [{"key": "a", "value": "c"}]
    doors.made("experiments/delete-experiment-tag", {"experiment_id": "0", "key": "a"})
    gone = doors.post("experiments/delete-experiment-tag", {"experiment_id": "0", "key": "a"})
    assert _code(gone) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_what_is_wrong_is_told(doors: Doors) -> None:
    invalid = (400, "INVALID_PARAMETER_VALUE")
    absent = (404, "RESOURCE_DOES_NOT_EXIST")
    assert _code(doors.post("experiments/create", {})) == invalid
    assert _code(doors.post("experiments/create", {"name": "x" * 501})) == invalid
    assert _code(doors.post("experiments/create", {"name": "a\0b"})) == invalid
    elsewhere = doors.post("experiments/create", {"name": "e", "artifact_location": "file:/data/mlruns"})
    assert _code(elsewhere) == invalid
    told = str(elsewhere)
    assert "artifact_location is 'file:/data/mlruns'; allowed is none" in told
    assert "Next: mlflow.create_experiment(NAME), without artifact_location" in told
    assert _code(doors.get("experiments/get", experiment_id="x")) == invalid
    assert _code(doors.get("experiments/get")) == invalid
    assert _code(doors.get("experiments/get", experiment_id="7")) == absent
    assert _code(doors.get("experiments/get", experiment_id="9" * 30)) == absent
    assert _code(doors.get("experiments/get", experiment_id="-1")) == absent
    assert _code(doors.get("experiments/get-by-name", experiment_name="none")) == absent
    tag = {"experiment_id": "0", "key": "a", "value": "v" * 20_001}
    assert _code(doors.post("experiments/set-experiment-tag", tag)) == invalid


def test_projects_do_not_see_each_other(store: Store) -> None:
    here, there = Doors(store, "here"), Doors(store, "there")
    here.made("experiments/create", {"name": "deep"})
    run_id = here.run()["info"]["run_id"]
    assert _code(there.get("experiments/get-by-name", experiment_name="deep"))[0] == 404
    assert _code(there.get("runs/get", run_id=run_id))[0] == 404
    metric = {"run_id": run_id, "key": "a", "value": 1, "timestamp": 1}
    assert _code(there.post("runs/log-metric", metric))[0] == 404
    assert _code(there.post("runs/delete", {"run_id": run_id}))[0] == 404
    assert _code(there.get("metrics/get-history", run_id=run_id, metric_key="a"))[0] == 404
    assert there.made("experiments/create", {"name": "deep"})["experiment_id"] == "1"
