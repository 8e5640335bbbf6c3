"""Policies in the live loop: a training that a person asks for, what is learned from, what it may cost."""

from datetime import date
from pathlib import Path

import pytest
from living import NAME, Living
from msgspec.structs import replace
from tests.loop.test_replay import boucle, facts

from boucle.data.api import get_version as get_dataset
from boucle.data.api import load
from boucle.governance.api import add_signature, signatures_of
from boucle.identity.api import LOOP
from boucle.kernel import audit, trees
from boucle.loop.asking import ask_to_retrain
from boucle.loop.records import Hold, Retrain
from boucle.loop.signing import sign_if_asked
from boucle.models.api import get_version
from boucle.packaging.signing import PrivateKey, fingerprint, new_key, private_pem, public_pem, sign

pytestmark = pytest.mark.slow


def test_what_a_person_asks_for_is_trained_once_and_explained(living: Living) -> None:
    living.day()
    asked = ask_to_retrain(living.context, by="ada", why="new prices")
    living.settle()
    [training] = living.actions(Retrain)
    assert isinstance(training.action, Retrain)
    assert (training.action.trigger, training.action.request) == ("manual", asked.id)
    assert "ada asked for it" in training.action.reason
    assert training.minutes is not None
    living.take_over()
    living.day()
    assert len(living.actions(Retrain)) == 1
    told = living.store.read(lambda conn: audit.records(conn, project_id=NAME))
    assert [one.actor for one in told if one.action == "loop.retrain"] == ["ada"]


def test_a_wish_outlives_whoever_would_have_met_it_and_comes_before_there_is_a_loop(living: Living) -> None:
    first = ask_to_retrain(living.context, by="ada", why="")
    second = ask_to_retrain(living.context, by="bob", why="again")
    living.day(decide=False)
    living.take_over()
    living.settle()
    requests = [one.action.request for one in living.actions(Retrain) if isinstance(one.action, Retrain)]
    assert requests == [first.id, second.id]


@pytest.mark.long
@pytest.mark.parametrize(
    "living",
    [{"cooldown_days: 6, decay: 0.1": "cooldown_days: 1, decay: 0.5, minutes_per_week: 0.0001"}],
    indirect=True,
)
def test_a_budget_of_minutes_holds_the_next_training(living: Living) -> None:
    living.day()
    for why in ("one", "two"):
        ask_to_retrain(living.context, by="ada", why=why)
        living.settle()
        living.day()
    assert len(living.actions(Retrain)) == 1
    assert "minutes of training in seven days" in living.actions(Hold)[-1].action.reason


@pytest.mark.long
@pytest.mark.parametrize(
    "living", [{"cooldown_days: 6, decay: 0.1": "cooldown_days: 6, decay: 0.1, newest_rows: 700"}], indirect=True
)
def test_the_newest_rows_alone_are_learned_from(living: Living) -> None:
    while living.day() < date(2024, 2, 8):  # the rows of two days are quarantined
        pass
    ask_to_retrain(living.context, by="ada", why="")
    living.settle()
    [training] = living.actions(Retrain)
    version = get_version(living.store, NAME, NAME, training.version or 0)
    rows = load(living.store, version.learned_from)
    assert rows.height == 700
    assert rows["at"].max() == load(living.store, get_dataset(living.store, version.learned_from).digest)["at"].max()


@pytest.mark.long
@pytest.mark.parametrize(
    "living",
    [
        {
            "cooldown_days: 6, decay: 0.1": "cooldown_days: 14, decay: 0.9, drift_columns: 5, since_change: true",
            "{min_rows: 100": "{min_rows: 200",
        }
    ],
    indirect=True,
)
def test_since_a_change_learns_from_what_came_after_it(living: Living) -> None:
    while living.day() < date(2024, 2, 19):  # the world changes on 10 February; labels come two days late
        pass
    ask_to_retrain(living.context, by="ada", why="the world changed")
    living.settle()
    training = living.actions(Retrain)[-1]
    assert training.facts is not None
    assert training.facts.changed_on is not None
    assert date(2024, 2, 8) <= training.facts.changed_on <= date(2024, 2, 12)
    version = get_version(living.store, NAME, NAME, training.version or 0)
    assert load(living.store, version.learned_from)["at"].min().date() == training.facts.changed_on


@pytest.mark.long
def test_the_command_asks_and_says_so(living: Living) -> None:
    living.day()
    asked = facts(living.context.folder, "loop", "retrain", "--why", "new prices")
    assert asked["why"] == "new prices"
    living.settle()
    assert living.actions(Retrain)[-1].action.reason.endswith("new prices")
    wrong = boucle(living.context.folder, "loop", "retrain", "--why", "x" * 501)
    assert (wrong.returncode, "at most 500 printable characters" in wrong.stderr) == (2, True)


def signed_by_policy(living: Living, key: PrivateKey) -> None:
    """From now on a version needs a signature by this key; the one in charge has it."""
    project = living.context.project
    mark = fingerprint(key.public_key())
    governance = replace(project.governance, require_signature=[mark])
    living.context.project = replace(project, governance=governance)
    version = get_version(living.store, NAME, NAME, 1)
    entries = trees.entries(living.store.blobs, version.bundle_digest)
    pem = public_pem(key.public_key()).decode()
    who = {"project_id": NAME, "model": NAME, "number": 1, "actor": "ada"}
    add_signature(living.store, **who, signature=sign(NAME, entries, key), key=pem)


@pytest.mark.parametrize("living", [{"margin: 0.0": "margin: 0.3", "decay: 0.1": "decay: 0.9"}], indirect=True)
def test_the_loop_signs_what_it_trained_by_the_key_that_the_policy_names(
    living: Living, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    key = new_key()
    for _ in range(4):  # labels come, so that the next version is of other files
        living.day()
    signed_by_policy(living, key)
    ask_to_retrain(living.context, by="ada", why="")
    living.settle()
    assert "waits for persons: signature" in living.actions(Hold)[-1].action.reason  # there is no key of its own
    (tmp_path / "boucle").mkdir()
    (tmp_path / "boucle" / "signing.pem").write_bytes(private_pem(key))
    version = get_version(living.store, NAME, NAME, 2)
    sign_if_asked(living.context, version)
    sign_if_asked(living.context, version)
    living.settle()
    assert [one.added_by for one in signatures_of(living.store, version)] == [LOOP.name]
    assert living.champion() == 2
    while living.day() < date(2024, 2, 8):  # the rows of two days are quarantined
        pass
    ask_to_retrain(living.context, by="ada", why="")
    living.settle()
    newest = get_version(living.store, NAME, NAME, living.actions(Retrain)[-1].version or 0)
    assert [one.added_by for one in signatures_of(living.store, newest)] == [LOOP.name]
