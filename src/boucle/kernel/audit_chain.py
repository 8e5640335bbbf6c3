"""The audit log as a hash chain: its records, and what its links and its head say about tampering. No I/O.

Each record's hash covers its content, its place and the hash before it, so one changed byte shows. The head (last place
and hash) is also kept outside the database, so that a cut tail shows too. Who can rewrite database and head together
can rewrite history: heads belong in attestations and backups as well.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice, pairwise
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from boucle.kernel.clock import as_text
from boucle.kernel.digests import Digest, canonical_json, digest_json, short

GENESIS: Final = Digest("0" * 64)
"""The hash before the first record."""

ProblemKind = Literal["edited", "dropped", "reordered", "cut_tail"]

_MOST_TRIES: Final = 200_000
"""Hashes to spend on finding where moved records were written: about a second."""


class Entry(Struct, frozen=True, kw_only=True):
    """A row of the log exactly as it is stored; what the hash is computed of."""

    sequence: int
    project_id: str
    at: str
    """ISO 8601 in UTC."""
    actor: str
    action: str
    subject: str
    details: str
    """Canonical JSON."""
    previous_hash: Digest
    hash: Digest


class AuditRecord(Struct, frozen=True, kw_only=True):
    """Who did what to which subject, when."""

    sequence: int
    """1, 2, 3 ... without gaps, over all projects of a store."""
    project_id: str
    at: datetime
    actor: str
    action: str
    subject: str
    details: dict[str, object]
    previous_hash: Digest
    hash: Digest


class AuditHead(Struct, frozen=True):
    """Where the log ends: the last record's place and hash; `0` and zeros for an empty log."""

    sequence: int
    hash: Digest


class AuditProblem(Struct, frozen=True):
    """What is wrong with one record."""

    sequence: int
    kind: ProblemKind
    message: str


class AuditReport(Struct, frozen=True, kw_only=True):
    """What verifying the log found."""

    records: int
    head: AuditHead
    """Of the records in the database."""
    problems: list[AuditProblem]


def chained(
    last: AuditHead,
    *,
    project_id: str,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    details: Mapping[str, object],
) -> Entry:
    """The entry that follows `last`; ValueError if `at` is naive."""
    if at.tzinfo is None:
        raise ValueError(f"a record needs an aware datetime, got the naive {at.isoformat()}")
    entry = Entry(
        sequence=last.sequence + 1,
        project_id=project_id,
        at=as_text(at),
        actor=actor,
        action=action,
        subject=subject,
        details=canonical_json(dict(details)).decode(),
        previous_hash=last.hash,
        hash=GENESIS,
    )
    return replace(entry, hash=hash_of(entry))


def hash_of(entry: Entry) -> Digest:
    """The hash that an entry should have, of everything in it but `hash`."""
    return digest_json(replace(entry, hash=GENESIS))


def examine(entries: Sequence[Entry], kept: AuditHead | None) -> AuditReport:
    """What tampering shows in `entries`, sorted by sequence, and in the head `kept` outside (None: missing).

    A kept head that lags behind is no problem: a crash between the commit and its writing leaves that.
    """
    head = AuditHead(entries[-1].sequence, entries[-1].hash) if entries else AuditHead(0, GENESIS)
    places = _true_places(entries, kept)
    problems = [*_misplaced(entries, places), *_gaps(places), *_broken_links(entries, places)]
    problems.extend(_against_kept(entries, kept, head))
    return AuditReport(
        records=len(entries), head=head, problems=sorted(problems, key=lambda each: (each.sequence, each.kind))
    )


def _true_places(entries: Sequence[Entry], kept: AuditHead | None) -> dict[int, int | None]:
    """Where each entry was written, by where it is now; None if its content fits no place, so it was edited."""
    authentic = {entry.sequence for entry in entries if hash_of(entry) == entry.hash}
    last = max(entries[-1].sequence if entries else 0, kept.sequence if kept else 0)
    most = max(1, _MOST_TRIES // max(1, len(entries) - len(authentic)))
    free = list(islice((place for place in range(1, last + 2) if place not in authentic), most))
    places: dict[int, int | None] = {}
    moved_by = 0
    for entry in entries:
        if entry.sequence in authentic:
            places[entry.sequence] = entry.sequence
            continue
        tries = [entry.sequence + moved_by, *free]
        fitting = (place for place in tries if hash_of(replace(entry, sequence=place)) == entry.hash)
        place = next(fitting, None)
        places[entry.sequence] = place
        if place is not None:
            moved_by = place - entry.sequence
    return places


def _misplaced(entries: Sequence[Entry], places: Mapping[int, int | None]) -> list[AuditProblem]:
    problems = []
    for entry in entries:
        place, what = (
            places[entry.sequence],
            f"record {entry.sequence} ({entry.action} {entry.subject} by {entry.actor})",
        )
        if place is None:
            problems.append(
                AuditProblem(entry.sequence, "edited", f"{what} was edited: its content no longer has its hash")
            )
        elif place != entry.sequence:
            problems.append(AuditProblem(entry.sequence, "reordered", f"{what} was written as number {place}"))
    return problems


def _gaps(places: Mapping[int, int | None]) -> list[AuditProblem]:
    """Places up to the last one that no entry was written for; neighbours together."""
    taken = sorted({now if place is None else place for now, place in places.items()})
    problems = []
    for before, after in pairwise([0, *taken]):
        if after - before == 2:
            problems.append(AuditProblem(before + 1, "dropped", f"record {before + 1} is missing"))
        elif after - before > 2:
            message = f"records {before + 1} to {after - 1} are missing"
            problems.append(AuditProblem(before + 1, "dropped", message))
    return problems


def _broken_links(entries: Sequence[Entry], places: Mapping[int, int | None]) -> list[AuditProblem]:
    """Entries that hash well in their place but are not what the next one was chained to."""
    problems = []
    hash_before = {0: GENESIS} | {entry.sequence: entry.hash for entry in entries}
    for entry in entries:
        before = entry.sequence - 1
        sound = places[entry.sequence] == entry.sequence and places.get(before, before) == before
        if sound and before in hash_before and hash_before[before] != entry.previous_hash:
            named = max(before, 1)
            problems.append(
                AuditProblem(
                    named,
                    "edited",
                    f"record {named} was replaced: record {entry.sequence} follows the hash "
                    f"{short(entry.previous_hash)}, not {short(hash_before[before])}",
                )
            )
    return problems


def _against_kept(entries: Sequence[Entry], kept: AuditHead | None, head: AuditHead) -> list[AuditProblem]:
    if kept is None:
        message = "the head kept outside the database is missing or unreadable, so a cut tail could not show"
        return [AuditProblem(head.sequence, "cut_tail", message)]
    if kept.sequence > head.sequence:
        message = f"the log ends at record {head.sequence}, but {kept.sequence} were written: the tail was cut"
        return [AuditProblem(head.sequence + 1, "cut_tail", message)]
    now = {entry.sequence: entry.hash for entry in entries}.get(kept.sequence, GENESIS)
    if kept.sequence and kept.sequence in {entry.sequence for entry in entries} and now != kept.hash:
        message = (
            f"record {kept.sequence} has the hash {short(now)}, but {short(kept.hash)} was kept outside the database: "
            "it was replaced, or the tail was cut and grew again"
        )
        return [AuditProblem(kept.sequence, "edited", message)]
    return []
