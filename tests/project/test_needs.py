"""The statement of needs, and what boucle.yaml makes of it."""

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from boucle.data.records import DataSection, Features
from boucle.governance.records import GovernanceSection, Objective
from boucle.kernel.errors import InvalidInput
from boucle.project.needs import ERROR_WORDS, ERRORS, Needs, compare, needs_against
from boucle.project.proposal.interview import QUESTIONS
from boucle.project.proposal.quick_look import ASKED
from boucle.project.proposal.render import render_needs
from boucle.project.records import Project

PROJECT = Project(
    project="shop",
    data=DataSection(source="t.csv", target="y", key="id", features=Features(numeric=["a"])),
    objectives=[Objective(metric="auc_roc", at_least=0.7), Objective(metric="latency_p95_ms", at_most=100)],
    governance=GovernanceSection(reviews=1),
)
NEEDS = Needs(source="t.csv", target="y", key="id", metric="auc_roc", quality=0.7, latency_ms=100, reviews=1)


def against(needs: Needs, project: Project = PROJECT) -> list[str]:
    """The keys that do not agree."""
    return [one.key for one in compare(needs, project) if one.agrees is False]


def test_needs_that_are_met_agree() -> None:
    assert against(NEEDS) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("latency_ms", 50.0), ("quality", 0.8), ("reviews", 2), ("target", "z"), ("availability", 0.99)],
)
def test_what_is_asked_and_not_enforced_is_told(key: str, value: object) -> None:
    assert against(replace(NEEDS, **{key: value})) == [key]


def test_a_stricter_project_agrees() -> None:
    assert against(replace(NEEDS, latency_ms=250.0, quality=0.6, reviews=0)) == []


def test_a_feature_that_is_known_later_is_told() -> None:
    assert against(replace(NEEDS, known_later=["a"])) == ["known_later"]


def test_a_need_that_nothing_enforces_is_no_contradiction() -> None:
    (told,) = (one for one in compare(replace(NEEDS, errors="over"), PROJECT) if one.key == "errors")
    assert told.agrees is None


def test_only_what_is_said_is_compared(tmp_path: Path) -> None:
    assert needs_against(PROJECT, tmp_path) == []
    (tmp_path / "needs.yaml").write_text("latency_ms: 50\n", encoding="utf-8")
    assert [(one.key, one.agrees) for one in needs_against(PROJECT, tmp_path)] == [("latency_ms", False)]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "needs.yaml").write_text(render_needs(NEEDS), encoding="utf-8")
    assert [one.key for one in needs_against(PROJECT, tmp_path) if one.agrees is False] == []


@pytest.mark.parametrize(
    ("text", "line"),
    [("target: y\nlatency: 5\n", 2), ("target: y\nerrors: misses\n", 2), ("reviews: many\n", 1), ("- a\n", 1)],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "needs.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match=f"needs.yaml:{line}:"):
        needs_against(PROJECT, tmp_path)


def test_every_need_is_asked_for() -> None:
    assert {*QUESTIONS, "project", "source"} == set(Needs.__struct_fields__)


def test_every_need_is_in_the_reference() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")
    told = page.partition("\n## needs.yaml\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z_]+)` \|", told, flags=re.MULTILINE) == list(Needs.__struct_fields__)
    for kinds in ERRORS.values():
        for kind, metric in kinds.items():
            assert f"`{kind}`" in told
            assert f"`{metric}`" in told


def test_every_answer_about_errors_has_a_metric_that_is_looked_at() -> None:
    for task, kinds in ERRORS.items():
        assert set(kinds) <= set(ERROR_WORDS)
        assert set(kinds.values()) <= set(ASKED[task])
