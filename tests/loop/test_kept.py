"""What rows keep of decisions and jobs: everything once."""

from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import text

from boucle.kernel.store import Store
from boucle.loop import store as tables
from boucle.loop.records import ChampionFacts, Decision, Facts, Hold, Job, Retrain, Stream, Trained
from boucle.project.records import LoopSection, RetrainPolicy

POLICY, OTHER = LoopSection(), LoopSection(retrain=RetrainPolicy(cooldown_days=3))
FACTS = Facts(
    today=date(2024, 1, 1),
    champion=ChampionFacts(number=1, metric_at_promotion=0.7, promoted_on=date(2024, 1, 1), previous=None),
    challenger=None,
    last_trained_on=date(2024, 1, 1),
    performance=None,
    performance_rows=0,
    drifted=[],
    quarantined_today=[],
    previous_comparison=None,
)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store.open(tmp_path / "home") as opened:
        yield opened


def begun(store: Store) -> Stream:
    return store.write(lambda conn: tables.begin(conn, "p", "live", first_version=1))


def decision(day: int, policy: LoopSection | None) -> Decision:
    return Decision(
        id=f"live/2024-01-{day:02}/00",
        stream="live",
        day=date(2024, 1, day),
        action=Hold(reason="not yet"),
        outcome="nothing is done",
        facts=None if policy is None else FACTS,
        policy=policy,
    )


def test_a_policy_is_kept_once_and_each_decision_has_it(store: Store) -> None:
    held = begun(store)
    policies = [POLICY, POLICY, None, POLICY, OTHER, OTHER, OTHER, POLICY, POLICY]
    taken = [decision(day, policy) for day, policy in enumerate(policies, start=1)]
    for one in taken:
        store.write(lambda conn, one=one: tables.commit(conn, "p", held, one))  # type: ignore[misc]
    assert store.read(lambda conn: tables.decided(conn, "p", "live")) == taken
    for one in taken:
        assert store.read(lambda conn, one=one: tables.decided(conn, "p", "live", one.day)) == [one]  # type: ignore[misc]
    rows = store.read(lambda conn: conn.execute(text("SELECT body FROM loop_decisions ORDER BY day")).scalars().all())
    kept = [json["policy"] is not None for json in map(msgspec.json.decode, rows)]
    assert kept == [True, False, False, True, True, False, False, True, False]


def test_rows_that_repeat_their_policy_are_read_and_gone_on_from(store: Store) -> None:
    held = begun(store)
    before = [decision(1, POLICY), decision(2, POLICY)]
    for one in before:  # as they were kept before
        row = {"day": str(one.day), "id": one.id, "body": msgspec.json.encode(one).decode()}
        insert = "INSERT INTO loop_decisions (project_id, id, stream, day, body) VALUES ('p', :id, 'live', :day, :body)"
        store.write(lambda conn, row=row, insert=insert: conn.execute(text(insert), row))  # type: ignore[misc]
    now = decision(3, POLICY)
    store.write(lambda conn: tables.commit(conn, "p", held, now))
    assert store.read(lambda conn: tables.decided(conn, "p", "live")) == [*before, now]


@pytest.mark.parametrize("state", ["done", "dropped"])
def test_of_a_job_that_is_over_nothing_is_kept_but_what_a_training_came_to(store: Store, state: Any) -> None:
    held, trained = begun(store), Trained(number=2, outcome="version 2: gates passed")
    waits = job("live/2024-01-01/00", Hold(reason="not yet"))
    trains = replace(job("live/2024-01-01/01", Retrain(reason="asked", trigger="manual")), trained=trained)
    for one in (waits, trains):
        store.write(lambda conn, one=one: tables.put_job(conn, "p", held, one))  # type: ignore[misc]
        assert store.read(lambda conn, one=one: tables.get_job(conn, "p", one.id)) == one  # type: ignore[misc]
    assert store.read(lambda conn: tables.list_jobs(conn, "p", "live")) == [waits, trains]
    for one in (waits, trains):
        over = replace(one, state=state)
        store.write(lambda conn, over=over: tables.put_job(conn, "p", held, over))  # type: ignore[misc]
    kept = replace(trains, state=state, facts=None, policy=None)
    assert store.read(lambda conn: tables.list_jobs(conn, "p", "live")) == [kept]


def job(job_id: str, action: Hold | Retrain) -> Job:
    return Job(
        id=job_id,
        stream="live",
        day=date(2024, 1, 1),
        window="2024-01-01",
        action=action,
        state="running",
        epoch=1,
        facts=FACTS,
        policy=POLICY,
    )


def test_decisions_are_read_on_from_where_one_was(store: Store) -> None:
    held = begun(store)
    assert store.read(lambda conn: tables.decided_since(conn, "p", "live", 0)) == (0, [])
    taken = [decision(day, POLICY) for day in (1, 3, 2)]
    for one in taken[:2]:
        store.write(lambda conn, one=one: tables.commit(conn, "p", held, one))  # type: ignore[misc]
    place, found = store.read(lambda conn: tables.decided_since(conn, "p", "live", 0))
    assert found == taken[:2]
    store.write(lambda conn: tables.commit(conn, "p", held, taken[2]))
    last, found = store.read(lambda conn: tables.decided_since(conn, "p", "live", place))
    assert found == taken[2:]
    assert store.read(lambda conn: tables.decided_since(conn, "p", "live", last)) == (last, [])
