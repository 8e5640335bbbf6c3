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
    """Rows of a Markdown table: a peer each where all cases are seconds of whole processes, else a case each."""
    return _by_peer(member) if "seconds" in member["peers"]["boucle"] else _by_case(member)


def _by_peer(member: dict) -> list[str]:
    """A row for a peer: median with least and most seconds, and its ratio to Boucle."""
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


def _by_case(member: dict) -> list[str]:
    """A row for a case: each peer's median, and how many times better Boucle's is than the second peer's.

    Of a peer that is a limit also how many times better it is, and which share of the last one Boucle reaches.
    """
    peers = list(member["peers"].values())
    first = f"{peers[1]['name']} {peers[1]['version']}"
    has_limits = any(peer.get("is_limit") for peer in peers)
    head = ["", "unit", "Boucle", first, "ratio", *(peer["name"] for peer in peers[2:])]
    head += ["share"] * has_limits
    rows = [head, ["---"] * len(head)]
    for key, case in member["cases"].items():
        ours, theirs, *others = (peer["values"].get(key) for peer in peers)
        if not ours:
            continue
        row = [case["name"], case["unit"], *map(_middle, (ours, theirs)), _ratio(case, ours, theirs)]
        for peer, values in zip(peers[2:], others, strict=True):
            ratio = _ratio(case, values, theirs) if peer.get("is_limit") else ""
            row.append(f"{_middle(values)} ({ratio})" if ratio else _middle(values))
        if has_limits:
            row.append(_share(case, ours, next((values for values in reversed(others) if values), None)))
        rows.append(row)
    return [f"| {' | '.join(row)} |" for row in rows]


def _share(case: dict, ours: list[float], limit: list[float] | None) -> str:
    return f"{_better(case, ours, limit):.0%}".replace("%", " %") if limit else ""


def _ratio(case: dict, ours: list[float] | None, theirs: list[float] | None) -> str:
    return f"{_better(case, ours, theirs):.1f} x" if ours and theirs else ""


def _better(case: dict, ours: list[float], theirs: list[float]) -> float:
    return median(theirs) / median(ours) if case["better"] == "less" else median(ours) / median(theirs)


def _middle(values: list[float] | None) -> str:
    if not values:
        return ""
    middle = median(values)
    return f"{middle:,.0f}" if middle >= 100 else f"{middle:.1f}" if middle >= 10 else f"{middle:.3g}"


def _section(member: dict) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in member["machine"].items())
    ours = member["peers"]["boucle"]
    parts = [
        f"## {member['title']}",
        member["about"],
        "\n".join(table(member)),
        member.get("rounds") or _rounds(ours),
        *(further(one) for one in member.get("tables", [])),
        f"Measured on {member['day']} with `{member['command']}`: {machine}.",
    ]
    return "\n\n".join(parts) + "\n"


def further(further: dict) -> str:
    """A table of its own below the member's: title, what it says, rows of which the first is the head."""
    rows = [f"| {' | '.join(row)} |" for row in further["rows"]]
    lines = [*rows[:1], *(f"| {' | '.join(['---'] * len(row))} |" for row in further["rows"][:1]), *rows[1:]]
    return "\n\n".join(["### " + further["title"], further["about"], *(["\n".join(lines)] if lines else [])])


def _rounds(ours: dict) -> str:
    if "seconds" in ours:
        rounds = len(ours["seconds"]["first"])
        return f"Medians of {rounds} rounds in which the tools took turns, least and most in brackets."
    rounds = len(ours["values"]["start"])
    short = len(ours["values"].get("history client", []))
    several = f" and {short} where clients in Python ask" if short else ""
    return f"Medians of {rounds} rounds, fewer where one takes long{several}; the servers took turns."
