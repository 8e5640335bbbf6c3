"""Measures Boucle and its peers: python benchmarks/run.py [MEMBER ...]"""

import importlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import page
from environments import ROOT
from timing import machine

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


def main(asked: list[str]) -> None:
    """Measure the members asked for, or all of them, print their tables and write the page."""
    known = sorted(path.parent.name for path in HERE.glob("*/member.py"))
    if unknown := [name for name in asked if name not in known]:
        raise SystemExit(f"no benchmark is called {unknown[0]}; there are: {', '.join(known)}")
    for name in asked or known:
        measured = importlib.import_module(f"{name}.member").measure()
        facts = {"day": datetime.now(UTC).date().isoformat(), "command": f"make bench MEMBERS={name}"}
        result = {**measured, **facts, "machine": machine()}
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        sys.stdout.write(
            "\n".join([f"{result['title']}\n", *page.table(result), *map(page.further, result.get("tables", [])), ""])
            + "\n"
        )
    page.write(RESULTS, ROOT / "docs" / "performance.md")


if __name__ == "__main__":
    main(sys.argv[1:])
