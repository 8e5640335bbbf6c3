import re
from pathlib import Path

from boucle.kernel.care.layout import KINDS, kind_of

PAGE = Path(__file__).parents[3] / "docs" / "store.md"


def test_every_kind_of_file_is_in_the_page_about_the_store() -> None:
    told = PAGE.read_text(encoding="utf-8").partition("## Every file of a store")[2]
    assert re.findall(r"^\| `([^`]+)` \| (.+?) \|$", told, flags=re.MULTILINE) == [
        (kind.pattern, kind.meaning) for kind in KINDS
    ]


def test_paths_that_lead_elsewhere_are_of_no_kind() -> None:
    for path in ("", "../boucle.db", "serving/../traffic.json", "blobs/aa/../x", "cache/x.json", "/boucle.db"):
        assert kind_of(path) is None
