"""`boucle profile` in any folder: what is printed, the page, the kept profile, mistakes, Ctrl-C."""

import json
import os
import shutil
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from boucle.app import profile_page
from boucle.app.main import run_command
from boucle.data.profile_facts import TableFacts, facts
from boucle.data.profile_file import profile_file

EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a project, with a table."""
    monkeypatch.chdir(tmp_path)
    n = 3000
    pl.DataFrame(
        {
            "x": [i % 977 / 7 for i in range(n)],
            "twice": [i % 977 / 3.5 for i in range(n)],
            "city": ["Bern" if i % 3 else "Zug" for i in range(n)],
            "id": [f"o{i}" for i in range(n)],
            "gaps": [None if i % 4 else i for i in range(n)],
            "paid": [i % 2 == 0 for i in range(n)],
            "at": [f"2024-01-{1 + i % 28:02}" for i in range(n)],
            "none": [None] * n,
        },
        {"none": pl.String} | dict.fromkeys(("x", "twice", "city", "id", "gaps", "paid", "at")),
    ).write_csv("orders.csv")
    return tmp_path


def test_a_table_is_told_without_a_project(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["profile", "orders.csv"]) == 0
    told = capsys.readouterr().out
    for expected in ("3,000 rows, 8 columns", "75.0%", "Bern 67%, Zug 33%", "none above 0.5 %", "+1.000", "2024-01-28"):
        assert expected in told
    assert list(folder.iterdir()) == [folder / "orders.csv"]


def test_a_profile_is_kept_and_told_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["profile", "orders.csv", "-o", "orders.profile", "--json"]) == 0
    first = capsys.readouterr().out
    assert run_command(["profile", "orders.profile", "--json"]) == 0
    assert capsys.readouterr().out == first
    told = {one["column"]: one for one in json.loads(first)["columns"]}
    assert (told["gaps"]["missing"], told["none"]["missing"], told["paid"]["mean"]) == (2250, 3000, 0.5)
    assert told["at"]["minimum"] == "2024-01-01"
    assert (folder / "orders.profile").stat().st_size < 60_000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["orders.csv", "-o", "orders.csv"], "is the table itself"),
        (["orders.csv", "-o", "x.txt"], "next: boucle profile orders.csv -o x.profile"),
        (["orders.csv", "--html", "no/page.html"], "there is no folder no"),
        (["order.csv"], "there is orders.csv"),
        (["other.profile"], "there is no profile"),
    ],
)
def test_mistakes_are_told(words: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["profile", *words]) == 2
    assert said in capsys.readouterr().err
    assert list(folder.iterdir()) == [folder / "orders.csv"]


class Page(HTMLParser):
    """A page's tags, what they would fetch, and its text without scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]


@pytest.fixture
def told(tmp_path: Path) -> TableFacts:
    """Of a table whose names and values would be code."""
    values = {
        EVIL: [EVIL, "a", "a"],
        "x": [1.5, 2.5, None],
        "at": ["2024-01-01", "2024-01-02", "2024-01-05"],
        "y": [1, 2, 4],
    }
    pl.DataFrame(values).write_csv(tmp_path / "evil.csv")
    return facts(profile_file(tmp_path / "evil.csv"))


@pytest.mark.slow
def test_the_page_fetches_nothing_and_every_text_is_escaped(told: TableFacts) -> None:
    html = profile_page.page(told)
    page = Page(html)
    assert page.fetched == []
    assert "img" not in page.tags
    assert page.tags.count("script") == 3
    assert "Content-Security-Policy" in html
    assert profile_page.page(told) == html


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_draws_the_page_offline_without_a_complaint(scheme: str, told: TableFacts, tmp_path: Path) -> None:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium; tests/install-browser installs it")
    from playwright.sync_api import sync_playwright

    file = tmp_path / "page.html"
    file.write_text(profile_page.page(told), encoding="utf-8")
    requests: list[str] = []
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(file.as_uri())
        page.wait_for_selector(f"html[data-drawn={scheme}]", timeout=60_000)
        drawn = page.locator(".chart svg").count()
        browser.close()
    assert requests == [file.as_uri()]
    assert complaints == []
    assert drawn == 5


@pytest.mark.slow
def test_ctrl_c_ends_it_in_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    table = pl.DataFrame({f"x{i}": pl.int_range(400_000, eager=True).shuffle(seed=i) / 7 for i in range(30)})
    table.write_parquet(tmp_path / "large.parquet")
    started = subprocess.Popen(
        [sys.executable, "-m", "boucle", "profile", "large.parquet", "-o", "large.profile"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip
    assert started.stderr is not None
    assert started.stderr.readline().startswith("… profile")
    started.send_signal(signal.SIGINT)
    said = started.communicate(timeout=60)[1]
    assert started.returncode == 130, said
    assert "Traceback" not in said
    assert [one.name for one in tmp_path.iterdir()] == ["large.parquet"]


def test_a_reader_that_went_away_ends_it_as_documented(folder: Path) -> None:
    command = [sys.executable, "-m", "boucle", "profile", "orders.csv"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        process.stdout.close()
    assert process.returncode == 141
