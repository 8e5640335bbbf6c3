"""The filters in the documentation are ones that are understood."""

import re
from pathlib import Path

from boucle.kernel.search.parser import parse_filter
from boucle.runs.search.languages import RUNS

PAGE = Path(__file__).parents[3] / "docs/how-to/search.md"


def test_the_documented_filters_are_understood() -> None:
    (block,) = re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert [len(parse_filter(line, RUNS)) for line in block.splitlines()] == [2] * 5
