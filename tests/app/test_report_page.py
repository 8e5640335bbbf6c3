"""The report as one file: complete, offline, escaped, the same every time."""

import importlib.util
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path

import msgspec
import pytest
import vl_convert
from msgspec.structs import replace

from boucle.app import charts, report_page
from boucle.loop.report_records import Report


@pytest.fixture(scope="module")
def report() -> Report:
    """`report_sample.py` beside this file: test folders are no packages, so it is loaded by its path."""
    spec = importlib.util.spec_from_file_location("report_sample", Path(__file__).with_name("report_sample.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Report = module.report()
    return made


@pytest.fixture(scope="module")
def empty(report: Report) -> Report:
    """What a stream looks like before anything was labelled, decided or monitored."""
    return replace(
        report,
        rows=0,
        months=[],
        weeks=[],
        mean_loop=None,
        mean_frozen=None,
        mean_oracle=None,
        gain_share=None,
        marks=[],
        drift=[],
        quarantined=[],
        alerts=[],
        objectives=[],
        calibration_before=None,
        calibration_after=None,
        lineage=[],
    )


class Page(HTMLParser):
    """What a browser would fetch from a page, and what a reader would read."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self._silent = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._silent = tag in ("script", "style")
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]

    def handle_endtag(self, tag: str) -> None:
        self._silent = self._silent and tag not in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.text += f"{data.strip()} " if data.strip() else ""


@pytest.mark.slow
def test_the_page_fetches_nothing_and_forbids_it(report: Report) -> None:
    page = Page(report_page.page(report))
    assert page.fetched == []
    assert "link" not in page.tags
    assert "Content-Security-Policy" in report_page.page(report)


@pytest.mark.slow
def test_the_page_tells_what_the_report_holds(report: Report) -> None:
    text = Page(report_page.page(report)).text
    for expected in ("0.706", "0.671", "0.709", "93 %", "2013-07", "✗ missed", "— not measured", "version 9 fails its"):
        assert expected in text
    for node in report.lineage:
        assert node.title in text
        assert node.digest is None or node.digest in text
    for alert in report.alerts:
        assert alert.message in text


@pytest.mark.slow
def test_every_text_is_escaped(report: Report) -> None:
    evil = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'
    hostile = replace(
        report,
        project=evil,
        stream=evil,
        metric=evil,
        generated=evil,
        marks=[replace(mark, reason=evil) for mark in report.marks],
        drift=[replace(cell, column=evil) for cell in report.drift[:5]],
        objectives=[replace(objective, where=evil, required=evil) for objective in report.objectives],
        lineage=[replace(node, kind=evil, title=evil, facts={evil: evil}) for node in report.lineage],
    )
    tame, page = Page(report_page.page(report)), Page(report_page.page(hostile))
    assert page.tags.count("script") == tame.tags.count("script")
    assert "img" not in page.tags
    assert page.text.count(evil) > 50


@pytest.mark.slow
def test_the_libraries_in_the_page_cannot_end_their_script() -> None:
    assert "</script" not in vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").lower()


@pytest.mark.slow
def test_the_same_report_gives_the_same_bytes(report: Report, tmp_path: Path) -> None:
    report_page.write(report, tmp_path / "one.html")
    report_page.write(report, tmp_path / "two.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_a_report_without_anything_in_it_says_so(empty: Report) -> None:
    text = Page(report_page.page(empty)).text
    for expected in (
        "No served row has a label",
        "No day was monitored",
        "Nothing had to be decided",
        "None was opened",
        "No model is in charge",
    ):
        assert expected in text


def test_colors_have_one_role_each_so_that_they_can_be_swapped() -> None:
    colors = charts.dark_colors()
    assert len(colors) == len(set(colors.values())) == len(msgspec.structs.fields(charts.Palette))


@pytest.mark.parametrize(("palette", "panel"), [(charts.LIGHT, "#ffffff"), (charts.DARK, "#181c22")])
def test_text_and_lines_stand_out_from_the_panel(palette: charts.Palette, panel: str) -> None:
    """Contrast as WCAG 2.2 defines it: 4.5 for text, 3 for graphics."""
    for role, least in {"ink": 4.5, "muted": 4.5, "loop": 3, "frozen": 3, "oracle": 3, "quarantine": 3}.items():
        assert _contrast(getattr(palette, role), panel) >= least, role
    for role in ("retrain", "promote", "refuse", "rollback"):
        assert _contrast(getattr(palette, role), panel) >= 3, role


@pytest.mark.parametrize("palette", [charts.LIGHT, charts.DARK])
def test_heat_is_readable_by_lightness_alone(palette: charts.Palette) -> None:
    steps = [_luminance(getattr(palette, f"heat_{step}")) for step in range(5)]
    assert steps in (sorted(steps), sorted(steps, reverse=True))


@pytest.mark.slow
def test_the_same_specs_draw_as_images(report: Report) -> None:
    for spec in (
        charts.metric_over_time(report),
        charts.drift_map(report),
        charts.calibration(report.calibration_before, report.calibration_after),
    ):
        assert vl_convert.vegalite_to_png(spec)[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium; tests/install-browser installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["report", "empty"])
def test_a_browser_draws_it_offline_without_a_complaint(
    which: str, scheme: str, browser: object, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    from playwright.sync_api import Browser

    assert isinstance(browser, Browser)
    file = tmp_path / "report.html"
    report_page.write(request.getfixturevalue(which), file)
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(file.as_uri())
    page.wait_for_selector(f"html[data-drawn={scheme}]", timeout=30_000)
    assert requests == [file.as_uri()]
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") == 1280
    drawn = page.locator(".chart svg").count()
    assert drawn == (3 if which == "report" else 0)
    other = "light" if scheme == "dark" else "dark"
    page.emulate_media(color_scheme=other)  # type: ignore[arg-type]
    page.wait_for_selector(f"html[data-drawn={other}]", timeout=30_000)
    palette = charts.LIGHT if other == "light" else charts.DARK
    if which == "report":
        assert palette.loop in page.locator("#chart-time svg").inner_html()
    page.close()


def _luminance(color: str) -> float:
    shares = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted(chain(map(_luminance, (one, other))))
    return (lighter + 0.05) / (darker + 0.05)
