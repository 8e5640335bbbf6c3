"""What the pages show is what the program does: their console blocks are run, and the outputs compared."""

import re
from collections.abc import Iterator
from pathlib import Path

import console_blocks
import pytest
from console_blocks import Command, Library, agree, base, fences, steps

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = [page for page in PAGES if any(isinstance(step, Command) for step in steps(page))]
LONG = {ROOT / "docs" / "goes-bad.md", ROOT / "docs" / "tutorial.md"}
"""Pages that need minutes; so do those that begin in what they leave behind."""


def marks(page: Path) -> list[pytest.MarkDecorator]:
    return [pytest.mark.long if page in LONG or base(page) in LONG else pytest.mark.slow]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(tmp_path_factory.mktemp("pages"))


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=marks(page), id=str(page.relative_to(ROOT))) for page in RUN]
)
def test_a_page_shows_what_its_commands_give(page: Path, library: Library) -> None:
    wrong = library.read(page)
    assert not wrong, "\n" + "\n".join(map(str, wrong))


def others(text: str) -> Iterator[str]:
    """Lines with a prompt that stand outside of console blocks."""
    for language, _, _, block in fences(text):
        if language != "console":
            yield from (line for line in block if line.startswith("$ "))
    yield from re.findall(
        r"^ {4,}\$ .*", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_command_with_a_prompt_stands_outside_of_a_console_block(page: Path) -> None:
    assert list(others(page.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_console_block_is_run_or_says_why_not(page: Path) -> None:
    for language, above, line, block in fences(page.read_text(encoding="utf-8")):
        if language != "console":
            continue
        assert block, line
        assert block[0].startswith("$ "), line
        if above.startswith(console_blocks.NOT_RUN):
            assert re.fullmatch(r"\*Not run by the tests: .+\.\*", above), line
        else:
            assert page in RUN


@pytest.mark.parametrize(
    ("shown", "came", "same"),
    [
        ("version 1 is bundle 3d3e2f472cec", "version 1 is bundle 0d3e2f472c00", True),
        ("version 1 is bundle 3d3e2f472cec", "version 2 is bundle 3d3e2f472cec", False),
        ("auc_roc 0.8123 on 240 rows", "auc_roc 0.8000 on 240 rows", True),
        ("auc_roc 0.8123 on 240 rows", "auc_roc 0.7000 on 240 rows", False),
        ("auc_roc 0.8123 on 240 rows", "auc_roc 0.8123 on 241 rows", False),
        ("search   done   3.2", "search done 14.9", True),
        ("in charge since 2026-01-02 03:04 UTC", "in charge since 2027-11-12 13:14 UTC", True),
        ("it served 2024-01-02", "it served 2024-01-03", False),
        ("first\n...\nlast", "first\nsecond\nthird\nlast", True),
        ("first\n...\nlast", "first\nlast", True),
        ("first\n...\nlast", "first\nsecond", False),
        ("first ... last", "first second last", True),
        ("first ... last", "first\nlast", False),
        ("", "something", False),
        ("something", "", False),
    ],
)
def test_outputs_agree_but_for_what_differs_from_time_to_time(shown: str, came: str, same: bool) -> None:
    assert agree(shown.splitlines(), came.splitlines()) is same


def test_a_page_is_run_in_order_in_one_folder_and_told_where_it_is_wrong(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\nSave this as `letter.txt`:\n\n```text\nDear reader\n```\n\n"
        "```console\n$ mkdir here\n$ cd here\n$ cat ../letter.txt\nDear reader\n```\n\n"
        "*Not run by the tests: it would break something.*\n\n```console\n$ rm ../letter.txt\n```\n\n"
        "```console\n$ cat <<END\n> ${PWD##*/}\n> END\nhere\n$ false\n$ echo $?\n0\n$ ls ..\nhere\nletter.txt\n```\n",
        encoding="utf-8",
    )
    (tmp_path / "left").mkdir()
    [wrong] = Library(tmp_path / "left").read(page)
    assert (wrong.command.line, wrong.came) == (28, ["1"])
    console_blocks.correct(page, [wrong])
    assert Library(tmp_path / "left").read(page) == []


def test_a_server_runs_until_it_is_killed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```console\n$ python -u -m http.server --bind 127.0.0.1 8080 &\nServing HTTP on 127.0.0.1 port 8080 ...\n"
        "$ curl -s http://127.0.0.1:8080/ > listing.html\n$ kill %1\n"
        "$ curl -s http://127.0.0.1:8080/\n$ echo $?\n7\n```\n",
        encoding="utf-8",
    )
    (tmp_path / "left").mkdir()
    assert Library(tmp_path / "left").read(page) == []
