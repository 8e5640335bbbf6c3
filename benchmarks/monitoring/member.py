"""Monitoring: speed and memory of comparing tables, how soon drift is seen, how good estimates are, what logs cost."""

import shutil
import tomllib
from pathlib import Path

from environments import BUILD, environment, version

import boucle

from . import detection, estimates, logging_cost, speed

HERE = Path(__file__).parent
TITLE = "Monitoring"
ABOUT = """Two Parquet files of a million rows and 20 columns (12 of normal, skewed or uniform numbers, 4 of whole
numbers, 4 of texts) are read and compared with one thread. Boucle tells PSI, Jensen-Shannon, Hellinger, chi-square
and, of numbers, Kolmogorov-Smirnov and Wasserstein of every column, exactly, with a verdict at a stated rate.
Evidently is asked for its DataDriftPreset (one distance a column) as a dictionary, NannyML for Jensen-Shannon,
Wasserstein and Kolmogorov-Smirnov of numbers and Jensen-Shannon and chi-square of texts. By hand are
Kolmogorov-Smirnov, Wasserstein, PSI and Jensen-Shannon in numpy and polars, without verdicts. Seconds are those of
the work alone, each in a process of its own; importing is not counted. A ratio says how many times as long, or as
much, Evidently takes. The share is how many times as fast as by hand Boucle is."""
ROWS = 1_000_000


def measure(rounds: int | None = None, rows: int = ROWS) -> dict[str, object]:
    """Every case and table; as many rounds as `peers.toml` says."""
    plan = tomllib.loads((HERE / "peers.toml").read_text())
    tools = {key: one for key, one in plan.items() if isinstance(one, dict)}
    peers = {key: environment(f"monitoring-{key}", one["requirements"]) for key, one in tools.items()}
    folder = BUILD / "monitoring"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rounds = rounds or plan["rounds"]
    values = speed.measure(folder, peers, rounds, rows)
    names = {"boucle": ("Boucle", boucle.__version__)}
    names |= {key: (tools[key]["name"], version(peers[key], tools[key]["requirements"][0])) for key in peers}
    names["by_hand"] = ("by hand", "")
    return {
        "title": TITLE,
        "about": ABOUT,
        "cases": {key: dict(zip(("name", "unit", "better"), case, strict=True)) for key, case in speed.CASES.items()},
        "peers": {
            key: {"name": name, "version": told, "values": values[key], "is_limit": key == "by_hand"}
            for key, (name, told) in names.items()
        },
        "rounds": f"Medians of {rounds} rounds in which Boucle and the work by hand took turns; the others ran once.",
        "tables": [
            *detection.tables(peers),
            estimates.table(peers["nannyml"]),
            logging_cost.table(folder / "serving"),
        ],
    }
