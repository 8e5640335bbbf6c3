"""What each code means that a person can meet: Markdown files in `explanations/<group>/<code>.md`.

Light: `boucle explain` and the shell's completion read files and load nothing else.
"""

from pathlib import Path
from typing import Final, NamedTuple

from boucle.data.names import nearest
from boucle.kernel.errors import NotFound

FOLDER: Final = Path(__file__).parent / "explanations"

GROUPS: Final = {
    "errors": "Error codes",
    "exit-codes": "Exit codes",
    "checks": "Checks of the data",
    "consequences": "What a failing check does",
    "gates": "Gates",
    "decisions": "Decisions of the loop",
    "alerts": "Alerts",
    "audit": "Problems of the audit log",
    "store": "What `boucle fsck` finds",
}
"""The folders, in the order in which they are listed."""

METRICS: Final = {
    "accuracy", "auc_roc", "availability", "average_precision", "brier", "calibration_error", "error_rate", "f1",
    "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "lead_time_days", "log_loss", "macro_f1", "mae",
    "precision", "r2", "recall", "requests_per_minute", "rmse", "specificity",
}  # fmt: skip
CONCEPTS: Final = {
    "alert", "attestation", "audit-log", "bundle", "champion", "check", "dataset-version", "endpoint", "evaluation",
    "gate", "model-version", "objective", "permit", "profile", "project", "review", "run", "store", "the-loop",
    "trigger", "window",
}  # fmt: skip
"""Words that are no codes, but that people ask about: `docs/reference.md` and `docs/concepts/` tell of them."""


class Explanation(NamedTuple):
    """The text about one code."""

    code: str
    group: str
    title: str
    text: str
    """The whole of it in Markdown."""


def codes() -> list[str]:
    """Every code, in the order of the groups; one that stands in two groups comes once."""
    return list(dict.fromkeys(path.stem for group in GROUPS for path in _files(group)))


def everything() -> list[Explanation]:
    """All texts, in the order of the groups."""
    return [_read(group, path) for group in GROUPS for path in _files(group)]


def explain(code: str) -> list[Explanation]:
    """The texts about a code: mostly one, two where two groups use the same word.

    What stands in brackets behind a name is of no matter: `range(temp)` is a `range`. NotFound, with the nearest code,
    if there is none.

    >>> [one.group for one in explain("Range(temp)")]
    ['checks']
    """
    asked = code.partition("(")[0].strip().strip("`'\"").lower().replace("-", "_").replace(" ", "_")
    found = [_read(group, path) for group in GROUPS for path in _files(group) if path.stem == asked]
    if not found:
        found = [
            one
            for one in everything()
            if one.group == "checks" and f"`{asked}`" in one.text.replace("(x)", "").split("\n## ")[0]
        ]
    if found:
        return found
    if asked in METRICS:
        raise NotFound(f"`{code}` is a metric, no code", hint="read docs/reference.md, `Metrics of objectives`")
    if asked.replace("_", "-") in CONCEPTS:
        raise NotFound(f"`{code}` is a concept, no code", hint=f"read docs/concepts/{asked.replace('_', '-')}.md")
    near = nearest(asked, codes())
    meant = f"; did you mean `{near}`?" if near else ""
    raise NotFound(f"there is no code `{code}`{meant}", hint=f"boucle explain {near}" if near else "boucle explain")


def _files(group: str) -> list[Path]:
    return sorted(
        (FOLDER / group).glob("*.md"), key=lambda path: (int(path.stem) if path.stem.isdecimal() else 0, path.stem)
    )


def _read(group: str, path: Path) -> Explanation:
    text = path.read_text(encoding="utf-8")
    title = text.partition("\n")[0].partition(": ")[2]
    return Explanation(path.stem, group, title, text)
