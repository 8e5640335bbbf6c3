"""Experiments: making, finding, changing, deleting."""

# ruff: noqa: E501 - a call a line, so that the scenes read as tables
# fmt: off
from mlflow.entities import ViewType

import mlflow
from mlflow import MlflowClient


def play(see):
    client = MlflowClient()
    see("default", client.get_experiment, "0")
    see("default by name", client.get_experiment_by_name, "Default")
    see("no such name", client.get_experiment_by_name, "no such")
    see("no such id", client.get_experiment, "98765")
    see("an id that is no number", client.get_experiment, "abc")
    first = see.mask(client.create_experiment("exp first", tags={"team": "red", "empty": ""}), "first")
    see("made", client.get_experiment, first)
    see("made by name", client.get_experiment_by_name, "exp first")
    see("same name again", client.create_experiment, "exp first")
    see("no name", client.create_experiment, "")
    see("name of white space", client.create_experiment, "  ")
    see("name of 500", lambda: bool(client.create_experiment("x" * 500)))
    see("name of 501", lambda: bool(client.create_experiment("x" * 501)))
    see("name beyond ASCII", lambda: client.get_experiment(client.create_experiment("été 表 😀 'q\" %_")).name)
    see("with a location", lambda: client.get_experiment(client.create_experiment("located", "mlflow-artifacts:/elsewhere/x")))
    see("location with a fragment", client.create_experiment, "fragment", "mlflow-artifacts:/x#y")
    see("set again", lambda: mlflow.set_experiment("exp first"))
    see("set new", lambda: mlflow.set_experiment("exp set").name)
    see("set by id", lambda: mlflow.set_experiment(experiment_id=first).name)
    see("set no such id", lambda: mlflow.set_experiment(experiment_id="98765"))

    see("tag", client.set_experiment_tag, first, "team", "blue")
    see("tag number", client.set_experiment_tag, first, "n", 3)
    see("tag without a name", client.set_experiment_tag, first, "", "x")
    see("tag name too long", client.set_experiment_tag, first, "k" * 251, "x")
    see("tag value of 5000", client.set_experiment_tag, first, "long", "v" * 5000)
    see("tag value too long", client.set_experiment_tag, first, "longer", "v" * 5001)
    see("tag odd name", client.set_experiment_tag, first, "a/b.c d-e:f", "x")
    see("tag bad name", client.set_experiment_tag, first, "a\"b'c", "x")
    see("tag of none such", client.set_experiment_tag, "98765", "a", "x")
    see("tags", lambda: {k: v[:20] for k, v in client.get_experiment(first).tags.items()})
    see("untag", client.delete_experiment_tag, first, "n")
    see("untag again", client.delete_experiment_tag, first, "n")
    see("tags left", lambda: sorted(client.get_experiment(first).tags))
    see("note", mlflow.set_experiment_tags, {"mlflow.note.content": "# a note", "b": "2"})

    see("rename", client.rename_experiment, first, "exp renamed")
    see("renamed", lambda: client.get_experiment(first).name)
    see("rename to a taken name", client.rename_experiment, first, "exp set")
    see("rename to nothing", client.rename_experiment, first, "")
    see("rename none such", client.rename_experiment, "98765", "x")

    run = client.create_run(first)
    see("delete", client.delete_experiment, first)
    see("deleted", lambda: client.get_experiment(first).lifecycle_stage)
    see("deleted by name", lambda: client.get_experiment_by_name("exp renamed").lifecycle_stage)
    see("its run", lambda: client.get_run(run.info.run_id).info.lifecycle_stage)
    see("delete again", client.delete_experiment, first)
    see("set the deleted one", lambda: mlflow.set_experiment("exp renamed"))
    see("run in the deleted one", client.create_run, first)
    see("tag the deleted one", client.set_experiment_tag, first, "a", "x")
    see("rename the deleted one", client.rename_experiment, first, "y")
    see("new one of the deleted one's name", client.create_experiment, "exp renamed")
    see("restore", client.restore_experiment, first)
    see("restored", lambda: client.get_experiment(first).lifecycle_stage)
    see("its run again", lambda: client.get_run(run.info.run_id).info.lifecycle_stage)
    see("restore again", client.restore_experiment, first)
    see("delete none such", client.delete_experiment, "98765")
    see("delete default", client.delete_experiment, "0")
    see("restore default", client.restore_experiment, "0")

    for name, stage in (("alpha", "a"), ("Alpine", "b"), ("beta", "a"), ("gone", "c")):
        one = client.create_experiment(f"se-{name}", tags={"stage": stage, "set": "se"})
        if name == "gone":
            client.delete_experiment(one)

    def found(filter_string=None, view=ViewType.ACTIVE_ONLY, order_by=None, **more):
        return [one.name for one in client.search_experiments(view, filter_string=filter_string, order_by=order_by, **more)]

    for text in SEARCHES:
        see(f"search {text}", found, f"{text} AND tags.set = 'se'" if text else "tags.set = 'se'", order_by=["name ASC"])
    for text in ("foo = 'x'", "name > 'a'", "name = x", "name = 'a' OR name = 'b'", "tags.a", "tags.x > '3'", "name = ", "(name = 'a')"):
        see(f"bad search {text}", found, text)
    see("search deleted", found, "tags.set = 'se'", ViewType.DELETED_ONLY)
    see("search all", lambda: sorted(found("tags.set = 'se'", ViewType.ALL)))
    for order in ("name DESC", "name", "experiment_id DESC", "creation_time ASC", "last_update_time DESC", "attributes.name desc"):
        see(f"order {order}", found, "tags.set = 'se'", order_by=[order])
    see("order default", found, "tags.set = 'se'")
    for order in ("tags.a", "foo", "name SIDEWAYS"):
        see(f"bad order {order}", found, None, order_by=[order])
    page = see("page", lambda: client.search_experiments(filter_string="tags.set = 'se'", max_results=2, order_by=["name"]))
    see("page 2", lambda: client.search_experiments(filter_string="tags.set = 'se'", max_results=2, order_by=["name"], page_token=page.token))
    see("bad token", client.search_experiments, page_token="nonsense")
    see("no results wanted", client.search_experiments, max_results=0)
    see("too many wanted", client.search_experiments, max_results=50001)
    see("mlflow.search_experiments", lambda: len(mlflow.search_experiments(filter_string="tags.set = 'se'")))


SEARCHES = [
    "",
    "name = 'se-alpha'",
    "name != 'se-alpha'",
    "name LIKE 'se-al%'",
    "name ILIKE 'SE-AL%'",
    "name LIKE '%ph_'",
    "attribute.name = 'se-beta'",
    "attributes.name LIKE '%eta'",
    "tags.stage = 'a'",
    "tag.stage = 'a'",
    "tags.stage != 'a'",
    "tags.stage LIKE '%'",
    "tags.`stage` = 'a'",
    'tags."stage" = \'a\'',
    "creation_time > 1000",
    "creation_time < 1000",
    "last_update_time >= 1000",
    "attribute.creation_time != 5",
    "name = 'se-alpha' AND tags.stage = 'a'",
    "experiment_id IN ('1')",
    "tags.none = 'x'",
    "tags.none IS NULL",
    "tags.stage IS NOT NULL",
]
