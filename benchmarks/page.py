"""docs/performance.md from the figures of every member."""

import json
from pathlib import Path
from statistics import median

HEAD = """# Performance

Boucle beside its peers, measured in one run on one machine; written by `make bench`, not by hand. Ratios are the
peer's median divided by Boucle's: 4.0 x means that the peer takes four times as long. Absolute figures wander with the
machine, ratios much less. How it is measured stands in `benchmarks/README.md`.
"""


def write(results: Path, page: Path) -> None:
    """One section for each file in `results`, in their names' order."""
    sections = [_section(json.loads(file.read_text())) for file in sorted(results.glob("*.json"))]
    page.write_text("\n".join([HEAD, *sections]))


def table(member: dict) -> list[str]:
    """Rows of a Markdown table: a peer each, median with least and most seconds, and its ratio to Boucle."""
    cases, peers = member["cases"], member["peers"]
    head = ["tool", "version", *(word for name in cases.values() for word in (f"{name}, s", "ratio")), "what it keeps"]
    rows = [head, ["---"] * len(head)]
    for peer in peers.values():
        cells = [peer["name"], peer["version"]]
        for case in cases:
            times, ours = peer["seconds"][case], peers["boucle"]["seconds"][case]
            cells += [
                f"{median(times):.3f} ({min(times):.3f} to {max(times):.3f})",
                f"{median(times) / median(ours):.1f} x",
            ]
        rows.append([*cells, peer["keeps"]])
    return [f"| {' | '.join(row)} |" for row in rows]


def _section(member: dict) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in member["machine"].items())
    rounds = len(member["peers"]["boucle"]["seconds"]["first"])
    parts = [
        f"## {member['title']}",
        member["about"],
        "\n".join(table(member)),
        f"Medians of {rounds} rounds in which the tools took turns, least and most in brackets.",
        f"Measured on {member['day']} with `{member['command']}`: {machine}.",
    ]
    return "\n\n".join(parts) + "\n"
