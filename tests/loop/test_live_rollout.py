"""A rollout in the live loop: step by step at the endpoint; ended by failures; gone on with by whoever comes next."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from living import NAME, Living

from boucle.app.commands.status import under_way
from boucle.governance.api import review_version
from boucle.identity.accounts import add, who_acts
from boucle.identity.api import LOOP
from boucle.kernel import audit
from boucle.loop.asking import ask_to_retrain
from boucle.loop.by_the_minute import keep_alerts
from boucle.loop.following import follow_live
from boucle.loop.live import LIVE
from boucle.loop.records import Advance, Hold, Promote, Refuse, Rollback
from boucle.loop.rolling import burning_before
from boucle.loop.rollout import By, delete_version, deploy_canary, take_away
from boucle.loop.status import status
from boucle.monitoring.alerts import Signal
from boucle.monitoring.api import alerts
from boucle.monitoring.records import Alert
from boucle.serving.counters import open_counters
from boucle.serving.meter import Meter
from boucle.serving.records import Traffic
from boucle.serving.traffic import counters_folder, read_traffic

pytestmark = pytest.mark.slow

STEPS = "  rollout: {shadow_hours: 3, canary: [10, 50], step_hours: 6, step_requests: 50}\n  rollback:"
ROLLED = {"  rollback:": STEPS, "margin: 0.0": "margin: 0.2", "decay: 0.1": "decay: 0.9"}
rolled = pytest.mark.parametrize("living", [ROLLED], indirect=True)


def traffic(living: Living) -> Traffic:
    return read_traffic(living.context.home, NAME)


@contextmanager
def server(living: Living) -> Iterator[Meter]:
    """What a worker counts of the questions it is asked."""
    counters = open_counters(counters_folder(living.context.home, NAME))
    yield Meter(counters)
    counters.close()


def answer(living: Living, requests: int, number: int, *, failed: int = 0, seconds: float = 0.002) -> None:
    with server(living) as meter:
        for _ in range(requests - failed):
            meter.answered("v2", number, seconds, 1)
        for _ in range(failed):
            meter.refused("v2", 500, seconds, number)


def mirror(living: Living, number: int, requests: int = 60) -> None:
    with server(living) as meter:
        for _ in range(requests):
            meter.shadow(number, failed=False)


def wait(living: Living, hours: float) -> None:
    living.clock.advance(hours * 3600)
    living.settle()


def begin(living: Living) -> int:
    """A challenger that a person asked for, as shadow."""
    living.day()
    ask_to_retrain(living.context, by="ada", why="")
    living.settle()
    shadow = traffic(living).shadow
    assert shadow is not None
    return shadow.number


@rolled
def test_a_challenger_is_shadow_then_canary_then_champion_as_what_it_shows_allows(living: Living) -> None:
    number = begin(living)
    wait(living, 2.9)
    assert traffic(living).shadow is not None
    [line, *_] = under_way(status(living.context))
    assert re.fullmatch(rf"version {number} waits as shadow, step 1 of 3 since 20\S+ \d\d:\d\d UTC", line)
    wait(living, 0.2)
    assert traffic(living).shadow is not None  # nobody asked it
    mirror(living, number)
    living.settle()
    canary = traffic(living).canary
    assert canary is not None
    assert (canary.deployment.number, canary.weight, traffic(living).shadow) == (number, 10.0, None)
    wait(living, 7)
    canary = traffic(living).canary
    assert canary is not None
    assert canary.weight == 10.0  # nobody asked it
    answer(living, 60, number)
    answer(living, 500, 1)
    wait(living, 0.1)
    canary = traffic(living).canary
    assert canary is not None
    assert canary.weight == 50.0
    answer(living, 60, number)
    wait(living, 6.1)
    assert (living.champion(), traffic(living).champion.number, traffic(living).canary) == (number, number, None)
    advances = [one.action for one in living.actions(Advance)]
    assert [(one.step, one.role, one.percent) for one in advances if isinstance(one, Advance)] == [
        (1, "shadow", 0.0),
        (2, "canary", 10.0),
        (3, "canary", 50.0),
    ]
    assert len(living.actions(Promote)) == 1
    told = living.store.read(lambda conn: audit.records(conn, project_id=NAME))
    by_loop = [
        one.action for one in told if one.actor == LOOP.name and str(one.details.get("percent")) in ("10.0", "50.0")
    ]
    assert len(by_loop) == 2


@rolled
def test_a_canary_that_fails_is_taken_away_at_once_and_refused_with_its_numbers(living: Living) -> None:
    number = begin(living)
    mirror(living, number)
    wait(living, 3.1)
    answer(living, 20, number, failed=6)
    answer(living, 500, 1, failed=1)
    wait(living, 0.1)
    assert (traffic(living).canary, living.champion()) == (None, 1)
    [refused] = living.actions(Refuse)
    assert refused.action.reason == (
        f"version {number} as canary of 10 % failed at 6 of 20 requests, the champion at 1 of 500"
    )


@pytest.mark.long
@rolled
def test_a_canary_that_is_slow_is_taken_away(living: Living) -> None:
    number = begin(living)
    mirror(living, number)
    wait(living, 3.1)
    answer(living, 60, number, seconds=0.4)
    answer(living, 500, 1)
    wait(living, 0.1)
    assert traffic(living).canary is None
    assert "is slow as canary of 10 %" in living.actions(Refuse)[-1].action.reason


@pytest.mark.long
@rolled
def test_a_shadow_that_fails_is_taken_away(living: Living) -> None:
    number = begin(living)
    with server(living) as meter:
        for _ in range(9):
            meter.shadow(number, failed=True)
    wait(living, 0.1)
    assert traffic(living).shadow is None
    assert "as shadow failed at 9 of 9 requests" in living.actions(Refuse)[-1].action.reason


@pytest.mark.long
@rolled
def test_whoever_takes_over_goes_on_where_the_rollout_was(living: Living) -> None:
    number = begin(living)
    living.take_over()
    living.settle()
    shadow = traffic(living).shadow
    assert shadow is not None
    mirror(living, number)
    wait(living, 3.1)
    living.take_over()
    living.settle()
    assert [one.version for one in living.actions(Advance)] == [number, number]
    canary = traffic(living).canary
    assert canary is not None
    assert canary.weight == 10.0


@pytest.mark.long
@rolled
def test_what_a_person_put_there_stays_and_the_rollout_waits(living: Living) -> None:
    first = begin(living)
    mirror(living, first)
    wait(living, 3.1)
    answer(living, 20, first, failed=9)
    wait(living, 0.1)
    for _ in range(3):  # labels come, so that what is trained next is another version
        living.day()
    second = begin(living)
    deploy_canary(living.store, By(project_id=NAME, actor="ada"), NAME, NAME, first, percent=3.0)
    living.day()
    canary, shadow = traffic(living).canary, traffic(living).shadow
    assert (canary and canary.deployment.number, shadow and shadow.number) == (first, second)
    assert f"endpoint has version {first} as canary" in living.actions(Hold)[-1].action.reason


@pytest.mark.parametrize(
    "living", [{"margin: 0.0": "margin: 0.2, review: true", "decay: 0.1": "decay: 0.9"}], indirect=True
)
def test_a_challenger_that_needs_a_review_waits_for_it_and_is_promoted_within_a_look(living: Living) -> None:
    living.day()
    ask_to_retrain(living.context, by="ada", why="")
    living.settle()
    assert "waits for persons: reviews" in living.actions(Hold)[-1].action.reason
    add(living.store, "root", "admin", actor="root")
    rita = who_acts(living.store, add(living.store, "rita", "reviewer", actor="root").text)
    review_version(living.store, rita, project_id=NAME, model=NAME, number=2, verdict="approve")
    living.settle()
    assert living.champion() == 2


@pytest.mark.parametrize("living", [{"margin: 0.0": "margin: 0.2", "decay: 0.1": "decay: 0.9"}], indirect=True)
def test_a_champion_that_fails_since_it_is_in_charge_is_rolled_back_before_the_next_window(living: Living) -> None:
    living.day()
    ask_to_retrain(living.context, by="ada", why="")
    living.settle()
    assert living.champion() == 2
    answer(living, 500, 1)
    answer(living, 100, 2, failed=30)
    living.settle()
    assert living.champion() == 1
    assert "version 2 failed at 30 of 100 requests" in living.actions(Rollback)[-1].action.reason


SERVED = {
    "margin: 0.0": "margin: 0.2",
    "decay: 0.1": "decay: 0.9",
    "watch_days: 20": "watch_days: 20, service: true",
    "at_least: 0.99}": "at_least: 0.99}\n  - {metric: latency_p95_ms, at_most: 50}",
}


def watch(living: Living, *subjects: str, silent: tuple[str, ...] = (), hours: float = 0.25) -> list[str]:
    """What the service's monitor makes of what burns, or is spent, some time later: the ids of open alerts."""
    living.clock.advance(hours * 3600)
    burn: dict[str, float | str] = {"burn_rate": 20.0, "short_s": 300.0}
    signals = [
        Signal(kind="slo", subject=one, message=f"{one} is bad", evidence={} if one.endswith("budget") else burn)
        for one in subjects
    ]
    keep_alerts(living.store, NAME, signals, living.context.project.alerts, silent=silent)
    living.settle()
    return [one.id for one in alerts(living.store, NAME, LIVE, only_open=True) if one.kind == "slo"]


def slow_alerts(living: Living) -> list[Alert]:
    return [one for one in alerts(living.store, NAME, LIVE, only_open=True) if one.kind == "latency"]


@pytest.mark.parametrize("living", [SERVED], indirect=True)
def test_a_breach_is_rolled_back_though_there_was_another_shortly_before_the_promotion(living: Living) -> None:
    living.day()
    first = watch(living, "availability")
    assert watch(living, "availability") == first != []
    assert watch(living, silent=("availability",)) == first  # nobody asked: it is not over by that
    spent = watch(living, "availability budget")
    assert len(spent) == 1
    assert first != spent  # what burnt is over at once; what is spent stays so for long
    ask_to_retrain(living.context, by="ada", why="")
    living.settle()
    assert living.champion() == 2
    watch(living, "latency_p95_ms budget", "availability", hours=0.05)
    assert living.champion() == 2  # nobody knows which version spent it, nor which one burnt five minutes ago
    watch(living, hours=0.01)
    living.latency_ms = 90.0
    living.day()
    assert [one.subject for one in slow_alerts(living)] == ["latency_p95_ms"]
    assert living.champion() == 2  # version 1 was in charge when the window began
    again = watch(living, "availability", "availability budget")
    assert not set(first) & set(again)
    assert living.champion() == 1
    assert "availability is bad" in living.actions(Rollback)[-1].action.reason
    assert "latency" not in living.actions(Rollback)[-1].action.reason
    stage = living.controller._stage or pytest.fail("nothing was decided")
    slow = [one.id for one in slow_alerts(living)]
    for told_before in (True, False):
        living.day(decide=False)
        assert set(slow).issubset(burning_before(stage)) is told_before


@rolled
def test_a_place_that_a_person_changed_or_ended_is_not_given_again_and_the_challenger_is_refused(
    living: Living,
) -> None:
    ada = By(project_id=NAME, actor="ada")
    number = begin(living)
    deploy_canary(living.store, ada, NAME, NAME, number, percent=5.0)  # which was the shadow
    living.settle()
    [refused] = living.actions(Refuse)
    assert f"version {number} cannot be rolled out as shadow: persons changed its place" in refused.action.reason
    living.take_over()
    living.day()
    canary = traffic(living).canary
    assert (canary and (canary.deployment.number, canary.weight), traffic(living).shadow) == ((number, 5.0), None)
    take_away(living.store, ada, NAME, "canary")

    for _ in range(2):  # labels come, so that what is trained next is another version
        living.day()
    number = begin(living)
    mirror(living, number)
    wait(living, 3.1)
    assert traffic(living).canary is not None
    take_away(living.store, ada, NAME, "canary")
    follow_live(living.controller._stage or pytest.fail("nothing was decided"))  # as when a window closes just then
    assert traffic(living).canary is None
    delete_version(living.store, ada, NAME, number)
    living.take_over()
    living.settle()
    assert (traffic(living).canary, len(living.actions(Refuse))) == (None, 2)
