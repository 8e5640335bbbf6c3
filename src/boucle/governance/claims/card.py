"""The model card: what the store knows of a version, and what persons said of it; `MISSING` where nobody did.

After "Model Cards for Model Reporting" (Mitchell et al., 2019). It speaks of evidence, and promises nothing.
"""

from typing import Any, Final

from boucle.governance.claims.facts import Facts

MISSING: Final = "MISSING"
HUMAN: Final = {
    "description": "What it is",
    "intended_use": "Intended use",
    "out_of_scope": "Not to be used for",
    "limitations": "Limitations",
    "ethical_considerations": "Ethical considerations",
    "owner": "Who answers for it",
}
"""What only persons can say, with its heading. Written as the tag `card.NAME` of the model or of one version."""


def card(facts: Facts) -> dict[str, Any]:
    """The card as data, with its Markdown."""
    version, manifest = facts.version, facts.manifest
    said = {name: facts.human.get(name, MISSING) for name in HUMAN}
    told: dict[str, Any] = {
        "model": version.model,
        "version": version.number,
        "bundle_digest": version.bundle_digest,
        "author": version.author,
        "created_at": version.created_at.isoformat(),
        "why": version.note or MISSING,
        "run": version.run_id or MISSING,
        "framework": manifest.framework if manifest else MISSING,
        "task": manifest.signature.task if manifest else MISSING,
        "statements": said,
        "missing": [name for name, text in said.items() if text == MISSING],
    }
    return {**told, "markdown": _markdown(facts, told)}


def _markdown(facts: Facts, told: dict[str, Any]) -> str:
    version = facts.version
    parts = [
        f"# {version.model}, version {version.number}\n",
        f"Bundle `{version.bundle_digest}`, made by {version.author} at {version.created_at:%Y-%m-%d %H:%M} UTC.\n",
        *(f"## {heading}\n\n{told['statements'][name]}\n" for name, heading in HUMAN.items()),
        "## How it was made\n",
        _rows({"framework": told["framework"], "task": told["task"], "run": told["run"], "why": told["why"]}),
        f"## Training data\n\n{_data(facts)}\n",
        f"## Evaluation\n\n{_evaluation(facts)}\n",
        f"## Gates and reviews\n\n{_verdicts(facts)}\n",
    ]
    return "\n".join(parts)


def _data(facts: Facts) -> str:
    if facts.dataset is None:
        return MISSING
    data = facts.dataset
    span = f", from {data.first_at:%Y-%m-%d} to {data.last_at:%Y-%m-%d}" if data.first_at and data.last_at else ""
    names = ", ".join(f"{one.name} ({one.kind})" for one in data.columns)
    return f"Dataset version `{data.digest}`: {data.rows:,} rows{span}. Columns: {names}."


def _evaluation(facts: Facts) -> str:
    metrics = facts.evidence.metrics
    if not metrics:
        return MISSING
    lines = [f"{facts.evidence.told_by}" + (f", on {facts.evidence.rows:,} rows." if facts.evidence.rows else ".")]
    lines += ["", "| metric | value | 95 % interval |", "|---|---|---|"]
    measured = facts.evaluation is not None
    for name, one in sorted(metrics.items()):
        lines.append(f"| {name} | {one.value:.6g} | {f'{one.low:.4g} to {one.high:.4g}' if measured else MISSING} |")
    if facts.evaluation is not None and facts.evaluation.slices:
        lines += ["", "| slice | rows | metric | value |", "|---|---|---|---|"]
        lines += [
            f"| {one.column} = {_cell(one.value)} | {one.rows:,} | {one.name} | {one.metric.value:.6g} |"
            for one in facts.evaluation.slices
        ]
    return "\n".join(lines)


def _verdicts(facts: Facts) -> str:
    if facts.report is None:
        return MISSING
    lines = [
        f"Judged at {facts.report.judged_at:%Y-%m-%d %H:%M} UTC under the policy `{facts.report.policy_digest}`: "
        f"{'passed' if facts.report.passed else 'refused'}.",
        "",
        *(f"- {one.gate}: {_cell(one.message)}" for one in facts.report.verdicts),
    ]
    lines += [
        f"- {one.reviewer} {one.verdict}s it, {one.reviewed_at:%Y-%m-%d}: {_cell(one.comment)}" for one in facts.reviews
    ]
    return "\n".join(lines)


def _rows(facts: dict[str, str]) -> str:
    return "\n".join(f"- {name}: {_cell(value)}" for name, value in facts.items()) + "\n"


def _cell(text: str) -> str:
    """A text in one line of a table."""
    return " ".join(text.split()).replace("|", "\\|")
