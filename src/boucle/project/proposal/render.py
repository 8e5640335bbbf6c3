"""A proposed project as the text of boucle.yaml, and the needs as that of needs.yaml; both with comments."""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import msgspec

from boucle.data.proposal import Proposal
from boucle.data.records import DataSection, LeakageCheck
from boucle.governance.records import Objective
from boucle.project.needs import Needs
from boucle.project.proposal.assessment import Assessment
from boucle.project.proposal.interview import QUESTIONS
from boucle.project.proposal.quick_look import QuickLook
from boucle.project.proposal.yaml_text import comment, commented, flow, names, scalar
from boucle.project.records import Project, beyond_defaults

_PROPOSED = "Proposed by `boucle init` from the table and from needs.yaml; it is yours now. After an edit: boucle check"
_WIDTH = 116
_FEWEST_DAYS = 20
"""Less history is not worth a replay."""


def render_project(found: Assessment) -> str:
    """The text of boucle.yaml. What it says is the project, value for value."""
    project, data = found.project, found.project.data
    days = _replayed(data, found.proposals)
    lines = [
        comment(f"The `{data.target}` of a row, learned from {found.rows:,} rows of {found.needs.source}."),
        comment(_PROPOSED),
        f"project: {scalar(project.project)}",
        "",
        *_data(data, found.proposals, found.look.classes),
        "",
        *_objectives(project.objectives, found.look),
        *_training(project, days),
    ]
    rest = beyond_defaults(project)
    comments = {
        "evaluation": "also told for each value of these columns",
        "governance": "approvals that a version needs; how long served rows are kept",
        "monitoring": "days until a row's label is there",
    }
    for section, told in comments.items():
        if section in rest:
            lines += ["", *commented([(f"{section}: {flow(rest[section])}", told)])]
    lines += ["", *_loop(project)]
    if days is not None:
        lines += ["", "# History, sent through the endpoint as if it happened now: boucle replay"]
        lines += ["# replay:", f"#   first: {days[0]}", f"#   last: {days[1]}"]
    return "\n".join(lines) + "\n"


def _data(data: DataSection, proposals: Sequence[Proposal], classes: Sequence[str]) -> Iterator[str]:
    by_name = {one.column.name: one for one in proposals}
    roles = [(f"  source: {scalar(data.source)}", "")]
    if data.csv is not None:
        roles.append((f"  csv: {flow(beyond_defaults(data.csv))}", "how the file is written"))
    told = _values(by_name[data.target])
    if len(classes) == 2:
        told += f"; the probability is that of {scalar(classes[1])}"
    roles.append((f"  target: {scalar(data.target)}", told))
    if data.time is not None:
        roles.append((f"  time: {scalar(data.time)}", "when the model is asked; newer rows judge"))
    if data.key is not None:
        roles.append((f"  key: {scalar(data.key)}", "names a row, so that a later label finds its prediction"))
    yield "data:"
    yield from commented(roles)
    yield "  features:                       # only what is known when the model is asked"
    if data.features.numeric:
        yield from names("numeric", data.features.numeric, 4)
    if data.features.categorical:
        yield from names("categorical", data.features.categorical, 4)
    unused = [one for one in proposals if one.role == "unused"]
    if unused:
        told = "; ".join(f"{one.column.name} ({one.why})" for one in unused)
        yield from (comment(line, "  ") for line in textwrap.wrap(f"not used: {told}", _WIDTH, break_long_words=False))
    if data.known_later:
        told = "; ".join(f"{name}: {by_name[name].why}" for name in data.known_later)
        yield from (comment(line, "  ") for line in textwrap.wrap(told, _WIDTH, break_long_words=False))
        yield from names("known_later", data.known_later, 2)
    if data.checks:
        yield "  checks:                         # margins around what the table holds today"
        for check in data.checks:
            if isinstance(check, LeakageCheck):
                line = f"    - {flow({'check': 'leakage', 'at_most': check.at_most})}"
                yield f"{line}   # no feature may tell the target better than this"
            else:
                yield f"    - {flow(beyond_defaults(check))}"


def _replayed(data: DataSection, proposals: Sequence[Proposal]) -> tuple[date, date] | None:
    """The days that a replay could go through, the newest three tenths; None without time and key, or with few days."""
    span = next((one.column for one in proposals if one.column.name == data.time), None)
    if data.key is None or span is None or span.first is None or span.last is None:
        return None
    first, last = span.first.date(), span.last.date()
    days = (last - first).days
    return (first + timedelta(days=days * 7 // 10), last) if days >= _FEWEST_DAYS else None


def _values(target: Proposal) -> str:
    column = target.column
    if column.lowest is not None and column.distinct > 10:
        return f"from {column.lowest:g} to {column.highest:g}"
    told = ", ".join(f"{value} ({n:,})" for value, n in list(zip(column.values, column.counts, strict=True))[:6])
    return told + (f" and {column.distinct - 6} more" if column.distinct > 6 else "")


def _objectives(objectives: Sequence[Objective], look: QuickLook) -> Iterator[str]:
    reasons = {
        "latency_p95_ms": "95 of 100 answers of the endpoint",
        "availability": "share of requests that are answered",
        "lead_time_days": "from a label's arrival to a model that knows it",
    }
    for name, one in look.metrics.items():
        reached = f"a small model reached {one.model:.4g}, looking at no feature {one.trivial:.4g}"
        reasons[name] = reached if one.better else f"{reached}: no better, look at the table first"
    yield "objectives:                       # what a version must reach, or it does not take charge"
    yield from commented((f"  - {flow(beyond_defaults(one))}", reasons.get(one.metric, "")) for one in objectives)


def _training(project: Project, days: tuple[date, date] | None) -> Iterator[str]:
    training = project.training
    plain = beyond_defaults(training)
    search = plain.pop("search")
    assert isinstance(search, dict)
    space = search.pop("space")
    assert isinstance(space, dict)
    comments = {
        "task": "what the numbers of the target mean",
        "metric": "what the search makes best",
        "holdout_days": "the newest days judge, and never train",
    }
    yield "\ntraining:"
    lines = [(f"  {key}: {flow(value)}", comments.get(key, "")) for key, value in plain.items()]
    yield from commented(lines)
    if days is not None:
        yield f"  # until: {days[0]}   # for a replay, which goes through the days from then on"
    yield "  search:"
    about = {
        "trials": "sets of parameters to try",
        "rows": "the search looks at the newest of them; the last fit at all",
    }
    yield from commented((f"    {key}: {flow(value)}", about[key]) for key, value in search.items())
    yield "    space:"
    yield from (f"      {name}: {flow(one)}" for name, one in space.items())


def _loop(project: Project) -> Iterator[str]:
    comments = {
        "metric": "compares versions",
        "promote": "labelled rows that a comparison needs",
        "rollback": "and to take a promotion back",
    }
    yield "loop:"
    plain = beyond_defaults(project).get("loop")
    assert isinstance(plain, dict)
    yield from commented((f"  {key}: {flow(value)}", comments[key]) for key, value in plain.items())


def render_needs(needs: Needs) -> str:
    """The text of needs.yaml: every question with its answer."""
    plain = msgspec.to_builtins(needs)
    lines = [
        "# The statement of needs: what was asked for before there was a model. `boucle status` compares it with",
        "# boucle.yaml; `boucle init --answers needs.yaml` answers with it.",
        f"project: {scalar(needs.project)}",
        f"source: {scalar(needs.source)}",
    ]
    chapter = ""
    for key, question in QUESTIONS.items():
        if question.chapter != chapter:
            chapter = question.chapter
            lines += ["", f"# --- {chapter.lower()}"]
        lines += [f"# {question.ask}", f"{key}: {flow(plain[key])}"]
    return "\n".join(lines) + "\n"
