"""Tampering with the log: each test changes the rows as someone with the database file could, then verifies."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict, replace
from sqlalchemy import Connection

from boucle.kernel import audit
from boucle.kernel.audit_chain import GENESIS, AuditHead, AuditReport, Entry, chained, examine, hash_of
from boucle.kernel.clock import FixedClock
from boucle.kernel.digests import Digest
from boucle.kernel.store import Store

NOW = datetime(2013, 3, 1, tzinfo=UTC)


def act(number: int) -> Callable[[Connection], audit.AuditRecord]:
    return lambda connection: audit.append(
        connection,
        project_id="flights",
        actor="person:ada",
        action="promote",
        subject=f"model/{number}",
        details={"auc_roc": 0.7, "number": number},
        at=NOW,
    )


@pytest.fixture
def tampered(store: Store) -> Callable[[str], AuditReport]:
    """Ten records; then a script runs on the file, and the log is verified."""
    for number in range(1, 11):
        store.write(act(number))

    def tamper(script: str) -> AuditReport:
        with closing(sqlite3.connect(store.home / "boucle.db")) as raw:
            raw.executescript(script)
        return audit.verify(store)

    return tamper


def problems(report: AuditReport) -> list[tuple[int, str]]:
    return [(problem.sequence, problem.kind) for problem in report.problems]


def test_a_log_nobody_touched_has_no_problems(store: Store) -> None:
    assert problems(audit.verify(store)) == []
    made = [store.write(act(number)) for number in (1, 2)]
    report = audit.verify(store)
    assert problems(report) == []
    assert report.records == 2
    assert report.head == AuditHead(2, made[1].hash)
    assert made[0].previous_hash == GENESIS
    assert made[1].previous_hash == made[0].hash
    assert store.read(lambda connection: audit.records(connection, project_id="flights")) == made
    assert store.read(lambda connection: audit.records(connection, project_id="flights", subject="model/2")) == made[1:]
    assert store.read(lambda connection: audit.records(connection, project_id="other")) == []


def test_the_chain_goes_on_after_closing_and_opening(tmp_path: Path) -> None:
    for number in (1, 2):
        with Store.open(tmp_path / "home", clock=FixedClock(NOW)) as store:
            store.write(act(number))
            assert problems(audit.verify(store)) == []
            assert audit.verify(store).records == number


def test_a_unit_that_fails_leaves_no_record(store: Store) -> None:
    def fail(connection: Connection) -> None:
        act(1)(connection)
        raise KeyError

    with pytest.raises(KeyError):
        store.write(fail)
    store.write(act(2))
    report = audit.verify(store)
    assert (report.records, problems(report)) == (1, [])


def test_a_record_s_time_must_be_aware(store: Store) -> None:
    with pytest.raises(ValueError, match="aware"):
        store.write(
            lambda connection: audit.append(
                connection, project_id="p", actor="a", action="b", subject="c", details={}, at=datetime(2013, 3, 1)
            )
        )


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'person:eve'",
        "at = '2014-01-01T00:00:00.000000+00:00'",
        "details = replace(details, '0.7', '0.9')",
        "project_id = 'other'",
        "subject = ''",
        "action = 'refuse'",
        f"hash = '{'0' * 63}1'",
        f"previous_hash = '{'0' * 63}1'",
    ],
)
def test_an_edited_record_is_named(tampered: Callable[[str], AuditReport], change: str) -> None:
    report = tampered(f"UPDATE audit_log SET {change} WHERE sequence = 4")
    assert problems(report)[0] == (4, "edited")
    assert {sequence for sequence, _ in problems(report)} == {4}


def test_the_last_record_edited_is_named(tampered: Callable[[str], AuditReport]) -> None:
    assert (10, "edited") in problems(tampered("UPDATE audit_log SET actor = 'person:eve' WHERE sequence = 10"))


def test_a_dropped_record_is_named(tampered: Callable[[str], AuditReport]) -> None:
    assert problems(tampered("DELETE FROM audit_log WHERE sequence = 4")) == [(4, "dropped")]


def test_a_dropped_stretch_is_one_problem_that_names_both_ends(tampered: Callable[[str], AuditReport]) -> None:
    report = tampered("DELETE FROM audit_log WHERE sequence BETWEEN 1 AND 3")
    assert problems(report) == [(1, "dropped")]
    assert "records 1 to 3 are missing" in report.problems[0].message


def test_a_dropped_record_is_named_though_the_others_close_ranks(tampered: Callable[[str], AuditReport]) -> None:
    found = problems(
        tampered(
            "DELETE FROM audit_log WHERE sequence = 4;"
            "UPDATE audit_log SET sequence = -(sequence - 1) WHERE sequence > 4;"
            "UPDATE audit_log SET sequence = -sequence WHERE sequence < 0;"
        )
    )
    assert (4, "dropped") in found
    assert [sequence for sequence, kind in found if kind == "reordered"] == [4, 5, 6, 7, 8, 9]
    assert (10, "cut_tail") in found


def test_two_records_that_changed_places_are_named(tampered: Callable[[str], AuditReport]) -> None:
    report = tampered(
        "UPDATE audit_log SET sequence = -1 WHERE sequence = 3;"
        "UPDATE audit_log SET sequence = 3 WHERE sequence = 7;"
        "UPDATE audit_log SET sequence = 7 WHERE sequence = -1;"
    )
    assert problems(report) == [(3, "reordered"), (7, "reordered")]
    assert "was written as number 7" in report.problems[0].message


@pytest.mark.parametrize("last", [9, 5, 0])
def test_a_cut_tail_shows_by_the_head_kept_outside(tampered: Callable[[str], AuditReport], last: int) -> None:
    report = tampered(f"DELETE FROM audit_log WHERE sequence > {last}")
    assert problems(report) == [(last + 1, "cut_tail")]
    assert "10 were written" in report.problems[0].message


def test_a_tail_that_was_cut_and_grew_again_still_shows(store: Store, tampered: Callable[[str], AuditReport]) -> None:
    tampered("DELETE FROM audit_log WHERE sequence > 8")
    for number in (21, 22, 23, 24):
        store.write(act(number))
        assert problems(audit.verify(store)) != []
    report = audit.verify(store)
    assert problems(report) == [(10, "edited")]
    assert "cut and grew again" in report.problems[0].message


def test_a_record_rewritten_with_a_fitting_hash_is_named(store: Store, tampered: Callable[[str], AuditReport]) -> None:
    fourth = store.read(entries)[3]
    forged = replace(fourth, actor="person:eve")
    report = tampered(f"UPDATE audit_log SET actor = 'person:eve', hash = '{hash_of(forged)}' WHERE sequence = 4")
    assert problems(report) == [(4, "edited")]
    assert "replaced" in report.problems[0].message


def test_a_wholly_rewritten_log_contradicts_the_kept_head(store: Store) -> None:
    for number in (1, 2, 3):
        store.write(act(number))
    kept = store.audit_head.read()
    forged: list[Entry] = []
    head = AuditHead(0, GENESIS)
    for entry in store.read(entries):
        again = replace(entry, actor="person:eve", previous_hash=head.hash)
        forged.append(replace(again, hash=hash_of(again)))
        head = AuditHead(forged[-1].sequence, forged[-1].hash)
    assert problems(examine(forged, head)) == []
    assert problems(examine(forged, kept)) == [(3, "edited")]


def test_a_head_that_lags_behind_after_a_crash_is_no_problem_and_catches_up(store: Store) -> None:
    store.write(act(1))
    lagging = store.audit_head.path.read_bytes()
    store.write(act(2))
    store.audit_head.path.write_bytes(lagging)
    assert problems(audit.verify(store)) == []
    third = store.write(act(3))
    assert store.audit_head.read() == AuditHead(3, third.hash)


@pytest.mark.parametrize("data", [None, b"", b"{}", b"\xff\xfe", b'{"sequence":"x","hash":"y"}'])
def test_a_missing_or_unreadable_head_is_told_and_never_replaced(store: Store, data: bytes | None) -> None:
    store.write(act(1))
    if data is None:
        store.audit_head.path.unlink()
    else:
        store.audit_head.path.write_bytes(data)
    store.write(act(2))
    store.close()
    with Store.open(store.home, clock=store.clock) as again:
        again.write(act(3))
        report = audit.verify(again)
        assert problems(report) == [(3, "cut_tail")]
        assert "missing or unreadable" in report.problems[0].message


def test_several_processes_share_one_chain(store: Store) -> None:
    with Store.open(store.home, clock=store.clock) as other:
        for number in range(6):
            (store if number % 2 else other).write(act(number))
        for each in (store, other):
            report = audit.verify(each)
            assert (report.records, problems(report)) == (6, [])
            assert each.audit_head.read() == report.head


# --- the chain alone, without a database ---------------------------------------------------------------------------


def entries(connection: Connection) -> list[Entry]:
    return [audit._entry(row) for row in connection.execute(audit.audit_log.select().order_by("sequence"))]


def chain(length: int) -> list[Entry]:
    made: list[Entry] = []
    head = AuditHead(0, GENESIS)
    for number in range(length):
        made.append(
            chained(head, project_id="p", at=NOW, actor="a", action="b", subject="c", details={"number": number})
        )
        head = AuditHead(made[-1].sequence, made[-1].hash)
    return made


@given(length=st.integers(0, 8), data=st.data())
@settings(deadline=None)
def test_dropping_any_records_shows(length: int, data: st.DataObject) -> None:
    whole = chain(length)
    head = AuditHead(length, whole[-1].hash if whole else GENESIS)
    left = [entry for entry in whole if data.draw(st.booleans())]
    assert (examine(left, head).problems == []) == (left == whole)


@given(order=st.permutations(range(6)))
@settings(deadline=None)
def test_any_other_order_shows_and_every_moved_record_is_named(order: list[int]) -> None:
    whole = chain(6)
    mixed = [replace(whole[source], sequence=place + 1) for place, source in enumerate(order)]
    found = examine(mixed, AuditHead(6, whole[-1].hash)).problems
    moved = [place + 1 for place, source in enumerate(order) if place != source]
    assert [problem.sequence for problem in found if problem.kind == "reordered"] == moved
    assert {problem.kind for problem in found} <= {"reordered", "edited"}


@given(
    which=st.integers(0, 4),
    name=st.sampled_from([name for name in Entry.__struct_fields__ if name != "sequence"]),
    text=st.text(max_size=5),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_edit_of_any_field_names_the_record(which: int, name: str, text: str) -> None:
    whole = chain(5)
    edited = list(whole)
    edited[which] = msgspec.convert({**asdict(whole[which]), name: text}, type=Entry)
    found = problems(examine(edited, AuditHead(5, whole[-1].hash)))
    if edited != whole:
        assert (which + 1, "edited") in found


def test_a_forged_place_far_away_costs_nothing() -> None:
    whole = chain(3)
    far = replace(whole[2], sequence=10**15)
    found = problems(examine([*whole[:2], far], AuditHead(10**16, Digest("f" * 64))))
    assert (10**15, "reordered") in found


def test_pages_lead_from_the_newest_record_to_the_oldest(store: Store) -> None:
    for number in range(1, 8):
        store.write(act(number))
    before, seen = None, []
    while page := store.read(lambda connection: audit.page(connection, audit.Wanted(before=before), 3)):  # noqa: B023 - read at once
        seen += [one.sequence for one in page]
        before = page[-1].sequence
    assert seen == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (audit.Wanted(actor="ada"), 3),
        (audit.Wanted(actor="person:ada"), 3),
        (audit.Wanted(actor="da"), 0),
        (audit.Wanted(action="promote"), 3),
        (audit.Wanted(action="prom"), 0),
        (audit.Wanted(about="/2"), 1),
        (audit.Wanted(about="%"), 0),
        (audit.Wanted(since=NOW), 3),
        (audit.Wanted(since=NOW.replace(year=2014)), 0),
        (audit.Wanted(actor="ada", about="model", since=NOW, before=3), 2),
    ],
)
def test_records_are_found_by_who_what_and_when(store: Store, wanted: audit.Wanted, count: int) -> None:
    for number in range(1, 4):
        store.write(act(number))
    assert len(store.read(lambda connection: audit.page(connection, wanted, 10))) == count
