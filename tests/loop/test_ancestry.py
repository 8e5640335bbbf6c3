"""Lineage in both directions, on a store that a pipeline and a client wrote to."""

import json
import platform
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from sqlalchemy import insert, select

import boucle
from boucle.identity import store as people
from boucle.kernel.errors import InvalidInput, NotFound
from boucle.kernel.store import Store
from boucle.loop.ancestry import Ancestry, Branch, ancestry, left_out
from boucle.loop.lineage import lineage
from boucle.loop.openlineage import events
from boucle.loop.rollout import By, deploy_canary, deploy_champion, deploy_shadow
from boucle.models.api import create_model, create_version, get_version
from boucle.models.records import AliasMove
from boucle.runs.experiments import create_experiment
from boucle.runs.lifecycle import change, creation, log_inputs, log_outputs
from boucle.runs.logged_models import create_logged_model
from boucle.runs.tables import run_datasets, runs
from boucle.runs.views import DatasetInput

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(max(GOLDEN.glob("home-*.tar.xz"))) as tar:
        tar.extractall(folder, filter="tar")
    with Store.open(folder / ".boucle") as store:
        # Past the rule that the last admin stays: who logs runs here has no token.
        store.write(lambda conn: people.remove_user(conn, "ada"))
    return folder / ".boucle"


def kinds(branches: list[Branch]) -> set[str]:
    return {one.kind for one in branches} | {kind for one in branches for kind in kinds(one.branches)}


def found_in(branches: list[Branch], kind: str) -> list[Branch]:
    return [one for one in branches if one.kind == kind] + [
        below for one in branches for below in found_in(one.branches, kind)
    ]


@pytest.mark.slow
def test_a_deployment_leads_back_to_its_data_and_the_data_to_the_deployment(home: Path) -> None:
    with Store.open(home) as store:
        deployed = ancestry(store, "orders", "orders")
        assert (deployed.kind, kinds(deployed.made_from)) == ("deployment", {"version", "bundle", "run", "data"})
        (version,) = found_in(deployed.made_from, "version")
        (data,) = found_in(deployed.made_from, "data")
        model, _, number = version.name.partition("/")
        assert get_version(store, "orders", model, int(number)).dataset_digest == data.name
        forward = ancestry(store, "orders", data.name)
        assert kinds(forward.led_to) >= {"run", "bundle", "version", "alias", "deployment"}
        assert version.name in [one.name for one in found_in(forward.led_to, "version")]
        by_alias = ancestry(store, "orders", "orders@champion")
        assert [one.name for one in by_alias.made_from] == [version.name]
        assert kinds(by_alias.led_to) == {"deployment"}
        assert ancestry(store, "orders", version.name).kind == "version"


def test_lineage_tells_every_role_and_only_of_the_model_that_answers(store: Store, make: Callable[..., Any]) -> None:
    for name in ("one", "two", "three"):
        make(name, 0.7)
    first = get_version(store, "flights", "flights", 1)
    create_model(store, project_id="flights", name="copy", author="person:eve")
    create_version(
        store,
        project_id="flights",
        model="copy",
        bundle_digest=first.bundle_digest,
        author="person:eve",
        source=None,
    )
    by = By(project_id="flights", actor="person:ada")
    deploy_champion(store, by, "eu", "flights", 1)
    deploy_canary(store, by, "eu", "flights", 2, percent=10)
    deploy_shadow(store, by, "eu", "flights", 3)

    def led_to(what: str) -> list[str]:
        return [one.name for one in ancestry(store, "flights", what).led_to if one.kind == "deployment"]

    assert [led_to(f"flights/{number}") for number in (1, 2, 3)] == [["eu"], ["eu"], ["eu"]]
    assert led_to("copy/1") == []
    made_from = [one.name for one in ancestry(store, "flights", "eu").made_from]
    assert made_from == ["flights/1", "flights/2", "flights/3"]
    with pytest.raises(NotFound, match="nothing is called 'eu' in project 'other'"):
        ancestry(store, "other", "eu")


@pytest.mark.parametrize("name", ["sales/2024", "a@b", "m/n@o"])
def test_data_may_be_called_as_versions_and_aliases_are_written(tmp_path: Path, name: str) -> None:
    used = DatasetInput(name=name, fingerprint="f" * 32, source_type="code", source="here")
    with Store.open(tmp_path / "home") as store:
        run = store.write(creation(store, "p")).id
        log_inputs(store, "p", run, [used])
        found = ancestry(store, "p", name)
    assert (found.kind, found.name, [one.name for one in found.led_to]) == ("data", "f" * 32, [run])


def test_a_long_line_of_models_is_told_as_far_as_it_is_cut_and_says_so(tmp_path: Path) -> None:
    with Store.open(tmp_path / "home") as store:
        experiment = create_experiment(store, "p", "e")
        names = [create_logged_model(store, "p", experiment, name="0").id]
        for number in range(1, 9):
            run = store.write(creation(store, "p", experiment_id=experiment)).id
            log_inputs(store, "p", run, [], [names[-1]])
            names.append(create_logged_model(store, "p", experiment, name=str(number), source_run_id=run).id)
        found = ancestry(store, "p", names[-1])
        told = [one for kind in ("logged model", "run") for one in found_in(found.made_from, kind)]
        assert not any(one.repeated for one in told)
        (cut,) = [one for one in told if one.is_cut]
        assert list(left_out(found)) == [f"what is behind {cut.kind} {cut.name}"]
        onward = ancestry(store, "p", cut.name)
        assert [one.name for one in found_in(onward.made_from, "logged model")][-1] == names[0]


def test_lineage_of_data_that_many_used_ends_and_says_how_many_more_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boucle.loop.ancestry.MOST", 20)
    used = DatasetInput(name="all", fingerprint="f" * 32, source_type="code", source="here")
    with Store.open(tmp_path / "home") as store:
        begun = [creation(store, "p") for _ in range(25)]
        made = store.write(lambda conn: [one(conn) for one in begun])
        log_inputs(store, "p", made[0].id, [used])
        store.write(
            lambda conn: conn.execute(
                insert(run_datasets), [{"run": one.seq, "dataset": 1, "tags": "{}"} for one in made[1:]]
            )
        )
        found = ancestry(store, "p", "all")
    assert (len(found.led_to), found.more_led_to) == (20, 5)
    assert list(left_out(found)) == [f"5 more at data {'f' * 32}"]


def test_a_version_that_a_client_registered_leads_to_what_is_known_of_it(
    store: Store, make: Callable[..., Any]
) -> None:
    make("one", 0.7)
    first = get_version(store, "flights", "flights", 1)
    create_model(store, project_id="flights", name="copy", author="person:eve")
    create_version(
        store, project_id="flights", model="copy", bundle_digest=first.bundle_digest, author="person:eve", source=None
    )
    move = AliasMove(
        project_id="flights",
        model="copy",
        alias="best",
        number=1,
        permit_id=None,
        actor="person:eve",
        reason="",
        moved_at=first.created_at,
        effective_at=first.created_at,
    )
    assert [one.kind for one in lineage(store, move)] == ["bundle", "model version", "alias"]


@pytest.mark.slow
def test_what_a_client_logged_is_found_by_its_name(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUCLE_SPOOL", str(tmp_path / "spool"))
    table = tmp_path / "rows.csv"
    table.write_text("a,b\n1,2\n")
    with boucle.start_run("by hand", home=home, project="orders") as run:
        digest = run.log_dataset("rows", table)
    with Store.open(home) as store:
        found = ancestry(store, "orders", "rows")
        assert (found.kind, found.name, found.facts["name"]) == ("data", digest, "rows")
        assert [one.name for one in found.led_to] == [run.id]
        table.write_text("a,b\n1,3\n")
        with boucle.start_run("by hand", home=home, project="orders") as other:
            other.log_dataset("rows", table)
        with pytest.raises(InvalidInput, match="2 states of the data 'rows'"):
            ancestry(store, "orders", "rows")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["nothing", "orders/99", "orders@nobody", "f" * 64, "", "/", "@", "..", "\0"])
def test_what_is_not_there_is_told(home: Path, what: str) -> None:
    with Store.open(home) as store, pytest.raises(NotFound):
        ancestry(store, "orders", what)


@pytest.mark.slow
def test_events_are_as_openlineage_publishes_them(home: Path) -> None:
    schema: dict[str, Any] = json.loads((HERE / "schemas" / "OpenLineage-2-0-2.json").read_text())
    judge = jsonschema.Draft202012Validator(
        {**schema, "$ref": "#/$defs/RunEvent"}, format_checker=jsonschema.FormatChecker()
    )
    with Store.open(home) as store:
        of: Ancestry = ancestry(store, "orders", "orders@champion")
        told = events(store, "orders", of)
    assert [one["eventType"] for one in told] == ["START", "COMPLETE"]
    for event in told:
        judge.validate(event)
    assert [one["name"] for one in told[1]["outputs"]] == [one.name for one in found_in(of.made_from, "version")]
    with pytest.raises(jsonschema.ValidationError):
        judge.validate({**told[0], "eventType": "BEGIN"})


@pytest.mark.slow
@pytest.mark.parametrize("status", ["running", "scheduled"])
def test_a_run_that_goes_on_has_begun_and_not_ended(tmp_path: Path, status: str) -> None:
    """Whatever end a client gave it."""
    with Store.open(tmp_path / "home") as store:
        run = store.write(creation(store, project_id="orders"))
        store.write(change("orders", run.id, status=status, ended_ms=run.started_ms + 1))
        told = events(store, "orders", ancestry(store, "orders", run.id))
    assert [one["eventType"] for one in told] == ["START"]


@pytest.mark.slow
def test_a_run_tells_its_seed_environment_and_machine_and_its_event_what_it_gave(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOUCLE_SPOOL", str(tmp_path / "spool"))
    with boucle.start_run("by hand", params={"depth": 3}, seed=7, home=home, project="orders") as run:
        digest = run.log_dataset("own rows", __file__)
    with Store.open(home) as store:
        experiment = store.read(lambda conn: conn.execute(select(runs.c.experiment_id).where(runs.c.id == run.id)))
        model = create_logged_model(
            store, project_id="orders", experiment_id=experiment.scalar_one(), name="tree", source_run_id=run.id
        )
        found = ancestry(store, "orders", run.id)
        told = events(store, "orders", found)
    assert (found.facts["seed"], found.facts["params"]) == ("7", "2")
    assert found.facts["environment"].startswith(f"Python {platform.python_version()}, ")
    assert f"{platform.node()}, " in found.facts["machine"]
    assert [one["facets"]["version"]["datasetVersion"] for one in told[1]["inputs"]] == [digest]
    assert [one["name"] for one in told[1]["outputs"]] == [model.id]


@pytest.mark.slow
def test_a_run_is_by_the_person_who_logged_in_whatever_the_client_says(tmp_path: Path) -> None:
    with Store.open(tmp_path / "home") as store:
        at = create_experiment(store, project_id="orders", name="by hand")
        run = store.write(
            creation(store, project_id="orders", experiment_id=at, user="mallory", created_by="person:ada")
        )
        assert ancestry(store, "orders", run.id).facts["by"] == "ada"


def test_a_model_leads_to_the_runs_that_took_it_whether_or_not_a_run_gave_it(tmp_path: Path) -> None:
    with Store.open(tmp_path / "home") as store:
        experiment = create_experiment(store, "p", "e")
        base = create_logged_model(store, "p", experiment, name="base").id
        run = store.write(creation(store, "p", experiment_id=experiment)).id
        log_inputs(store, "p", run, [], [base])
        tuned = create_logged_model(store, "p", experiment, name="tuned").id
        log_outputs(store, "p", run, [(tuned, 0)])
        found = ancestry(store, "p", base)
        assert (found.kind, found.made_from, [one.name for one in found.led_to]) == ("logged model", [], [run])
        assert [one.name for one in found_in(found.led_to, "logged model")] == [tuned]
        back = ancestry(store, "p", tuned)
        assert [(one.name, [below.name for below in one.branches]) for one in back.made_from] == [(run, [base])]
        store.write(change("p", run, status="finished", ended_ms=1))
        told = events(store, "p", back)[-1]
        assert ([one["name"] for one in told["inputs"]], [one["name"] for one in told["outputs"]]) == ([base], [tuned])
        with pytest.raises(NotFound, match="nothing is called"):
            ancestry(store, "other", run)
        with pytest.raises(NotFound, match="nothing is called"):
            ancestry(store, "other", base)
