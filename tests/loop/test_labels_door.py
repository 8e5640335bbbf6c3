"""Labels over HTTP: at a real server with users, from the SDK and the command line."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from held_ports import free_port
from living import NAME, Living
from tests.app.test_registry_doors import House

import boucle
from boucle.identity import accounts
from boucle.kernel import audit
from boucle.kernel.errors import InvalidInput, Refused, Unauthenticated
from boucle.kernel.store import Store
from boucle.monitoring.api import labels_of

pytestmark = pytest.mark.slow
PATH = f"/p/{NAME}/api/v1/labels"


@pytest.fixture
def house(living: Living) -> Iterator[House]:
    """A server on the home of a project of which a day was served live."""
    living.day()
    roles = {"root": "admin", "trainer": "author", "rea": "reader"}
    with Store.open(living.context.home) as store:  # by the clock of today, as the server's
        tokens = {name: accounts.add(store, name, role, actor="root").text for name, role in roles.items()}
    port = free_port()
    home = living.context.home
    command = [sys.executable, "-m", "boucle", "--home", str(home), "up", "--port", str(port)]
    process = subprocess.Popen(command, cwd=home.parent.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    assert b"answers for project" in process.stdout.readline()
    try:
        yield House(home, port, tokens)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=30)


def test_labels_come_over_http_once_and_what_is_wrong_with_them_is_told(living: Living, house: House) -> None:
    told = {"labels": [{"key": key, "label": label} for key, label in (("o1800", 1), ("o1801", 0), ("nobody", 1))]}
    status, taken = house.ask("POST", PATH, told)
    assert (status, taken["kept"], taken["known"], taken["waiting_ids"]) == (200, 3, 0, ["nobody"])
    assert (taken["joined"], taken["waiting"]) == (2, 1)
    status, again = house.ask("POST", PATH, told)
    assert (status, again["kept"], again["known"]) == (200, 3, 3)
    other = {"labels": [{"key": "o1800", "label": 1}, {"key": "o1800", "label": 0}, {"key": "o1801", "label": "?"}]}
    status, corrected = house.ask("POST", PATH, other)
    assert [corrected[one] for one in ("contradictory", "corrected", "not_understood")] == [1, 1, 1]
    status, wrong = house.ask("POST", PATH, {"labels": [{"key": "o1800", "late": 1}]})
    assert (status, "each of labels has label, key, request_id, row" in wrong["error"]["message"]) == (400, True)
    known = dict(labels_of(living.store, NAME, "live").table.iter_rows())
    assert (known["o1800"], known["o1801"]) == ("0", "0")
    entries = living.store.read(lambda conn: audit.records(conn, project_id=NAME))
    assert [one.actor for one in entries if one.action == "labels.add"] == ["person:trainer"] * 2


@pytest.mark.long
def test_who_may_not_write_tells_no_labels_and_what_is_malformed_is_refused(living: Living, house: House) -> None:
    told = {"labels": [{"key": "o1800", "label": 1}]}
    assert house.ask("POST", PATH, told, who="rea")[0] == 403
    for wrong in ({}, {"labels": []}, {"labels": [{"key": "a", "nothing": 1}]}, {"labels": [{"label": 1}], "x": 1}):
        assert house.ask("POST", PATH, wrong)[0] == 400, wrong
    both = {"labels": [{"key": "a", "label": 1}, {"request_id": "b", "label": 1}]}
    assert house.ask("POST", PATH, both)[0] == 400
    assert labels_of(living.store, NAME, "live").table.is_empty()


@pytest.mark.long
def test_a_program_and_the_command_line_send_them(living: Living, house: House, tmp_path: Path) -> None:
    import pandas as pd
    import polars as pl

    token = house.tokens["trainer"]
    rows = [{"key": "o1800", "label": 1}, {"key": "o1801", "label": 0}]
    for labels in (rows, pl.DataFrame(rows), pd.DataFrame(rows)):
        taken = boucle.send_labels(labels, url=house.url, project=NAME, token=token)
        assert taken.kept == 2
    home = boucle.send_labels(rows, home=house.home, project=NAME, token=token)
    assert home.known == 2
    with pytest.raises(Refused):
        boucle.send_labels(rows, url=house.url, project=NAME, token=house.tokens["rea"])
    with pytest.raises(Unauthenticated):
        boucle.send_labels(rows, url=house.url, project=NAME, token="nonsense")
    with pytest.raises(InvalidInput, match="needs `label`"):
        boucle.send_labels([{"a": 1}], url=house.url, project=NAME, token=token)
    file = tmp_path / "arrived.csv"
    file.write_text("id,late\no1800,0\n")
    folder = str(living.context.folder)
    command = [sys.executable, "-m", "boucle", "--project", folder, "labels", str(file), "--url", house.url, "--json"]
    environ = {"BOUCLE_TOKEN": token, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["corrected"] == 1
