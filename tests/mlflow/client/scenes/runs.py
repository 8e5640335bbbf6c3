"""Runs: start, nested, resume, end, rename, delete, restore."""

# ruff: noqa: E501 - a call a line, so that the scenes read as tables
# fmt: off
from mlflow.entities import RunTag, ViewType

import mlflow
from mlflow import MlflowClient


def play(see):
    client = MlflowClient()
    exp = see.mask(mlflow.set_experiment("runs").experiment_id, "exp")
    with mlflow.start_run(run_name="plain", tags={"a": "1"}, description="about") as run:
        one = run.info.run_id
        see("active", lambda: mlflow.get_run(one))
        see("last active", lambda: mlflow.last_active_run().info.run_id == one)
    see("ended", lambda: mlflow.get_run(one))
    with mlflow.start_run() as run:
        see("a given name", lambda: bool(run.info.run_name) and run.info.run_name == run.data.tags["mlflow.runName"])
    try:
        with mlflow.start_run(run_name="fails") as run:
            raise KeyError("x")
    except KeyError:
        see("failed", lambda: mlflow.get_run(run.info.run_id).info.status)

    with mlflow.start_run(run_name="parent") as parent:
        for number in range(3):
            with mlflow.start_run(run_name=f"child {number}", nested=True) as child:
                mlflow.log_param("n", number)
                with mlflow.start_run(run_name=f"grandchild {number}", nested=True) as grandchild:
                    mlflow.log_metric("m", number)
        see("nested needs a word", mlflow.start_run)
    see("child", lambda: client.get_run(child.info.run_id))
    see("grandchild's parent", lambda: client.get_parent_run(grandchild.info.run_id).info.run_name)
    see("parent's parent", lambda: client.get_parent_run(parent.info.run_id))
    see("children", lambda: sorted(r.info.run_name for r in client.search_runs([exp], f"tags.mlflow.parentRunId = '{parent.info.run_id}'")))
    see("parent by id", lambda: mlflow.start_run(parent_run_id=parent.info.run_id, run_name="adopted").data.tags.get("mlflow.parentRunId") == parent.info.run_id)
    mlflow.end_run("KILLED")
    see("killed", lambda: mlflow.last_active_run().info.status)
    see("bad status", lambda: client.set_terminated(one, "DONE"))

    with mlflow.start_run(run_id=one, log_system_metrics=False):
        mlflow.log_metric("later", 1)
        see("resumed", lambda: client.get_run(one))
    see("ended again", lambda: client.get_run(one).info.status)
    see("resume none such", mlflow.start_run, run_id="0" * 32)

    many = see.mask(client.create_run(exp, start_time=1234567890123, tags={"mlflow.runName": "by tag", "mlflow.user": "ann", "x": "y"}).info.run_id, "by client")
    see("by client", client.get_run, many)
    see("name and tag", lambda: client.create_run(exp, run_name="n", tags={"mlflow.runName": "n"}).info.run_name)
    see("name against tag", client.create_run, exp, run_name="n", tags={"mlflow.runName": "other"})
    see("in none such", client.create_run, "98765")
    see("update status", client.update_run, many, status="SCHEDULED")
    see("update name", client.update_run, many, name="new name")
    see("updated", client.get_run, many)
    see("rename by tag", client.set_tag, many, "mlflow.runName", "by tag again")
    see("renamed by tag", lambda: client.get_run(many).info.run_name)
    see("terminate", client.set_terminated, many, "FAILED", 1234567899999)
    see("terminated", client.get_run, many)
    see("running again", client.update_run, many, status="RUNNING")
    see("running has an end", lambda: client.get_run(many).info)
    see("update none such", client.update_run, "0" * 32, status="FINISHED")

    see("get none such", client.get_run, "0" * 32)
    see("get odd id", client.get_run, "no such run")
    see("get an empty id", client.get_run, "")

    see("delete", client.delete_run, many)
    see("deleted", lambda: client.get_run(many).info)
    see("delete again", client.delete_run, many)
    see("log to the deleted", client.log_metric, many, "m", 1)
    see("param to the deleted", client.log_param, many, "p", 1)
    see("tag the deleted", client.set_tag, many, "t", 1)
    see("update the deleted", client.update_run, many, status="FINISHED")
    see("batch to the deleted", client.log_batch, many, tags=[RunTag("a", "b")])
    see("search without the deleted", lambda: many in [r.info.run_id for r in client.search_runs([exp])])
    see("search the deleted", lambda: [r.info.run_id == many for r in client.search_runs([exp], run_view_type=ViewType.DELETED_ONLY)])
    see("search all", lambda: many in [r.info.run_id for r in client.search_runs([exp], run_view_type=ViewType.ALL)])
    see("restore", client.restore_run, many)
    see("restored", lambda: client.get_run(many).info.lifecycle_stage)
    see("restore again", client.restore_run, many)
    see("delete none such", client.delete_run, "0" * 32)
    see("restore none such", client.restore_run, "0" * 32)
    see("mlflow.delete_run", mlflow.delete_run, one)
    see("experiment of a run", lambda: client.get_run(one).info.experiment_id)
    see("frame", lambda: sorted(mlflow.search_runs([exp]).columns))
    see("as list", lambda: len(mlflow.search_runs([exp], output_format="list")))
    see("by names", lambda: len(mlflow.search_runs(experiment_names=["runs", "no such"])))
    see("by no name", lambda: len(mlflow.search_runs(experiment_names=["no such"])))
    see("run info only", lambda: mlflow.get_run(one).info.artifact_uri)
