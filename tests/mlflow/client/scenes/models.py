"""Logged models in the new and the old layout, loaded by every form of address."""

# ruff: noqa: E501 - a call a line, so that the scenes read as tables
# fmt: off
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

import mlflow
from mlflow import MlflowClient

ROWS = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "y": [1.0, 0.0, 1.0, 0.0]})


class Twice(mlflow.pyfunc.PythonModel):
    """Answers twice its input."""

    def predict(self, context, model_input, params=None):  # noqa: ARG002 - their names are MLflow's
        return model_input * 2


def play(see):
    client = MlflowClient()
    exp = see.mask(mlflow.set_experiment("models").experiment_id, "exp")
    fitted = LogisticRegression().fit(ROWS.to_numpy(), [0, 0, 1, 1])
    signature = infer_signature(ROWS.to_numpy(), fitted.predict(ROWS.to_numpy()))
    with mlflow.start_run() as run:
        mlflow.log_metrics({"acc": 0.5, "nan": float("nan")})
        mlflow.log_param("c", 1)
        info = mlflow.sklearn.log_model(fitted, name="model", signature=signature, input_example=ROWS.to_numpy()[:2], pip_requirements=["scikit-learn"])
        old = mlflow.sklearn.log_model(fitted, artifact_path="old", pip_requirements=["scikit-learn"])
        own = mlflow.pyfunc.log_model(name="twice", python_model=Twice(), pip_requirements=["mlflow"])
        stepped = mlflow.sklearn.log_model(fitted, name="stepped", step=4, params={"depth": 3}, tags={"kind": "s"}, model_type="linear", pip_requirements=["scikit-learn"])
    one = run.info.run_id
    see.note("addresses", [info.model_uri, old.model_uri])
    see("model", lambda: _model(client.get_logged_model(info.model_id)))
    see("stepped model", lambda: _model(client.get_logged_model(stepped.model_id)))
    see("outputs", lambda: sorted([o.step for o in client.get_run(one).outputs.model_outputs]))
    see("files", lambda: sorted(f.path for f in mlflow.artifacts.list_artifacts(info.model_uri)))
    see("files of the model", lambda: sorted([f.path, f.is_dir] for f in client.list_logged_model_artifacts(info.model_id)) if hasattr(client, "list_logged_model_artifacts") else None)
    see("files of the run", lambda: [f.path for f in client.list_artifacts(one)])
    see("last logged", lambda: mlflow.last_logged_model().model_id == stepped.model_id)
    by = {
        "models:/m-": info.model_uri, "runs:/": f"runs:/{one}/model", "old": old.model_uri, "runs:/ old": f"runs:/{one}/old",
        "artifacts": client.get_logged_model(info.model_id).artifact_location,
    }
    for name, uri in by.items():
        see(f"sklearn by {name}", lambda uri=uri: mlflow.sklearn.load_model(uri).predict(ROWS.to_numpy()))
        see(f"pyfunc by {name}", lambda uri=uri: mlflow.pyfunc.load_model(uri).predict(ROWS.to_numpy()))
    see("own", lambda: mlflow.pyfunc.load_model(own.model_uri).predict(np.array([1.5, 2.0])))
    see("info", lambda: mlflow.models.get_model_info(info.model_uri).signature.to_dict())
    see("none such", lambda: mlflow.pyfunc.load_model("models:/m-" + "0" * 32))
    see("none such in the run", lambda: mlflow.pyfunc.load_model(f"runs:/{one}/never"))
    see("input example", lambda: mlflow.models.Model.load(info.model_uri).load_input_example(None) if False else mlflow.pyfunc.load_model(info.model_uri).input_example)

    see("register", lambda: _version(mlflow.register_model(info.model_uri, "fraud", tags={"t": "1"})))
    see("register by run", lambda: _version(mlflow.register_model(f"runs:/{one}/model", "fraud")))
    see("register while logging", lambda: mlflow.sklearn.log_model(fitted, name="third", registered_model_name="fraud", pip_requirements=["scikit-learn"]).registered_model_version)
    see("register the old", lambda: _version(mlflow.register_model(old.model_uri, "fraud")))
    see("register none such", lambda: mlflow.register_model(f"runs:/{one}/never", "fraud"))
    see("register none such model", lambda: mlflow.register_model("models:/m-" + "0" * 32, "fraud"))
    see("versions of the model", lambda: client.get_logged_model(info.model_id).tags.get("mlflow.modelVersions"))
    see("alias", client.set_registered_model_alias, "fraud", "best", 1)
    see("stage", lambda: client.transition_model_version_stage("fraud", 2, "Staging").current_stage)
    for uri in ("models:/fraud/1", "models:/fraud/3", "models:/fraud@best", "models:/fraud/Staging", "models:/fraud/latest", "models:/fraud/4"):
        see(f"sklearn {uri}", lambda uri=uri: mlflow.sklearn.load_model(uri).predict(ROWS.to_numpy()))
        see(f"pyfunc {uri}", lambda uri=uri: mlflow.pyfunc.load_model(uri).predict(ROWS.to_numpy()))
    for uri in ("models:/fraud/99", "models:/fraud@worst", "models:/fraud/Production", "models:/none/1", "models:/none/latest", "models:/fraud/abc", "models:/none@best"):
        see(f"no {uri}", lambda uri=uri: mlflow.pyfunc.load_model(uri))
    see("download a version", lambda: sorted(p.name for p in __import__("pathlib").Path(mlflow.artifacts.download_artifacts("models:/fraud/1")).iterdir()))
    see("list a version", lambda: sorted(f.path for f in mlflow.artifacts.list_artifacts("models:/fraud/1")))
    see("model info of a version", lambda: mlflow.models.get_model_info("models:/fraud@best").flavors["sklearn"]["serialization_format"])
    see("copy", lambda: _version(client.copy_model_version("models:/fraud/1", "fraud copy")))
    see("copied", lambda: mlflow.pyfunc.load_model("models:/fraud copy/1").predict(ROWS.to_numpy()))

    made(see, client, exp, info, one)


def made(see, client, exp, info, one):
    bare = client.create_logged_model(exp, name="bare", source_run_id=one, tags={"a": "1"}, params={"p": "1"}, model_type="kind")
    see("bare", lambda: _model(client.get_logged_model(bare.model_id)))
    see("tag it", client.set_logged_model_tags, bare.model_id, {"b": "2", "c": 3})
    see("untag it", client.delete_logged_model_tag, bare.model_id, "a")
    see("untag again", client.delete_logged_model_tag, bare.model_id, "a")
    see("params", client.log_model_params, bare.model_id, {"q": "2"})
    see("params again", client.log_model_params, bare.model_id, {"q": "2"})
    see("params changed", client.log_model_params, bare.model_id, {"q": "3"})
    see("finalize", lambda: _model(client.finalize_logged_model(bare.model_id, "FAILED")))
    see("finalize oddly", client.finalize_logged_model, bare.model_id, "DONE")
    odd = client.create_experiment("models odd")
    see("without a name", lambda: bool(client.create_logged_model(odd).name))
    for name in ("a/b", "a:b", "a.b", "a%b", "", "x" * 600, "é"):
        see(f"named {name[:5]!r} {len(name)}", lambda name=name: len(client.create_logged_model(odd, name=name).name) > 0)
    see("in none such", lambda: client.create_logged_model("98765", name="x"))
    see("external", lambda: _model(mlflow.create_external_model(name="ext", params={"a": "1"})))
    see("initialized", lambda: _model(mlflow.initialize_logged_model(name="init", tags={"x": "y"})))
    see("get none such", client.get_logged_model, "m-" + "0" * 32)
    see("tag none such", client.set_logged_model_tags, "m-" + "0" * 32, {"a": "b"})
    see("delete", client.delete_logged_model, bare.model_id)
    see("deleted", client.get_logged_model, bare.model_id)
    see("delete again", client.delete_logged_model, bare.model_id)

    def found(**more):
        return [m.name for m in client.search_logged_models([exp], **more)]

    for text in ("name = 'model'", "name != 'model'", "name LIKE 'st%'", "name ILIKE 'ST%'", "status = 'READY'", "model_type = 'linear'", "tags.kind = 's'", "params.depth = '3'", "metrics.acc > 0.4", "metrics.acc > 0.6",
                 "metrics.acc = 0.5 AND name = 'model'", f"source_run_id = '{one}'", f"model_id = '{info.model_id}'", "creation_timestamp > 5", "name IN ('model', 'old')", "attributes.name = 'old'", "tags.`kind` LIKE 's%'",
                 "name NOT IN ('model')", "status != 'READY'", "last_updated_timestamp > 5", "params.depth != '4'", "tags.none = 'x'", "foo = 'x'", "name > 'a'", "metrics.acc = 'x'", "name = ", "metrics.acc"):
        see(f"search {text}", lambda text=text: sorted(found(filter_string=text)))
    for order in ([{"field_name": "name"}], [{"field_name": "name", "ascending": True}], [{"field_name": "creation_timestamp", "ascending": False}], [{"field_name": "metrics.acc", "ascending": False}, {"field_name": "name"}], [{"field_name": "foo"}]):
        see(f"order {order}", lambda order=order: found(order_by=order)[:6])
    page = see("page", lambda: client.search_logged_models([exp], max_results=3, order_by=[{"field_name": "name"}]))
    see("page 2", lambda: [m.name for m in client.search_logged_models([exp], max_results=3, order_by=[{"field_name": "name"}], page_token=page.token)])
    see("datasets", lambda: found(datasets=[{"dataset_name": "none"}], filter_string="metrics.acc > 0"))
    see("frame", lambda: sorted(mlflow.search_logged_models([exp]).columns))


def _model(model):
    return {
        "name": model.name, "status": str(model.status), "type": model.model_type, "params": model.params, "tags": sorted(model.tags),
        "metrics": sorted([m.key, m.value if m.value == m.value else "nan", m.step] for m in model.metrics or []), "location": model.artifact_location, "run": bool(model.source_run_id),
    }


def _version(version):
    return [version.version, version.source, version.run_id, version.status, version.tags, version.current_stage]
