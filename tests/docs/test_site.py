"""The documentation site: built without a warning, and read in a real browser that has no network."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sphinx", reason="no sphinx; `make install` installs it")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(ROOT / "docs"), str(folder)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stderr
    return folder


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


def test_the_site_is_read_and_searched_without_a_network(site: Path, browser: object) -> None:
    from playwright.sync_api import Browser

    assert isinstance(browser, Browser)
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((site / "index.html").as_uri())
    page.fill("form.sidebar-search-container input", "quarantined")
    page.keyboard.press("Enter")
    found = page.locator("ul.search li a", has_text="Monitoring")
    found.first.click()
    page.wait_for_url("**/monitoring.html**")
    assert page.locator("h1").inner_text().startswith("Monitoring")
    # From the picture of the loop to the page of a concept, whose box is marked there.
    page.goto((site / "index.html").as_uri())
    page.locator(".loop-picture a.node", has_text="gate").click()
    page.wait_for_url("**/concepts/gate.html")
    assert page.locator(".loop-picture .here").text_content() == "gate"
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    context.close()


@pytest.mark.parametrize("stem", ["latenc", "latency_p95_m"])
def test_a_name_is_found_as_a_whole_and_by_each_of_its_words(stem: str, site: Path) -> None:
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    found = json.loads(index[index.index("(") + 1 : index.rindex(")")])
    assert found["docnames"].index("reference") in found["terms"][stem]


@pytest.mark.parametrize("name", ["index", "goes-bad", "reference", "concepts/gate"])
def test_no_page_is_wider_than_a_phone(name: str, site: Path, browser: object) -> None:
    from playwright.sync_api import Browser

    assert isinstance(browser, Browser)
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto((site / f"{name}.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()


def test_every_box_of_the_picture_leads_to_a_page(site: Path) -> None:
    drawing = (ROOT / "docs" / "loop.svg").read_text(encoding="utf-8")
    targets = re.findall(r'href="([^"#]+)"', drawing)
    concepts = {f"concepts/{page.name}" for page in (ROOT / "docs" / "concepts").glob("*.md") if page.stem != "index"}
    assert set(targets) == concepts
    assert all((site / target).with_suffix(".html").exists() for target in targets)
