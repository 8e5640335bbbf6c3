"""Incidents: many alerts are one, people acknowledge and silence them, and every change is in the audit log."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import delete

from boucle.kernel import audit
from boucle.kernel.clock import FixedClock
from boucle.kernel.errors import InvalidInput, NotFound, Refused
from boucle.kernel.store import Store
from boucle.monitoring.alerting import api, outbox
from boucle.monitoring.alerting.grouping import MOST_MEMBERS, next_incidents
from boucle.monitoring.alerting.notices import notification
from boucle.monitoring.alerting.policy import (
    AlertmanagerRoute,
    AlertRule,
    AlertsSection,
    Route,
    SlackRoute,
    WebhookRoute,
)
from boucle.monitoring.alerting.records import Incident, Notification, Waiting
from boucle.monitoring.alerting.telling import settle, settle_if_due
from boucle.monitoring.records import Alert

DAY = date(2013, 3, 1)
ADA = "person:ada"
HOOK = WebhookRoute(name="hook", url="https://hooks.example.org/x", secret_env="S")


def alert(subject: str, kind: str = "drift", day: date = DAY) -> Alert:
    return Alert(
        id=f"live/{kind}/{subject}/{day}",
        kind=kind,
        subject=subject,
        opened_on=day,
        message=f"{subject} drifted",
        evidence={"psi": 0.7},
    )


def policy(*routes: Route, rules: Sequence[AlertRule] = ()) -> AlertsSection:
    return AlertsSection(rules=list(rules), routes=list(routes))


def take(
    store: Store, opened: Sequence[Alert], closed: Sequence[Alert] = (), section: AlertsSection | None = None
) -> None:
    store.write(
        lambda conn: api.take(
            conn,
            "p",
            stream="live",
            opened=opened,
            closed=closed,
            window="2013-03-01",
            policy=section or policy(HOOK),
            at=store.clock.now(),
        )
    )


def waiting(store: Store) -> list[Waiting]:
    return store.read(lambda conn: outbox.due(conn, "p", 2**60, 100))


def events(store: Store) -> list[str]:
    return [json.loads(one.body)["event"] for one in waiting(store)]


def arrive(store: Store) -> list[str]:
    """Take what is on its way, in order."""
    found = []
    while due := waiting(store):
        found += [json.loads(one.body)["event"] for one in due]
        for one in due:
            store.write(lambda conn, one=one: outbox.arrived(conn, one, store.clock.now()))
    return found


def pass_time(store: Store, **time: float) -> None:
    assert isinstance(store.clock, FixedClock)
    store.clock.advance(timedelta(**time).total_seconds())


def actions(store: Store) -> list[str]:
    return [one.action for one in store.read(lambda conn: audit.records(conn, project_id="p"))]


def test_forty_drifting_columns_of_a_window_are_one_incident(store: Store) -> None:
    take(store, [alert(f"c{number:02d}") for number in range(40)])
    [incident] = api.incidents(store, "p")
    assert len(incident.alerts) == 40
    assert incident.title == "drift in 40 places: c00, c01, c02, c03, c04 and 35 more"
    assert events(store) == ["opened"]
    assert actions(store) == ["incident.open"]


def test_what_is_of_another_kind_is_another_incident_unless_the_rules_group_otherwise(store: Store) -> None:
    take(store, [alert("a"), alert("a", "shift"), alert("b")])
    assert [len(one.alerts) for one in api.incidents(store, "p")] == [1, 2]
    rules = [AlertRule(name="each", subjects=["x*"], group_by=["subject"], severity="critical")]
    take(store, [alert("x1"), alert("x1", "shift"), alert("x2")], section=policy(rules=rules))
    newest = {one.group["subject"]: one for one in api.incidents(store, "p") if "subject" in one.group}
    assert {name: len(one.alerts) for name, one in newest.items()} == {"x1": 2, "x2": 1}
    assert newest["x1"].severity == "critical"


def test_an_incident_goes_on_while_one_of_its_alerts_does_and_closes_once(store: Store) -> None:
    take(store, [alert("a")])
    take(store, [alert("b")], [alert("a")])
    [one] = api.incidents(store, "p")
    assert one.closed_at is None
    assert [member.closed_at is None for member in one.alerts] == [False, True]
    pass_time(store, hours=1)
    take(store, [], [alert("b")])
    [one] = api.incidents(store, "p")
    assert one.closed_at == store.clock.now()
    take(store, [], [alert("b")])
    assert actions(store) == ["incident.open", "incident.close"]
    assert arrive(store) == ["opened", "changed", "closed"]
    take(store, [alert("a", day=DAY + timedelta(days=5))])
    assert [(one.number, one.closed_at is None) for one in api.incidents(store, "p")] == [(2, True), (1, False)]


def test_the_same_alert_again_is_no_news(store: Store) -> None:
    for _ in range(3):
        take(store, [alert("a")])
    assert [len(one.alerts) for one in api.incidents(store, "p")] == [1]
    assert events(store) == ["opened"]


def test_people_are_reminded_until_somebody_looks_after_it(store: Store) -> None:
    section = policy(HOOK)
    take(store, [alert("a")])
    assert arrive(store) == ["opened"]
    pass_time(store, hours=23)
    assert settle_if_due(store, "p", section) == 0
    pass_time(store, hours=2)
    assert [settle_if_due(store, "p", section) for _ in range(2)] == [1, 0]
    pass_time(store, days=2)
    assert settle_if_due(store, "p", section) == 0  # the last one has not arrived yet
    assert arrive(store) == ["repeated"]
    acknowledged = api.acknowledge(store, "p", 1, by=ADA, note="mended tonight").acknowledged
    assert acknowledged is not None
    assert (acknowledged.by, acknowledged.note) == (ADA, "mended tonight")
    pass_time(store, days=9)
    assert settle_if_due(store, "p", section) == 0
    take(store, [alert("b")])
    assert arrive(store) == ["changed"]
    assert "incident.acknowledge" in actions(store)


def test_a_clock_that_is_set_back_reminds_once_too_often_and_not_never(store: Store) -> None:
    take(store, [alert("a")])
    arrive(store)
    pass_time(store, days=-30)
    assert settle_if_due(store, "p", policy(HOOK)) == 1
    arrive(store)
    assert settle_if_due(store, "p", policy(HOOK)) == 0


def test_a_silence_holds_back_what_it_chooses_and_ends_by_itself(store: Store) -> None:
    section = policy(HOOK)
    until = store.clock.now() + timedelta(hours=2)
    api.silence(store, "p", {"kind": "drift", "subject": "temp*"}, until=until, by=ADA, why="new sensors")
    take(store, [alert("temp_a"), alert("temp_b")])
    assert events(store) == []
    take(store, [alert("wind", "shift")])
    assert events(store) == ["opened"]
    pass_time(store, hours=2, seconds=1)
    assert settle_if_due(store, "p", section) == 1
    assert arrive(store) == ["opened", "opened"]
    assert api.silences(store, "p") == []
    assert [one.why for one in api.silences(store, "p", every=True)] == ["new sensors"]


def test_an_alert_beside_the_silenced_ones_is_told(store: Store) -> None:
    until = store.clock.now() + timedelta(hours=2)
    api.silence(store, "p", {"subject": "temp"}, until=until, by=ADA, why="")
    take(store, [alert("temp"), alert("wind")])
    assert events(store) == ["opened"]


def test_what_is_silenced_is_told_neither_as_news_nor_beside_what_was_told(store: Store) -> None:
    section = policy(HOOK, AlertmanagerRoute(name="am", url="http://127.0.0.1:9093"))

    def told(wanted: str) -> list[str]:
        found = [json.loads(one.body) for one in waiting(store) if one.route == wanted]
        return [f"{one['event']} {' '.join(each['subject'] for each in one['incident']['alerts'])}" for one in found]

    take(store, [alert("wind")], section=section)
    arrive(store)
    until = store.clock.now() + timedelta(hours=2)
    api.silence(store, "p", {"subject": "temp*"}, until=until, by=ADA, why="new sensors")
    take(store, [alert("temp_a")], section=section)
    assert (told("hook"), told("am")) == ([], [])
    pass_time(store, minutes=1)
    settle_if_due(store, "p", section)
    assert (told("hook"), told("am")) == ([], ["repeated wind"])
    arrive(store)
    take(store, [alert("rain"), alert("temp_b")], [alert("temp_a")], section=section)
    assert (told("hook"), told("am")) == (["changed wind rain"], ["changed wind rain"])
    arrive(store)
    api.silence(store, "p", {"subject": "rain"}, until=until, by=ADA, why="it rains")
    take(store, [], [alert("rain")], section=section)
    pass_time(store, minutes=1)
    settle_if_due(store, "p", section)
    assert told("am") == ["repeated wind rain"]  # it was told to be open, and is over


def test_when_a_silence_ends_what_is_open_and_was_not_told_is_though_others_came_after_it(store: Store) -> None:
    section = policy(replace(HOOK, repeat_every="0d"))
    take(store, [alert("a")], section=section)
    api.acknowledge(store, "p", 1, by=ADA)
    made = api.silence(store, "p", {"kind": "drift"}, until=store.clock.now() + timedelta(days=2), by=ADA, why="")
    take(store, [alert("b"), alert("c")], section=section)
    take(store, [], [alert("c")], section=section)
    assert arrive(store) == ["opened"]
    api.unsilence(store, "p", made.number, by=ADA)
    settle_if_due(store, "p", section)
    assert arrive(store) == ["changed"]
    assert settle_if_due(store, "p", section) == 0
    again = api.silence(store, "p", {"subject": "a"}, until=store.clock.now() + timedelta(days=2), by=ADA, why="")
    api.unsilence(store, "p", again.number, by=ADA)
    assert settle_if_due(store, "p", section) == 0  # it was told of before


def test_what_a_release_kept_that_remembered_the_newest_alone_is_no_news(store: Store) -> None:
    take(store, [alert("a"), alert("b")])
    [told] = api.told(store, "p", 1)
    store.write(lambda conn: outbox.put_told(conn, "p", replace(told, alerts=None)))
    assert settle_if_due(store, "p", policy(HOOK)) == 0
    take(store, [alert("c")])
    assert arrive(store) == ["opened", "changed"]


def test_what_was_told_is_told_to_be_over_also_under_a_silence(store: Store) -> None:
    take(store, [alert("a")])
    arrive(store)
    api.silence(store, "p", {"incident": "1"}, until=store.clock.now() + timedelta(hours=2), by=ADA, why="")
    take(store, [alert("b")])
    assert events(store) == []
    take(store, [], [alert("a"), alert("b")])
    assert arrive(store) == ["closed"]


def test_a_silence_that_is_ended_tells_what_is_still_so(store: Store) -> None:
    made = api.silence(store, "p", {"kind": "*"}, until=store.clock.now() + timedelta(days=2), by=ADA, why="")
    take(store, [alert("a")])
    ended = api.unsilence(store, "p", made.number, by=ADA)
    assert ended == api.unsilence(store, "p", made.number, by=ADA)
    assert settle_if_due(store, "p", policy(HOOK)) == 1
    assert actions(store).count("silence.end") == 1


def test_what_cannot_be_is_said(store: Store) -> None:
    now = store.clock.now()
    soon = now + timedelta(hours=1)
    with pytest.raises(InvalidInput, match="without a choice"):
        api.silence(store, "p", {}, until=soon, by=ADA, why="")
    with pytest.raises(InvalidInput, match="can't choose by 'column'"):
        api.silence(store, "p", {"column": "a"}, until=soon, by=ADA, why="")
    for until in (now, now + timedelta(days=400)):
        with pytest.raises(InvalidInput, match="within a year"):
            api.silence(store, "p", {"kind": "*"}, until=until, by=ADA, why="")
    with pytest.raises(NotFound, match="no incident 7"):
        api.silence(store, "p", {"incident": "7"}, until=soon, by=ADA, why="")
    with pytest.raises(NotFound, match="no incident 1000"):
        api.incident(store, "p", 10**30)
    for number in (3, 10**30):
        with pytest.raises(NotFound, match=f"no silence {number}"):
            api.unsilence(store, "p", number, by=ADA)
    with pytest.raises(NotFound):
        api.acknowledge(store, "p", 1, by=ADA)
    with pytest.raises(InvalidInput, match="2,000 are allowed"):
        api.acknowledge(store, "p", 1, by=ADA, note="x" * 3000)
    take(store, [alert("a")])
    take(store, [], [alert("a")])
    with pytest.raises(Refused, match="is over since"):
        api.acknowledge(store, "p", 1, by=ADA)


def test_an_acknowledgement_without_a_note_keeps_the_one_before(store: Store) -> None:
    take(store, [alert("a")])
    api.acknowledge(store, "p", 1, by=ADA, note="the feed is being mended")
    again = api.acknowledge(store, "p", 1, by=ADA).acknowledged
    assert again is not None
    assert again.note == "the feed is being mended"
    other = api.acknowledge(store, "p", 1, by=ADA, note="it is mended").acknowledged
    assert other is not None
    assert other.note == "it is mended"


def test_a_route_is_told_of_what_it_asks_for(store: Store) -> None:
    rules = [AlertRule(name="pages", kinds=["decay"], severity="critical")]
    grave = SlackRoute(name="grave", url="https://chat.example.org/x", severities=["critical"])
    quiet = WebhookRoute(name="quiet", url="https://h.example.org/x", secret_env="S", subjects=["temp*"], closed=False)
    section = policy(grave, quiet, rules=rules)
    take(store, [alert("auc_roc", "decay"), alert("temp"), alert("wind")], section=section)
    told = {one.route: json.loads(one.body) for one in waiting(store)}
    assert told["grave"]["incident"]["group"] == {"kind": "decay"}
    assert [one["subject"] for one in told["quiet"]["incident"]["alerts"]] == ["temp"]
    arrive(store)
    take(store, [], [alert("auc_roc", "decay"), alert("temp"), alert("wind")], section=section)
    assert [one.route for one in waiting(store)] == ["grave"]
    arrive(store)
    assert settle_if_due(store, "p", section) == 0


def test_a_route_of_what_is_mild_is_not_told_of_what_is_grave(store: Store) -> None:
    rules = [AlertRule(name="pages", subjects=["auc_roc"], severity="critical")]
    mild = SlackRoute(name="mild", url="https://chat.example.org/x", severities=["warning"])
    section = policy(mild, rules=rules)
    take(store, [alert("accuracy", "decay")], section=section)
    take(store, [alert("auc_roc", "decay")], section=section)
    assert len(api.incidents(store, "p")) == 1
    assert arrive(store) == ["opened"]


def test_what_is_told_is_kept_with_the_change_or_not_at_all(store: Store) -> None:
    def unit(conn: object) -> None:
        api.take(
            conn,  # type: ignore[arg-type]
            "p",
            stream="live",
            opened=[alert("a")],
            closed=[],
            window="w",
            policy=policy(HOOK),
            at=store.clock.now(),
        )
        raise Refused("no")

    with pytest.raises(Refused):
        store.write(unit)
    assert (waiting(store), api.incidents(store, "p"), actions(store)) == ([], [], [])


def test_of_one_incident_the_older_notification_goes_first_and_one_process_takes_it(store: Store) -> None:
    take(store, [alert("a")])
    take(store, [], [alert("a")])
    [first] = waiting(store)
    assert json.loads(first.body)["event"] == "opened"
    taken = [store.write(lambda conn: outbox.claim(conn, first, 2**50 + 60_000)) for _ in range(2)]
    assert taken == [True, False]
    assert store.read(lambda conn: outbox.due(conn, "p", 2**50, 10)) == []
    store.write(lambda conn: outbox.failed(conn, first, "it answered 500", None))  # given up: the next has its turn
    assert events(store) == ["closed"]
    assert store.read(lambda conn: outbox.counts(conn, "p")) == {"hook": (1, 1, "it answered 500")}
    assert arrive(store) == ["closed"]
    assert store.read(lambda conn: outbox.counts(conn, "p")) == {}  # the route is well


def test_a_notification_is_not_put_on_its_way_twice(store: Store) -> None:
    take(store, [alert("a")])
    [one] = waiting(store)
    store.write(lambda conn: outbox.enqueue(conn, one))
    assert waiting(store) == [one]


def test_an_incident_of_an_old_grouping_still_closes(store: Store) -> None:
    take(store, [alert("a"), alert("b", "shift")])
    together = AlertsSection(group_by=["version"])
    take(store, [alert("c")], [alert("a"), alert("b", "shift")], section=together)
    assert [(one.number, one.closed_at is None) for one in api.incidents(store, "p")] == [
        (3, True),
        (2, False),
        (1, False),
    ]


def test_a_long_incident_remembers_its_newest_alerts() -> None:
    at = datetime(2013, 3, 1, tzinfo=UTC)
    open_incidents: list[Incident] = []
    for number in range(MOST_MEMBERS + 5):
        one, before = alert("a", day=DAY + timedelta(days=number)), alert("a", day=DAY + timedelta(days=number - 1))
        change = next_incidents(
            open_incidents,
            [one],
            [before],
            AlertsSection(),
            stream="live",
            endpoint="p",
            window="w",
            version="1",
            at=at,
            number=1,
        )
        open_incidents = [*change.opened, *change.changed]
    [incident] = open_incidents
    assert len(incident.alerts) == MOST_MEMBERS
    assert [member.id for member in incident.open_alerts] == [one.id]


steps = st.lists(
    st.tuples(st.sets(st.sampled_from("abcd")), st.sampled_from([[], ["kind"], ["subject"], ["window"]])), max_size=8
)


@given(steps)
def test_every_alert_is_in_one_incident_which_is_open_as_long_as_it(
    history: list[tuple[set[str], list[str]]],
) -> None:
    at = datetime(2013, 3, 1, tzinfo=UTC)
    known: dict[int, Incident] = {}
    now: dict[str, Alert] = {}
    for number, (subjects, group_by) in enumerate(history):
        day = DAY + timedelta(days=number)
        opened = [alert(name, day=day) for name in sorted(subjects - set(now))]
        closed = [now.pop(name) for name in sorted(set(now) - subjects)]
        now |= {one.subject: one for one in opened}
        change = next_incidents(
            [one for one in known.values() if one.closed_at is None],
            opened,
            closed,
            AlertsSection(group_by=group_by),  # type: ignore[arg-type]
            stream="live",
            endpoint="p",
            window=str(day),
            version="1",
            at=at,
            number=len(known) + 1,
        )
        for one in change.closed:
            assert one.number not in known or known[one.number].closed_at is None
        known |= {one.number: one for one in [*change.opened, *change.changed, *change.closed]}
        members = [member for one in known.values() for member in one.alerts]
        assert len({member.id for member in members}) == len(members)
        assert {member.id for member in members if member.closed_at is None} == {one.id for one in now.values()}
        assert all((one.closed_at is None) == bool(one.open_alerts) for one in known.values())


def test_evidence_of_days_that_are_not_kept_goes_and_the_incident_stays(store: Store) -> None:
    from boucle.kernel.digests import Digest
    from boucle.monitoring.alerting import store as tables

    take(store, [alert("a")])
    digest = store.blobs.put(b'{"window":"2013-03-01","rows":1,"versions":{},"columns":[]}')
    store.write(lambda conn: tables.put_evidence(conn, "p", [1], "2013-03-01", Digest(digest)))
    assert [one.window for one in api.evidence(store, "p", 1)] == ["2013-03-01"]
    for day, gone in ((DAY, 0), (DAY + timedelta(days=1), 1)):
        [(table, older)] = tables.older_evidence("p", "live", day).items()
        statement = delete(table).where(older)
        assert store.write(lambda conn, one=statement: conn.execute(one).rowcount) == gone  # type: ignore[misc]
    assert api.evidence(store, "p", 1) == []
    assert api.incident(store, "p", 1).alerts[0].subject == "a"


def test_a_notification_holds_the_newest_alerts_and_says_how_many_there_are(store: Store) -> None:
    import msgspec

    take(store, [alert(f"c{number:03d}") for number in range(150)])
    [one] = waiting(store)
    told = msgspec.json.decode(one.body, type=Notification)
    assert (len(told.incident.alerts), told.alerts) == (100, 150)
    assert store.read(lambda conn: settle(conn, "p", policy(HOOK), store.clock.now())) == 0


def test_who_is_told_what_is_hears_of_all_that_is_open(store: Store) -> None:
    """However much else came and went since."""
    route = AlertmanagerRoute(name="am", url="http://127.0.0.1:9093")
    section = policy(route)
    take(store, [alert("first")], section=section)
    for number in range(120):
        one = alert(f"c{number:03d}")
        take(store, [one], section=section)
        take(store, [], [one], section=section)
    told = notification("repeated", api.incident(store, "p", 1), "p", route, store.clock.now())
    assert (len(told.incident.alerts), told.alerts) == (100, 121)
    assert [one.subject for one in told.incident.alerts if one.closed_at is None] == ["first"]
    assert told.incident.alerts[-1].subject == "c119"
    take(store, [alert(f"o{number:03d}") for number in range(130)], section=section)
    told = notification("repeated", api.incident(store, "p", 1), "p", route, store.clock.now())
    assert len(told.incident.alerts) == 131
    assert all(one.closed_at is None for one in told.incident.alerts)


def test_a_silence_of_a_kind_that_does_not_exist_is_refused(store: Store) -> None:
    with pytest.raises(InvalidInput, match="'drfit' is like no kind of alert; there are check, compliance"):
        api.silence(store, "p", {"kind": "drfit"}, until=store.clock.now() + timedelta(hours=1), by=ADA, why="")
    assert api.silences(store, "p", every=True) == []
