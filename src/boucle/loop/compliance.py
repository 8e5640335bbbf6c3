"""Controls over what is served: is the log kept as asked, is it known which version answered, and was what answers
reviewed, measured and signed as its policy asks. Each is evidence for a person, with what to do where it lacks.
"""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import NamedTuple

from msgspec import Struct

from boucle.governance.api import standing
from boucle.kernel.digests import Digest
from boucle.kernel.errors import NotFound
from boucle.loop.live import LIVE
from boucle.loop.service import ServiceHistory
from boucle.models import commands
from boucle.models.api import alias, list_versions
from boucle.models.records import CHAMPION
from boucle.monitoring.alerts import Signal
from boucle.monitoring.api import windows
from boucle.monitoring.records import Window
from boucle.project.context import Context
from boucle.serving.api import endpoints, log_folder, parts, read_traffic
from boucle.serving.log_parts import day_of, read_bound
from boucle.serving.owner import project_of
from boucle.serving.service_log import KEPT_DAYS, now_s

GRACE_DAYS = 1
"""Whoever collects garbage once a day is in time."""


class Control(Struct, frozen=True, kw_only=True):
    """One thing that is asked for, and whether it is so."""

    name: str
    subject: str
    """The log, or a version and the endpoint that it answers for."""
    met: bool | None
    """None: nobody asked for it, or nothing was served yet."""
    message: str
    next: str | None = None
    """The command, or the setting, that brings what is missing."""


class ComplianceReport(Struct, frozen=True, kw_only=True):
    """All controls of a project."""

    project: str
    known_share: float | None
    """Share of the predictions of which it is known which version answered; None if nothing was served."""
    controls: list[Control]
    missing: int


def compliance(context: Context) -> ComplianceReport:
    """Look at the store and at the log; nothing is changed."""
    store, name = context.store(), context.project.project
    served = windows(store, name, LIVE)
    numbers = {version.number for version in list_versions(store, name, name)}
    lost = float(ServiceHistory(context.home, name).read(now_s() - KEPT_DAYS * 86_400, now_s()).lost.sum())
    share = known_share(served, numbers, lost)
    controls = [
        *_retention(context, served, store.clock.now().date()),
        _known(share, lost),
        *(one for charge in _charges(context) for one in _in_charge(context, charge)),
    ]
    return ComplianceReport(
        project=name, known_share=share, controls=controls, missing=sum(one.met is False for one in controls)
    )


def known_share(served: Iterable[Window], numbers: set[int], lost: float) -> float | None:
    """Share of rows whose version is in the registry, among those and what the log lost.

    >>> known_share([], {1}, 0.0) is None
    True
    """
    by_version = [(int(number), rows) for window in served for number, rows in window.versions.items()]
    total = sum(rows for _, rows in by_version) + lost
    return sum(rows for number, rows in by_version if number in numbers) / total if total else None


def compliance_signals(report: ComplianceReport) -> list[Signal]:
    """One for each control that is asked for and not met."""
    return [
        Signal(
            kind="compliance",
            subject=f"{one.name}: {one.subject}",
            message=one.message,
            evidence={"next": one.next or ""},
        )
        for one in report.controls
        if one.met is False
    ]


def _retention(context: Context, served: list[Window], today: date) -> Iterator[Control]:
    """Not longer than asked, and not shorter."""
    days, section, name = context.project.governance.keep_days, context.project.serving.log, context.project.project
    folder = log_folder(context.home, name)
    if days is None:
        words = "governance.keep_days is not set: what is served is kept until somebody takes it away"
        yield Control(name="retention", subject="log", met=None, message=words, next="set governance.keep_days")
        return
    first = today - timedelta(days=days + GRACE_DAYS)
    old = [str(window.day) for window in served if window.day < first]
    old += [day for part in parts(folder) if (day := day_of(part)) < first.isoformat()]
    if old:
        words = f"rows of {min(old)} are kept still, {days} days are asked for"
        yield Control(name="retention", subject="log", met=False, message=words, next="boucle gc --delete")
    else:
        words = f"nothing that was served is older than {days} days"
        yield Control(name="retention", subject="log", met=True, message=words)
    bound = read_bound(folder)
    if bound.dropped_rows:
        words = f"{bound.dropped_rows:,} rows went before {days} days were over, as the log was beyond its bound"
        yield Control(name="completeness", subject="log", met=False, message=words, next="raise serving.log.max_mb")
    elif section.sample < 1:
        words = f"{section.sample:.0%} of the requests are kept, for {days} days"
        yield Control(name="completeness", subject="log", met=False, message=words, next="set serving.log.sample: 1")
    else:
        yield Control(name="completeness", subject="log", met=True, message="every request is kept")


def _known(share: float | None, lost: float) -> Control:
    if share is None:
        return Control(name="known version", subject="predictions", met=None, message="no live window has rows yet")
    words = f"of {share:.4%} of the predictions it is known which version answered"
    if lost:
        words += f"; the log lost {lost:,.0f} in the newest {KEPT_DAYS} days"
    needed = None if share == 1 else "boucle models list; boucle doctor"
    return Control(name="known version", subject="predictions", met=share == 1, message=words, next=needed)


class _Charge(NamedTuple):
    """A version that answers, or would."""

    where: str
    model: str
    number: int
    bundle_digest: Digest | None
    """That is served."""


def _charges(context: Context) -> Iterator[_Charge]:
    """What answers somebody, and the champion if no endpoint has it yet."""
    store, name = context.store(), context.project.project
    seen = set()
    for endpoint in endpoints(context.home):
        traffic = read_traffic(context.home, endpoint)
        if project_of(store, traffic) not in (None, name):
            continue
        canary = [] if traffic.canary is None else [traffic.canary.deployment]
        for one in (traffic.champion, *canary):
            found = _Charge(f"at {endpoint}", one.model or endpoint, one.number, one.bundle_digest)
            seen.add((found.model, found.number))
            yield found
    now = alias(store, name, name, CHAMPION)
    if now is not None and now.number is not None and (name, now.number) not in seen:
        yield _Charge(f"as {CHAMPION}", name, now.number, None)


def _in_charge(context: Context, charge: _Charge) -> Iterator[Control]:
    """What the policy of a version in charge asks for."""
    store, name = context.store(), context.project.project
    model, number = charge.model, charge.number
    subject = f"version {number} of {model} {charge.where}"
    show = commands.about("show", name, model, number)
    try:
        found = standing(store, name, model, number)
    except NotFound:
        words = f"{subject} is not in the registry of {name}"
        yield Control(
            name="registered", subject=subject, met=False, message=words, next=commands.about("list", name, model)
        )
        return
    same = charge.bundle_digest in (None, found.version.bundle_digest)
    words = f"{subject} is {'' if same else 'not '}the bundle of the registry"
    yield Control(name="registered", subject=subject, met=same, message=words, next=None if same else show)
    measured = found.version.evaluation_digest is not None
    words = f"{subject} {'has an evaluation' if measured else 'was not evaluated by Boucle'}"
    yield Control(name="evaluated", subject=subject, met=measured, message=words, next=None if measured else show)
    if found.report is None:
        words = f"no policy says what {model} needs"
        set_one = commands.about("policy set", name, model, reviews=1)
        yield Control(name="policy", subject=subject, met=False, message=words, next=set_one)
        return
    for verdict in found.report.verdicts:
        needed = None if verdict.passed else (found.next or show)
        yield Control(
            name=verdict.gate, subject=subject, met=verdict.passed, message=f"{subject}: {verdict.message}", next=needed
        )
