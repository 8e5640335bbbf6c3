"""Every code that a person can meet is explained, and nothing else is."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from boucle.app import explained
from boucle.app.main import EXIT_CODES, app, run_command
from boucle.data import usable
from boucle.data.records import Check, OnFail
from boucle.governance import gates
from boucle.kernel import audit_chain
from boucle.kernel.care.records import ProblemKind
from boucle.kernel.errors import BoucleError
from boucle.loop import records as loop
from boucle.monitoring.records import ALERT_KINDS

DOCS = Path(__file__).parents[2] / "docs"


def errors(kind: type[BoucleError] = BoucleError) -> Iterator[type[BoucleError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from errors(one)


def source(module: object) -> str:
    return Path(str(module.__file__)).read_text(encoding="utf-8")  # type: ignore[attr-defined]


CODES = {
    "errors": {one.code for one in errors() if one.__module__.startswith("boucle.")} | {"usage"},
    "exit-codes": {str(code) for code in EXIT_CODES},
    "checks": {str(one.__struct_config__.tag) for one in get_args(Check)} | {"schema"},
    "consequences": set(get_args(OnFail)),
    "gates": set(
        re.findall(r'gate(?:, required)?=(?: )?f?"(\w+)', source(gates).replace("gate, required = ", "gate="))
    ),
    "decisions": {str(one.__struct_config__.tag) for one in get_args(loop.Action)},
    "alerts": set(ALERT_KINDS),
    "audit": set(get_args(audit_chain.ProblemKind)),
    "store": set(get_args(ProblemKind)),
}


@pytest.mark.parametrize("group", CODES)
def test_every_code_has_a_text_and_every_text_a_code(group: str) -> None:
    assert {path.stem for path in (explained.FOLDER / group).iterdir()} == CODES[group]


def test_every_group_is_listed() -> None:
    assert set(CODES) == set(explained.GROUPS) == {path.name for path in explained.FOLDER.iterdir()}


@pytest.mark.parametrize("one", explained.everything(), ids=lambda one: f"{one.group}/{one.code}")
def test_a_text_says_what_it_means_why_and_what_to_do(one: explained.Explanation) -> None:
    first, *sections = one.text.split("\n## ")
    assert first.startswith(f"# `{one.code}`: {one.title}\n\n")
    assert first.strip().endswith(".")
    assert [section.partition("\n")[0] for section in sections] == ["Causes", "What to do", "Example"]
    for section in sections[:2]:
        assert "\n- " in section
    assert "\n    " in sections[2]


@pytest.mark.slow
def test_every_command_in_a_text_can_be_given() -> None:
    found = 0
    for one in explained.everything():
        for line in re.findall(r"`boucle ([^`|]+?)`", " ".join(one.text.split())):
            words = [word for word in shlex.split(line) if not word.startswith("--home") and word != "FOLDER"]
            words = [word for word in words if word not in ("--project", "--debug")]
            command: Any = typer.main.get_command(app)
            while hasattr(command, "commands") and words != ["--help"]:
                command, words = command.commands[words[0]], words[1:]
            if words != ["--help"]:
                command.make_context("boucle", words)
            found += 1
    assert found > 80


def test_names_of_schema_findings_are_explained() -> None:
    names = set(re.findall(r'_problem\(\s*f?"(\w+)', source(usable)))
    assert len(names) > 8
    for name in names:
        assert [one.code for one in explained.explain(f"{name}(temp)")] == ["schema"]


def test_one_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["explain", "port_in_use"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("port_in_use: a port cannot be listened on\n")
    assert "boucle serve --port 8081" in text


def test_all_codes_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["explain"]) == 0
    text = capsys.readouterr().out
    for title in explained.GROUPS.values():
        assert f"\n{title}\n" in text
    assert run_command(["explain", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == sum(len(codes) for codes in CODES.values())
    assert run_command(["explain", "3", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["code"], one["group"]) == ("3", "exit-codes")
    assert one["text"].startswith("# `3`")


def test_a_misspelt_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["explain", "leekage"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: there is no code `leekage`; did you mean `leakage`?",
        "next: boucle explain leakage",
        "explain: boucle explain not_found",
    ]


def test_a_word_like_no_code_is_not_taken_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["explain", "nosuch"]) == 2
    assert capsys.readouterr().err.splitlines()[:2] == ["error: there is no code `nosuch`", "next: boucle explain"]


@pytest.mark.parametrize(
    ("word", "page"), [("auc_roc", "docs/reference.md"), ("Audit log", "docs/concepts/audit-log.md")]
)
def test_metrics_and_concepts_are_told_of_elsewhere(word: str, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["explain", word]) == 2
    assert f"next: read {page}" in capsys.readouterr().err


def test_the_words_that_are_no_codes_are_all_metrics_and_concepts() -> None:
    pages = {path.stem for path in (DOCS / "concepts").glob("*.md")} - {"index"}
    assert pages == explained.CONCEPTS
    section = (DOCS / "reference.md").read_text(encoding="utf-8").partition("### Metrics of objectives")[2]
    table = section.partition("\n\nA target")[0].partition("|---|---|---|")[2]
    assert set(re.findall(r"`(\w+)`", table)) == explained.METRICS


def test_an_error_on_the_terminal_says_how_to_explain_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(["status"]) == 2
    assert capsys.readouterr().err.endswith("explain: boucle explain not_found\n")
    assert run_command(["status", "--jsn"]) == 2
    assert capsys.readouterr().err.endswith("explain: boucle explain usage\n")
