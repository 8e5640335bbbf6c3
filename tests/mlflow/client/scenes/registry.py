"""Registered models and their versions."""

# ruff: noqa: E501 - a call a line, so that the scenes read as tables
# fmt: off
import mlflow
from mlflow import MlflowClient


def play(see):
    client = MlflowClient()
    exp = see.mask(mlflow.set_experiment("registry").experiment_id, "exp")
    run = client.create_run(exp).info.run_id
    client.log_text(run, "flavors: {}\n", "model/MLmodel")
    source = f"runs:/{run}/model"
    direct = client.get_run(run).info.artifact_uri + "/model"
    see("make", lambda: client.create_registered_model("reg one", tags={"a": "1"}, description="about"))
    see("again", client.create_registered_model, "reg one")
    for name in ("", "a/b", "a:b", "x" * 256, "x" * 257, "été 😀", "..", " ", "a%b'\""):
        see(f"named {name[:6]!r} {len(name)}", lambda name=name: client.create_registered_model(name).name[:6])
    see("get", client.get_registered_model, "reg one")
    see("get none such", client.get_registered_model, "none")
    see("describe", lambda: client.update_registered_model("reg one", "changed").description)
    see("describe with nothing", lambda: client.update_registered_model("reg one", "").description)
    see("describe none such", client.update_registered_model, "none", "x")
    see("tag", client.set_registered_model_tag, "reg one", "b", 2)
    see("tag none such", client.set_registered_model_tag, "none", "b", 2)
    see("tag without name", client.set_registered_model_tag, "reg one", "", 2)
    see("tag too long", client.set_registered_model_tag, "reg one", "k" * 251, 2)
    see("tag value too long", client.set_registered_model_tag, "reg one", "long", "v" * 100_001)
    see("untag", client.delete_registered_model_tag, "reg one", "a")
    see("untag again", client.delete_registered_model_tag, "reg one", "a")
    see("tagged", lambda: client.get_registered_model("reg one").tags)

    see("version", lambda: client.create_model_version("reg one", source, run_id=run, tags={"x": "1"}, description="first"))
    see("version 2", lambda: client.create_model_version("reg one", direct, run_id=run).version)
    see("version 3", lambda: client.create_model_version("reg one", source).version)
    see("version of none such", client.create_model_version, "none", source, run)
    for odd in ("/etc/passwd", "file:///etc", "../..", "mlflow-artifacts:/../../x", direct + "/../../../..", "http://127.0.0.1/x", "", "s3://bucket/x", f"runs:/{'0' * 32}/model", f"runs:/{run}/never"):
        see(f"source {odd}", lambda odd=odd: client.create_model_version("reg one", odd, run).version)
    see("get version", client.get_model_version, "reg one", "1")
    see("as a number", lambda: client.get_model_version("reg one", 1).version)
    for number in ("99", "abc", "-1", "1.5", "", "0", "1e3", str(2**70)):
        see(f"get version {number}", client.get_model_version, "reg one", number)
    see("get version of none such", client.get_model_version, "none", "1")
    see("describe version", lambda: client.update_model_version("reg one", "1", "told").description)
    see("describe none such version", lambda: client.update_model_version("reg one", "77", "told"))
    see("uri", lambda: client.get_model_version_download_uri("reg one", "1").startswith("mlflow-artifacts:/"))
    see("uri of none", client.get_model_version_download_uri, "reg one", "77")
    see("tag version", client.set_model_version_tag, "reg one", "1", "k", 5)
    see("tag version none such", client.set_model_version_tag, "reg one", "77", "k", 5)
    see("tag version without a name", client.set_model_version_tag, "reg one", "1", "", 5)
    see("untag version", client.delete_model_version_tag, "reg one", "1", "x")
    see("untag version again", client.delete_model_version_tag, "reg one", "1", "x")
    see("version tags", lambda: client.get_model_version("reg one", "1").tags)

    see("alias", client.set_registered_model_alias, "reg one", "best", "1")
    see("alias moves", client.set_registered_model_alias, "reg one", "best", "2")
    see("another", client.set_registered_model_alias, "reg one", "Other", "2")
    see("by alias", lambda: client.get_model_version_by_alias("reg one", "best"))
    see("by none such", client.get_model_version_by_alias, "reg one", "never")
    see("by alias of none", client.get_model_version_by_alias, "none", "best")
    see("by another case", lambda: client.get_model_version_by_alias("reg one", "other").version)
    for alias in ("latest", "v1", "V12", "1", "a b", "", "x" * 255, "x" * 256, "a/b", "é", "a.b-c_d"):
        see(f"alias {alias[:8]!r} {len(alias)}", client.set_registered_model_alias, "reg one", alias, "1")
    see("alias to none such", client.set_registered_model_alias, "reg one", "x", "77")
    see("alias of none such", client.set_registered_model_alias, "none", "x", "1")
    see("aliases", lambda: sorted(map(list, client.get_registered_model("reg one").aliases.items())))
    see("unalias", client.delete_registered_model_alias, "reg one", "Other")
    see("unalias again", client.delete_registered_model_alias, "reg one", "Other")
    see("unalias none such", client.delete_registered_model_alias, "none", "best")

    see("stage", lambda: client.transition_model_version_stage("reg one", "1", "Staging"))
    see("stage in small letters", lambda: client.transition_model_version_stage("reg one", "2", "staging").current_stage)
    see("first kept", lambda: client.get_model_version("reg one", "1").current_stage)
    see("stage and archive", lambda: client.transition_model_version_stage("reg one", "3", "Staging", archive_existing_versions=True).current_stage)
    see("first archived", lambda: client.get_model_version("reg one", "1").current_stage)
    see("production", lambda: client.transition_model_version_stage("reg one", "1", "Production").current_stage)
    see("odd stage", client.transition_model_version_stage, "reg one", "1", "Nowhere")
    see("archive to archived", client.transition_model_version_stage, "reg one", "1", "Archived", True)
    see("stage of none", client.transition_model_version_stage, "reg one", "77", "Staging")
    see("latest", lambda: sorted([v.current_stage, v.version] for v in client.get_latest_versions("reg one")))
    see("latest of a stage", lambda: [[v.current_stage, v.version] for v in client.get_latest_versions("reg one", ["Production", "staging"])])
    see("latest of an odd stage", client.get_latest_versions, "reg one", ["Nowhere"])
    see("latest of none", client.get_latest_versions, "none")
    see("with versions", lambda: sorted([v.version, v.current_stage] for v in client.get_registered_model("reg one").latest_versions))

    see("version deleted", client.delete_model_version, "reg one", "2")
    see("version deleted again", client.delete_model_version, "reg one", "2")
    see("deleted version", client.get_model_version, "reg one", "2")
    see("its alias is gone", client.get_model_version_by_alias, "reg one", "best")
    see("number after", lambda: client.create_model_version("reg one", source, run).version)
    see("last deleted", client.delete_model_version, "reg one", "4")
    see("number after that", lambda: client.create_model_version("reg one", source, run).version)

    see("rename", lambda: client.rename_registered_model("reg one", "reg two").name)
    see("old name", client.get_registered_model, "reg one")
    see("its versions", lambda: sorted(v.version for v in client.search_model_versions("name = 'reg two'")))
    see("its alias", lambda: client.get_model_version_by_alias("reg two", "a.b-c_d").version)
    client.create_registered_model("taken")
    see("rename to a taken name", client.rename_registered_model, "reg two", "taken")
    see("rename to nothing", client.rename_registered_model, "reg two", "")
    see("rename none such", client.rename_registered_model, "none", "x")
    see("delete", client.delete_registered_model, "taken")
    see("delete again", client.delete_registered_model, "taken")
    searches(see, client, source, run)
    see("delete with versions", client.delete_registered_model, "reg two")
    see("its versions are gone", client.get_model_version, "reg two", "1")
    see("made anew", lambda: [client.create_registered_model("reg two").latest_versions, client.create_model_version("reg two", source, run).version][1])


def searches(see, client, source, run):
    for name, kind in (("s-alpha", "x"), ("s-beta", "y"), ("s-Alto", "x"), ("s_under", "z")):
        client.create_registered_model(name, tags={"kind": kind, "set": "s"})
        for number in range(2):
            client.create_model_version(name, source, run, tags={"n": str(number), "set": "s"})
    client.set_registered_model_alias("s-beta", "prod", 2)

    def models(text, order=None, **more):
        return [m.name for m in client.search_registered_models(text, order_by=order or ["name"], **more)]

    for text in ("tags.set = 's'", "name = 's-alpha'", "name LIKE 's-al%'", "name ILIKE 's-AL%'", "name LIKE 's\\_%'", "name LIKE 's_%'", "tags.kind = 'x'", "tags.kind != 'x' AND tags.set = 's'", "tags.kind ILIKE 'X'", "name != 's-alpha' AND tags.set = 's'",
                 "name LIKE '%' AND tags.set = 's'", "tags.none = 'x'", "attribute.name = 's-alpha'", "tag.kind = 'y'", "tags.`kind` = 'y'", "name IN ('s-alpha')", "foo = 'x'", "name > 'a'", "name = s-alpha", "name = 'a' OR name = 'b'", "name =", "tags.kind IS NULL"):
        see(f"models {text}", models, text)
    for order in ("name DESC", "name ASC", "last_updated_timestamp", "last_updated_timestamp DESC, name", "timestamp", "creation_timestamp DESC", "foo", "name SIDEWAYS"):
        see(f"models by {order}", models, "tags.set = 's'", [one.strip() for one in order.split(",")])
    page = see("models page", lambda: client.search_registered_models("tags.set = 's'", max_results=2, order_by=["name"]))
    see("models page 2", lambda: [m.name for m in client.search_registered_models("tags.set = 's'", max_results=2, order_by=["name"], page_token=page.token)])
    see("models bad token", lambda: client.search_registered_models(page_token="nonsense"))
    see("models 0", lambda: len(client.search_registered_models(max_results=0)))
    see("models 1001", lambda: client.search_registered_models(max_results=1001))

    def versions(text, order=None, **more):
        return [[v.name, v.version] for v in client.search_model_versions(text, order_by=order or ["name", "version_number"], **more)]

    for text in ("name = 's-alpha'", "name LIKE 's-%'", "name ILIKE 'S-AL%'", f"run_id = '{run}' AND name LIKE 's%'", f"run_id IN ('{run}') AND name LIKE 's%'", "run_id IN ('x', 'y')", f"source_path = '{source}' AND name LIKE 's%'", "source_path LIKE 'runs%' AND name = 's-beta'", "tags.n = '1'", "tags.n != '1' AND tags.set = 's'", "tags.set LIKE 's'",
                 "version_number = 2 AND name LIKE 's%'", "version_number > 1 AND name LIKE 's%'", "version_number <= 1 AND name LIKE 's%'", "version_number != 1 AND name LIKE 's%'", "name = 's-alpha' AND version_number >= 2", "name IN ('s-alpha', 's-beta')", "aliases = 'prod'", "alias = 'prod'", "current_stage = 'None' AND name LIKE 's%'", "version_number = 'x'", "version = 1", "foo = 'x'", "name > 'a'", "name = ", "run_id LIKE 'x'",
                 "creation_timestamp > 5 AND name LIKE 's%'", "attributes.name = 's-alpha'"):
        see(f"versions {text}", versions, text)
    for order in ("name DESC, version_number", "version_number DESC, name ASC", "creation_timestamp, name, version_number", "last_updated_timestamp DESC", "foo"):
        see(f"versions by {order}", lambda order=order: len(versions("tags.set = 's'", [one.strip() for one in order.split(",")])) if "stamp" in order else versions("tags.set = 's'", [one.strip() for one in order.split(",")]))
    page = see("versions page", lambda: client.search_model_versions("tags.set = 's'", max_results=3, order_by=["name", "version_number"]))
    see("versions page 2", lambda: [[v.name, v.version] for v in client.search_model_versions("tags.set = 's'", max_results=3, order_by=["name", "version_number"], page_token=page.token)])
    see("versions 0", lambda: len(client.search_model_versions(max_results=0)))
    see("versions 200001", lambda: client.search_model_versions(max_results=200_001))
    see("all versions", lambda: len(client.search_model_versions()) > 3)
    see("mlflow.search_model_versions", lambda: len(mlflow.search_model_versions(filter_string="tags.set = 's'")))
    see("mlflow.search_registered_models", lambda: len(mlflow.search_registered_models(filter_string="tags.set = 's'")))
