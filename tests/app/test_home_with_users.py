"""A home that has users asks who works beside it for a token, as its server does: commands, training, `boucle run`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from boucle.app.main import run_command
from boucle.identity import accounts
from boucle.identity.api import local_principal
from boucle.kernel import audit, trees
from boucle.kernel.store import Store
from boucle.models import api as models
from boucle.runs.api import list_runs
from boucle.serving.keys import add_key, remove_key

pytestmark = pytest.mark.slow

_TRAINING: Final = """
import logging, sys, boucle
logging.basicConfig(level=logging.CRITICAL, filename="training.log")  # what a program says of its own must not hide it
for number in range(3):
    with boucle.start_run("short", url=sys.argv[1] or None, home=sys.argv[2] or None) as run:
        run.log("loss", float(number))
print("trained")
"""


class Place(NamedTuple):
    """A home with users in a folder, and everybody's token."""

    folder: Path
    tokens: dict[str, str]

    def environment(self, who: str | None) -> dict[str, str]:
        token = {} if who is None else {"BOUCLE_TOKEN": self.tokens[who]}
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "BOUCLE_SPOOL": str(self.folder / "spool"),
            **token,
        }

    def train(self, who: str | None, url: str = "", **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a training program to its end."""
        around = self.environment(who) | variables
        words = [sys.executable, "-c", _TRAINING, url, "" if url else str(self.folder / ".boucle")]
        return subprocess.run(
            words, cwd=self.folder, env=around, capture_output=True, text=True, timeout=120, check=False
        )

    def runs(self) -> int:
        with Store.open(self.folder / ".boucle") as store:
            return len(list_runs(store, "default"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    with Store.open(tmp_path / ".boucle") as store:
        roles = {"ada": "admin", "trainer": "author", "grace": "reviewer", "rea": "reader"}
        tokens = {name: accounts.add(store, name, role, actor="person:ada").text for name, role in roles.items()}
        models.create_model(store, project_id="default", name="m", author="person:trainer")
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "weights").write_text("1")
        digest = trees.freeze(store.blobs, tmp_path / "model")
        who = {"project_id": "default", "model": "m", "author": "person:trainer", "source": None}
        models.create_version(store, bundle_digest=digest, **who)  # type: ignore[arg-type]  # one value is None
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BOUCLE_TOKEN", raising=False)
    return Place(tmp_path, tokens)


@pytest.mark.parametrize(
    ("words", "may", "may_not"),
    [
        ("models policy set m --reviews 1", "ada", "trainer"),
        ("models policy remove m", "ada", "trainer"),
        ("models promote m 1", "trainer", "rea"),
        ("models promote m 1 --alias other", "ada", "grace"),
        ("deploy m/1 --to e", None, "rea"),
        ("keys add e app", "trainer", "rea"),
        ("keys remove e before", "trainer", "rea"),
        ("keys open e", "trainer", "rea"),
    ],
)
def test_who_changes_the_registry_at_the_home_has_a_token_of_the_role(
    place: Place,
    words: str,
    may: str | None,
    may_not: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ended(who: str | None) -> tuple[int, str]:
        if who is None:
            monkeypatch.delenv("BOUCLE_TOKEN", raising=False)
        else:
            monkeypatch.setenv("BOUCLE_TOKEN", place.tokens[who])
        return run_command(words.split()), " ".join(capsys.readouterr().err.split())

    if words.startswith("keys"):
        add_key(place.folder / ".boucle", "e", "before", per_second=None, now_ms=0)
    if words.startswith("keys open"):
        remove_key(place.folder / ".boucle", "e", "before")
    if "policy remove" in words:
        monkeypatch.setenv("BOUCLE_TOKEN", place.tokens["ada"])
        assert run_command(["models", "policy", "set", "m", "--reviews", "1"]) == 0
    code, told = ended(None)
    assert code == 3
    assert f"{local_principal().name} comes without a token to a store that has users" in told
    assert "next: export BOUCLE_TOKEN=TOKEN; `boucle users token NAME` prints one" in told
    assert ended(may_not)[0] == 3
    if may is not None:
        code, told = ended(may)
        assert code == 0 or "waits until other persons approve" in told
        with Store.open(place.folder / ".boucle") as store:
            assert store.read(lambda conn: audit.records(conn, project_id="default"))[-1].actor == f"person:{may}"


def test_boucle_run_at_a_home_with_users_has_a_token_of_an_author(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.folder / "boucle.yaml").write_text(
        "project: churn\ndata: {source: t.csv, target: y, features: {numeric: [x]}}\n"
    )
    assert run_command(["run"]) == 3
    assert "next: export BOUCLE_TOKEN=TOKEN" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setenv("BOUCLE_TOKEN", place.tokens["trainer"])
    run_command(["run"])
    assert "t.csv" in capsys.readouterr().err


def test_training_at_a_home_with_users_asks_for_a_token_and_loses_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for who, why in ((None, "comes without a token"), ("rea", "person:rea is reader")):
        done = place.train(who)
        assert (done.returncode, done.stdout) == (0, "trained\n")
        assert done.stderr.count("boucle: tracking is refused") == 1
        assert why in done.stderr
    assert place.runs() == 0
    monkeypatch.setenv("BOUCLE_SPOOL", str(place.folder / "spool"))
    monkeypatch.setenv("BOUCLE_TOKEN", place.tokens["rea"])
    assert run_command(["sync"]) == 5
    assert "ask an admin for the role author" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setenv("BOUCLE_TOKEN", place.tokens["trainer"])
    assert run_command(["sync"]) == 0
    assert place.train("trainer").stderr == ""
    with Store.open(place.folder / ".boucle") as store:
        runs = list_runs(store, "default")
    assert len(runs) == 9
    assert {one.tags["boucle.principal"] for one in runs} == {"person:trainer"}
    assert {one.status for one in runs} == {"finished"}


@pytest.fixture
def url(place: Place, free_port: int) -> Iterator[str]:
    command = [sys.executable, "-m", "boucle", "up", "--port", str(free_port)]
    process = subprocess.Popen(command, cwd=place.folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any("MLFLOW_TRACKING_URI" in line for line in process.stdout)
    yield f"http://127.0.0.1:{free_port}"
    process.terminate()
    process.communicate(timeout=60)


def test_a_short_program_without_a_token_says_once_what_is_refused_and_what_to_do(
    place: Place, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = place.train(None, url)
    assert (done.returncode, done.stdout) == (0, "trained\n")
    assert done.stderr == (
        f"boucle: tracking is refused: {url} answers 401: this server has users, and the request carries no token\n"
        "boucle: next: set BOUCLE_TOKEN (or MLFLOW_TRACKING_TOKEN) to a token of an author; "
        "`boucle users token NAME` on the server's machine prints one\n"
        f"boucle: training goes on, nothing is lost: it waits in {place.folder / 'spool'}, "
        "and `boucle sync` sends it then\n"
    )
    assert "next: ask an admin for the role author" in place.train("rea", url).stderr
    assert place.runs() == 0
    monkeypatch.setenv("BOUCLE_SPOOL", str(place.folder / "spool"))
    monkeypatch.setenv("BOUCLE_TOKEN", place.tokens["trainer"])
    assert run_command(["sync"]) == 0
    assert place.runs() == 6


def test_training_comes_with_a_token_in_mlflow_s_variables_too(place: Place, url: str) -> None:
    token = place.tokens["trainer"]
    for variables in (
        {"MLFLOW_TRACKING_TOKEN": token},
        {"MLFLOW_TRACKING_USERNAME": "trainer", "MLFLOW_TRACKING_PASSWORD": token},
    ):
        assert place.train(None, url, **variables).stderr == ""
    assert place.runs() == 6
    told = place.train(None, url, MLFLOW_TRACKING_USERNAME="ada", MLFLOW_TRACKING_PASSWORD=token).stderr
    assert "next: set MLFLOW_TRACKING_PASSWORD to a token that is valid there" in told
    assert place.runs() == 6


def test_without_users_nobody_is_asked(tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    Store.open(tmp_path / "alone" / ".boucle").close()
    alone = Place(tmp_path / "alone", {"old": "boucle_0123456789abcdef_" + "0" * 64})
    for who in (None, "old"):
        assert alone.train(who).stderr == ""
    assert alone.runs() == 6
