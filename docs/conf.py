"""How Sphinx builds the site from these pages: `make docs`.

The pages are plain Markdown that a code host shows as well. What only the site needs stands here: the navigation, and
the picture of the loop, which is set into each page so that its boxes are links.
"""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers.shell import BashSessionLexer
from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish
from sphinx.transforms import SphinxTransform
from sphinx.util.osutil import relative_uri

from boucle import __version__

HERE = Path(__file__).parent

project = "Boucle"
release = __version__
extensions = ["myst_parser"]
exclude_patterns = ["_static"]
myst_heading_anchors = 4
highlight_language = "none"

html_theme = "furo"
html_title = "Boucle"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
# The summaries below a search result are fetched, which a browser refuses for pages opened from a folder.
html_show_search_summary = False

CONCEPTS = [
    "project", "objective", "dataset-version", "profile", "check", "run", "bundle", "attestation", "evaluation",
    "model-version", "gate", "review", "permit", "champion", "endpoint", "window", "alert", "trigger", "the-loop",
    "audit-log", "store",
]  # fmt: skip


NAVIGATION = {
    "Begin": ["why", "first-hour", "goes-bad", "tutorial"],
    "Concepts": ["concepts/index"],
    "How to": [
        "how-to/index",
        *sorted(f"how-to/{path.stem}" for path in HERE.glob("how-to/*.md") if path.stem != "index"),
    ],
    "Reference": ["reference", "gates", "monitoring", "store", "architecture", "guarantees"],
    "More": ["compile", "performance", "decisions/index", "changelog"],
}
"""The left column: headings with their pages."""


def _tree(pages: list[str], caption: str = "") -> str:
    names = "\n".join(pages)
    options = f":hidden:\n:caption: {caption}" if caption else ":maxdepth: 1"
    return f"\n\n```{{toctree}}\n{options}\n\n{names}\n```\n"


def _add_navigation(app: Sphinx, page: str, source: list[str]) -> None:  # noqa: ARG001 - Sphinx calls it so
    if page == "index":
        placed = {name for pages in NAVIGATION.values() for name in pages}
        new = sorted(path.stem for path in HERE.glob("*.md") if path.stem not in placed | {"index"})
        for caption, pages in (NAVIGATION | {"More": [*new, *NAVIGATION["More"]]}).items():
            source[0] += _tree([name for name in pages if (HERE / f"{name}.md").exists()], caption)
    elif page == "concepts/index":
        source[0] += _tree(CONCEPTS)
    elif page == "decisions/index":
        source[0] += _tree(sorted(path.stem for path in HERE.glob("decisions/[0-9]*.md")))


class Console(BashSessionLexer):
    """Commands behind `$ ` only; in an output, a line may begin with `%` or `#`."""

    _ps1rgx = re.compile(r"^(\$ )(.*\n?)")


class Search(SearchEnglish):
    """Finds `latency_p95_ms` by that name and by each word in it."""

    def split(self, input: str) -> list[str]:
        words = super().split(input)
        return words + [part for word in words if "_" in word for part in word.split("_") if part]


class LoopPicture(SphinxTransform):
    """Sets `loop.svg` into the page in place of the image; `loop.svg#gate` marks the box named `gate`."""

    default_priority = 200

    def apply(self, **_: Any) -> None:
        page = self.env.docname
        for image in list(self.document.findall(nodes.image)):
            name, _, here = str(image["uri"]).rpartition("/")[2].partition("#")
            if name == "loop.svg":
                image.replace_self(nodes.raw("", _picture(page, here), format="html"))


def _picture(page: str, here: str) -> str:
    def link(match: re.Match[str]) -> str:
        return f'href="{relative_uri(f"{page}.html", f"{match[1]}.html")}"'

    drawing = re.sub(r'href="([^"#]+)\.md"', link, (HERE / "loop.svg").read_text(encoding="utf-8"))
    if here:
        marked = re.sub(
            rf'class="node([^"]*)" id="{re.escape(here)}"', r'class="node\1 here" aria-current="page"', drawing
        )
        assert marked != drawing, f"{page}: the picture has no box named {here}"
        drawing = marked
    return f'<div class="loop">{re.sub(r" id=.(?!loop-)[a-z-]+.(?= href)", "", drawing)}</div>'


def setup(app: Sphinx) -> None:
    app.add_lexer("console", Console)
    app.add_search_language(Search)
    app.connect("source-read", _add_navigation)
    app.add_transform(LoopPicture)
