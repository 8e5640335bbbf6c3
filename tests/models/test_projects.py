"""Listing the projects of a store."""

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from boucle.app.main import run_command
from boucle.governance.api import delete_model, rename_model
from boucle.identity.http import Request, Response
from boucle.kernel.store import Store
from boucle.models.api import create_model
from boucle.models.projects import Project, list_projects
from boucle.protocols.native.registry import routes
from boucle.runs.experiments import create_experiment, get_experiment
from boucle.runs.lifecycle import creation, delete_run

BEGAN_MS = 1_362_096_000_000


def fill(store: Store) -> None:
    """One project with runs, and one with a model only; somebody reads one by a mistyped name."""
    create_experiment(store, "churn", "e")
    store.write(creation(store, "churn", started_ms=BEGAN_MS))
    delete_run(store, "churn", store.write(creation(store, "churn", started_ms=BEGAN_MS + 1000)).id)
    create_model(store, project_id="bought", name="m", author="person:ada")
    get_experiment(store, "chrun", 0)
    for name in ("gone", "old"):
        create_model(store, project_id="bought", name=name, author="person:ada")
    delete_model(store, project_id="bought", model="gone", actor="person:ada")
    rename_model(store, project_id="bought", model="old", new_name="new", actor="person:ada")


def test_a_store_lists_the_projects_that_were_written_to(store: Store) -> None:
    assert list_projects(store) == []
    fill(store)
    assert list_projects(store) == [
        Project(project="bought", experiments=0, runs=0, models=2, newest_run_at=None),
        Project(project="churn", experiments=2, runs=1, models=0, newest_run_at=datetime(2013, 3, 1, tzinfo=UTC)),
    ]
    (route,) = [one for one in routes(store) if one.path == "/projects"]
    answer = route.handler(Request("GET", "/projects", project="elsewhere"))
    assert isinstance(answer, Response)
    assert [one["project"] for one in msgspec.json.decode(answer.body)] == ["bought", "churn"]


def test_the_command_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with Store.open(tmp_path / ".boucle") as store:
        fill(store)
    assert run_command(["projects", "--json"]) == 0
    assert [(one["project"], one["runs"]) for one in json.loads(capsys.readouterr().out)] == [
        ("bought", 0),
        ("churn", 1),
    ]
    assert run_command(["projects"]) == 0
    assert "churn" in capsys.readouterr().out
