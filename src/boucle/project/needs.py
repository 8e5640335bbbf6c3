"""The statement of needs: what was asked for before there was a model. `needs.yaml` beside boucle.yaml keeps it.

The same file answers `boucle init --answers`. What boucle.yaml enforces of it is compared, not assumed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct, convert, field, inspect

from boucle.data.records import Task
from boucle.project.problems import listed
from boucle.project.records import Project
from boucle.project.shape import Plain, problems_of
from boucle.project.yaml_file import Document, read_document

NAME = "needs.yaml"

Errors = Literal["same", "miss", "false_alarm", "rare_class", "large", "over", "under"]
"""Which error costs more. Two classes: `same`, `miss`, `false_alarm`; more: `same`, `rare_class`; a number: `same`
(each unit as much as the other), `large` (a few large errors are worse than many small ones), `over`, `under`."""

ERRORS: dict[Task, dict[str, str]] = {
    "binary": {"same": "auc_roc", "miss": "recall", "false_alarm": "precision"},
    "multiclass": {"same": "accuracy", "rare_class": "macro_f1"},
    "regression": {"same": "mae", "large": "rmse", "over": "mae", "under": "mae"},
}
"""Which metric an answer asks for."""
ERROR_WORDS: dict[str, str] = {
    "same": "one as much as another",
    "miss": "to overlook the second class",
    "false_alarm": "to see the second class where it is not",
    "rare_class": "a rare class counts as much as a common one",
    "large": "one large error is worse than many small ones",
    "over": "an answer too large",
    "under": "an answer too small",
}
"""What costs more, in words. The second class is the later in the alphabet: yes, true, 1."""


class Needs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answers to the needs assessment. In a file of answers every key may be left out: then the proposal counts."""

    project: str = ""
    source: str = ""
    target: str = ""
    """What is predicted."""
    task: Task | None = None
    asked_when: str = ""
    """In words: at which moment the model is asked."""
    time: str | None = None
    """Column with that moment."""
    key: str | None = None
    known_later: list[str] = field(default_factory=list)
    """Columns that are not known at that moment."""
    ahead_days: float = 0.0
    """How long before the outcome the prediction must be there."""
    errors: Errors = "same"
    metric: str = ""
    """How quality is measured."""
    quality: float | None = None
    """What it must reach: at least, or at most where less is better."""
    latency_ms: float | None = None
    """Of 95 in 100 answers."""
    availability: float | None = None
    lead_time_days: float | None = None
    """From a label's arrival to a model that has learned from it."""
    data_from: str = ""
    """In words: who delivers the rows."""
    labels_delay_days: float = 0.0
    systems: list[str] = field(default_factory=list)
    """What has to be connected."""
    reviews: int = 0
    approvers: list[str] = field(default_factory=list)
    keep_days: int | None = None


class NeedStatus(Struct, frozen=True, kw_only=True):
    """One need beside what boucle.yaml enforces of it."""

    key: str
    """In needs.yaml."""
    need: str
    asked: str
    enforced: str
    """What boucle.yaml says, or why nothing enforces it."""
    agrees: bool | None
    """None where it is a statement for people."""


def needs_document(path: Path) -> tuple[Document, dict[str, Plain]]:
    """What a file of answers says, of the right shape, and what knows its lines; InvalidInput with file and line."""
    document, value = read_document(path)
    found = [*document.problems, *problems_of(value, inspect.type_info(Needs))]
    if found or not isinstance(value, dict):
        raise document.error(found)
    return document, value


def needs_against(project: Project, folder: Path) -> list[NeedStatus]:
    """What needs.yaml in the folder says, beside what the project enforces; empty without that file."""
    if not (folder / NAME).is_file():
        return []
    _, said = needs_document(folder / NAME)
    return [one for one in compare(convert(said, Needs), project) if one.key in said]


def compare(needs: Needs, project: Project) -> list[NeedStatus]:
    """Each need beside what the project enforces; a stricter project agrees, too."""
    return list(_compare(needs, project))


def _compare(needs: Needs, project: Project) -> Iterator[NeedStatus]:
    data = project.data
    yield _same("target", "target", needs.target, data.target)
    yield _same("time", "time", needs.time or "none", data.time or "none")
    yield _same("key", "key", needs.key or "none", data.key or "none")
    if needs.known_later:
        used = [name for name in needs.known_later if name in (*data.features.numeric, *data.features.categorical)]
        enforced = f"{listed(used)} used as features" if used else "not used as features"
        yield _status("known_later", "known later", listed(needs.known_later), enforced, not used)
    if needs.metric:
        yield _objective("quality", f"quality ({needs.metric})", needs.metric, needs.quality, project)
    if needs.errors in ("over", "under"):
        told = f"{ERROR_WORDS[needs.errors]} costs more"
        yield _status("errors", "errors", told, "no metric weighs the direction of an error", None)
    yield _objective("latency_ms", "latency in ms", "latency_p95_ms", needs.latency_ms, project)
    yield _objective("availability", "availability", "availability", needs.availability, project)
    yield _objective("lead_time_days", "lead time in days", "lead_time_days", needs.lead_time_days, project)
    delay = project.monitoring.labels_delay_days
    yield _same("labels_delay_days", "days until labels", f"{needs.labels_delay_days:g}", f"{delay:g}")
    given = project.governance.reviews
    yield _status("reviews", "reviews", f"at least {needs.reviews}", f"at least {given}", given >= needs.reviews)
    asked, kept = (None if days is None else f"{days} days" for days in (needs.keep_days, project.governance.keep_days))
    yield _same("keep_days", "records kept", asked or "for ever", kept or "for ever")
    words = {key: ", ".join(value) for key, value in (("systems", needs.systems), ("approvers", needs.approvers))}
    words |= {"asked_when": needs.asked_when, "data_from": needs.data_from}
    words["ahead_days"] = f"{needs.ahead_days:g} days before the outcome" if needs.ahead_days else ""
    for key, text in words.items():
        if text:
            yield _status(key, _WORDS[key], text, "for people", None)


_WORDS = {
    "asked_when": "asked",
    "ahead_days": "known ahead",
    "data_from": "data from",
    "systems": "systems",
    "approvers": "approvers",
}


def _objective(key: str, need: str, metric: str, asked: float | None, project: Project) -> NeedStatus:
    found = next((one for one in project.objectives if one.metric == metric), None)
    bound = None if found is None else found.at_most if found.at_least is None else found.at_least
    larger = found is None or found.at_least is not None
    words = "at least" if larger else "at most"
    enforced = "no objective" if bound is None else f"{words} {bound:g}"
    if asked is None:
        return _status(key, need, "nothing", enforced, True)
    agrees = bound is not None and (bound >= asked if larger else bound <= asked)
    return _status(key, need, f"{asked:g}" if bound is None else f"{words} {asked:g}", enforced, agrees)


def _same(key: str, need: str, asked: str, enforced: str) -> NeedStatus:
    return _status(key, need, asked, enforced, asked == enforced)


def _status(key: str, need: str, asked: str, enforced: str, agrees: bool | None) -> NeedStatus:
    return NeedStatus(key=key, need=need, asked=asked, enforced=enforced, agrees=agrees)
