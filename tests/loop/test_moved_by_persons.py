"""The live loop goes on whatever people do to versions: reject, delete, put another one in charge."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from living import NAME, Living
from test_live_rollout import answer

from boucle.governance.api import review_version, set_alias
from boucle.identity.accounts import add, who_acts
from boucle.kernel import trees
from boucle.kernel.store import Store
from boucle.loop import store as tables
from boucle.loop.asking import ask_to_retrain, waits_for
from boucle.loop.controller import following
from boucle.loop.live import LIVE
from boucle.loop.monitor import Monitor
from boucle.loop.records import (
    Action,
    ChampionFacts,
    Decision,
    Facts,
    Hold,
    Promote,
    Refuse,
    Retrain,
    Rollback,
)
from boucle.loop.rollout import By, delete_version
from boucle.loop.standing import Standing, standing
from boucle.loop.status import status
from boucle.models.api import create_version
from boucle.models.records import CHAMPION
from boucle.monitoring.api import windows
from boucle.monitoring.records import Service, Window
from conftest import YAML

DAY = date(2024, 2, 1)
promotes = pytest.mark.parametrize(
    "living", [{"margin: 0.0": "margin: 0.2", "decay: 0.1": "decay: 0.9"}], indirect=True
)


def promoted(living: Living) -> None:
    """Version 2 is in charge."""
    living.day()
    ask_to_retrain(living.context, by="ada", why="")
    living.settle()
    assert living.champion() == 2


def reject(living: Living, number: int) -> None:
    add(living.store, "root", "admin", actor="root")
    rita = who_acts(living.store, add(living.store, "rita", "reviewer", actor="root").text)
    review_version(living.store, rita, project_id=NAME, model=NAME, number=number, verdict="reject", comment="wrong")


def fail(living: Living) -> None:
    answer(living, 500, 1)
    answer(living, 100, 2, failed=30)
    living.settle()


@pytest.mark.slow
@promotes
def test_a_rollback_that_is_not_permitted_is_told_once_and_the_loop_goes_on(living: Living) -> None:
    promoted(living)
    reject(living, 1)
    fail(living)
    living.settle()
    assert living.champion() == 2
    [held] = [one.action for one in living.actions(Hold)]
    assert "version 1 cannot be put back in charge: the permit of version 1 of orders counts no longer" in held.reason
    assert "due: version 2 failed at 30 of 100 requests" in held.reason
    living.day()
    assert (living.actions(Rollback), living.decided()[-1].window or living.decided()[-1].day) == ([], date(2024, 2, 1))
    ask_to_retrain(living.context, by="ada", why="version 2 fails")
    living.settle()
    assert len(living.actions(Retrain)) == 2


@pytest.mark.slow
@promotes
def test_monitor_and_loop_need_no_version_that_a_person_deleted(living: Living) -> None:
    promoted(living)
    by = By(project_id=NAME, actor="ada")
    delete_version(living.store, by, NAME, 1)
    living.monitor = Monitor(living.context, lambda _: None)
    living.take_over()
    fail(living)
    assert "no version 1 of model 'orders'" in living.actions(Hold)[-1].action.reason
    ask_to_retrain(living.context, by="ada", why="")
    day = living.day()
    assert (living.decided()[-1].day, len(living.actions(Retrain))) == (day, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "living", [{"{min_rows: 100, margin: 0.0": "{min_rows: 5000", "decay: 0.1": "decay: 0.9"}], indirect=True
)
def test_a_challenger_that_a_person_deleted_is_turned_down(living: Living) -> None:
    living.day()
    ask_to_retrain(living.context, by="ada", why="")
    living.settle()
    delete_version(living.store, By(project_id=NAME, actor="ada"), NAME, 2)
    living.take_over()
    living.day()
    [refused] = living.actions(Refuse)
    assert "no version 2 of model 'orders'" in refused.action.reason


OBJECTIVES = YAML[YAML.index("objectives:") : YAML.index("training:")]


@pytest.mark.slow
@pytest.mark.parametrize("living", [{OBJECTIVES: "", "decay: 0.1": "decay: 0.9"}], indirect=True)
def test_what_a_client_registered_may_take_charge_and_monitor_and_loop_go_on(living: Living, tmp_path: Path) -> None:
    living.day()
    windows_before = windows(living.store, NAME, LIVE)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("of a client")
    foreign = create_version(
        living.store,
        project_id=NAME,
        model=NAME,
        bundle_digest=trees.freeze(living.store.blobs, tmp_path / "model"),
        author="person:ada",
        source=None,
    )
    put = {"project_id": NAME, "model": NAME, "alias": CHAMPION, "actor": "person:ada"}
    set_alias(living.store, number=foreign.number, **put)
    living.answering = 1  # its files are no bundle, so that no server can answer with it
    ask_to_retrain(living.context, by="ada", why="")
    living.day()
    living.monitor = Monitor(living.context, lambda _: None)
    living.take_over()
    day = living.day()
    found = windows(living.store, NAME, LIVE)
    assert (len(found), found[-1].quarantined, found[-1].drift != []) == (len(windows_before) + 2, False, True)
    assert f"version {foreign.number} is in charge, which a client registered" in living.actions(Hold)[-1].action.reason
    assert (living.decided()[-1].day, waits_for(living.context)) == (day, living.actions(Hold)[-1].action.reason)
    told = status(living.context)
    assert (told.in_charge, told.decided_through, len(told.quality)) == (foreign.number, str(day), 3)
    set_alias(living.store, number=1, **put)
    living.day()
    assert len(living.actions(Retrain)) == 1  # which was asked for


def facts(number: int) -> Facts:
    champion = ChampionFacts(number=number, metric_at_promotion=0.7, promoted_on=DAY, previous=None)
    return Facts(
        today=DAY,
        champion=champion,
        challenger=None,
        last_trained_on=DAY,
        performance=None,
        performance_rows=0,
        drifted=[],
        quarantined_today=[],
        previous_comparison=None,
    )


def decision(number: int, action: Action, *, day: date = DAY, on: Facts | None = None) -> Decision:
    return Decision(id=f"live/{day}/{number:02}", stream="live", day=day, action=action, outcome="", facts=on)


def folded(*decisions: Decision) -> Standing:
    return standing(decisions, first_version=1, first_day=DAY)


@pytest.mark.parametrize("number", [3, 2], ids=["another", "the same again"])
def test_a_rollback_goes_back_to_whom_a_person_had_put_in_charge(number: int) -> None:
    second = decision(0, Promote(number=2, reason=""), on=facts(1))
    third = decision(1, Promote(number=number, reason=""), on=facts(1))  # decided while version 1 was in charge again
    now = folded(second, third)
    assert (now.champion, now.previous) == (number, 1)


def test_decisions_come_in_the_order_in_which_they_were_taken(store: Store) -> None:
    held = store.write(lambda conn: tables.begin(conn, NAME, "live", first_version=1))
    days = [*[DAY] * 120, DAY - timedelta(days=1), DAY]
    taken = [decision(n, Hold(reason=str(n)), day=day) for n, day in enumerate(days)]
    for one in taken:
        store.write(lambda conn, one=one: tables.commit(conn, NAME, held, one))
    assert store.read(lambda conn: tables.decided(conn, NAME, "live")) == taken
    assert store.read(lambda conn: tables.decided(conn, NAME, "live", DAY)) == [one for one in taken if one.day == DAY]


def window(begins: datetime, hours: float, number: int | None = None) -> Window:
    return Window(
        day=begins.date(),
        rows=1,
        versions={},
        findings=[],
        drift=[],
        quarantined=False,
        service=Service(requests=0, errors=0, latency_p50_ms=0, latency_p95_ms=0, latency_p99_ms=0),
        begins_at=None if hours == 24 else begins,
        ends_at=None if hours == 24 else begins + timedelta(hours=hours),
        number=number,
    )


def test_the_loop_goes_on_when_windows_are_by_time_or_by_count_from_now_on() -> None:
    at = datetime(2024, 2, 1, tzinfo=UTC)
    counted = [window(at + timedelta(hours=n), 1, n + 1) for n in range(3)]
    hours = [window(at + timedelta(hours=n), 1) for n in range(5)]
    days = [window(at, 24), window(at + timedelta(days=1), 24)]

    def keys(found: list[Window], done: Window) -> list[str]:
        return [one.key for one in following(found, done.key)]

    assert keys([*counted, *hours], counted[1]) == [counted[2].key, *(one.key for one in hours[2:])]
    assert keys([*days[:1], *counted, *days[1:]], counted[2]) == [one.key for one in days]
    assert keys([*counted, *hours[:2]], hours[1]) == [counted[2].key]
    assert keys([days[0], *counted], days[0]) == []
    late = window(at - timedelta(hours=9), 1, 4)
    assert keys([late, *counted], counted[2]) == [late.key]
    assert following(hours, None) == hours
