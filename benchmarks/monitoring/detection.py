"""How soon a change is seen, and how often none is there: Boucle, Evidently and NannyML by their defaults."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from environments import surroundings

from boucle.monitoring.columns import exact_columns
from boucle.monitoring.compare import compared
from boucle.monitoring.together import together
from boucle.monitoring.verdict import RATE, judged

from . import streams
from .counting import counted, delay_told, false_told, seen_share, summed
from .streams import Stream

HERE = Path(__file__).parent
DETECTORS = {
    ("boucle", "drift"): "Boucle",
    ("boucle", "together"): "Boucle: columns together",
    ("evidently", "share"): "Evidently: half of the columns",
    ("evidently", "any"): "Evidently: any column",
    ("nannyml", "columns"): "NannyML: any column",
    ("nannyml", "reconstruction"): "NannyML: PCA reconstruction",
}
Alarms = Mapping[tuple[str, str], list[list[bool]]]
"""By tool and detector, of each stream and window whether it alarms."""
NOTE = """Windows of 500 rows beside a reference of 5,000, every tool by its defaults: Boucle's verdicts on columns at
a rate of 0.01 a window, and what `--together` asks for at the same rate, which looks away from what each column does
by itself; Evidently's test and threshold of each column, of which its preset calls a table drifted when half of them
are; NannyML's Jensen-Shannon distance of each column, and its reconstruction by principal components. A cell says how
many windows with changed rows passed before the first alarm (0: it was the first that held any) and in how many of
all changed windows there was an alarm. An alarm in a window without changed rows is false. A detector that alarms at
nearly every window sees every change at once. Real rows are those of New York's flights of 2013 with their weather
and of 53,940 diamonds, shuffled within their part."""


def tables(peers: Mapping[str, Path], windows: int = 40, quiet: int = 4, alone: int = 2_000) -> list[dict[str, object]]:
    """One table of what each detector does on each stream, one of Boucle's rate."""
    every = streams.every(windows, quiet)
    found: dict[tuple[str, str], list[list[bool]]] = {
        ("boucle", "drift"): [ours(stream) for stream in every],
        ("boucle", "together"): [ours_together(stream) for stream in every],
    }
    with tempfile.TemporaryDirectory() as name:
        streams.kept(every, Path(name))
        for peer, programs in peers.items():
            for detector, alarms in _theirs(peer, programs, Path(name), every).items():
                found[peer, detector] = alarms
    return [
        {"title": "Detection of drift", "about": NOTE, "rows": rows(every, found)},
        {"title": "Boucle's stated rate", "about": _rate(alone), "rows": []},
    ]


def ours(stream: Stream) -> list[bool]:
    """Which windows Boucle calls drifted."""
    reference = exact_columns(stream.reference)
    return [_drifted(reference, window) for window in stream.rows.iter_slices(streams.ROWS)]


def ours_together(stream: Stream) -> list[bool]:
    """In which windows Boucle says that columns no longer go together as they did."""
    found = [together(stream.reference, window, rate=RATE) for window in stream.rows.iter_slices(streams.ROWS)]
    return [one is not None and one.drifted for one in found]


def rows(every: Sequence[Stream], alarms: Alarms) -> list[list[str]]:
    """A line a stream with the delays, and the false alarms of all their clean windows together."""
    known = [name for name in DETECTORS if name in alarms]
    lines = [["stream", "change", *(DETECTORS[name] for name in known)]]
    for number, stream in enumerate(every):
        if not stream.changes:
            continue
        counts = [counted(alarms[name][number], stream.changes) for name in known]
        lines.append([stream.name, stream.kind, *(f"{delay_told(one)} ({seen_share(one)})" for one in counts)])
    for title, chosen in _clean(every):
        counts = [summed(counted(alarms[name][at], every[at].changes) for at in chosen) for name in known]
        lines.append(
            [f"false alarms per 1,000 of {counts[0].clean} windows, {title}", "none", *map(false_told, counts)]
        )
    return lines


def _clean(every: Sequence[Stream]) -> Iterable[tuple[str, list[int]]]:
    for what in ("made up", "flights", "stones"):
        yield what, [at for at, stream in enumerate(every) if stream.name.startswith(what)]


def _drifted(reference: Mapping[str, object], window: pl.DataFrame) -> bool:
    return any(one.verdict == "drift" for one in judged(compared(reference, exact_columns(window))).columns)  # type: ignore[arg-type]


def _rate(windows: int) -> str:
    """Boucle alone on many windows without drift; each ten have a reference of their own."""
    stones = streams.stones()["good"]
    told = []
    for what, made in (("made-up rows", streams.customers), ("diamonds", streams.drawn(stones))):
        noise = np.random.default_rng(7)
        alarms = 0
        for _ in range(windows // 10):
            reference = exact_columns(made(streams.REFERENCE_ROWS, noise))
            verdicts = [judged(compared(reference, exact_columns(made(streams.ROWS, noise)))) for _ in range(10)]
            alarms += sum(any(column.verdict != "same" for column in one.columns) for one in verdicts)
        told.append(f"{alarms} of {windows:,} windows of {what} ({1000 * alarms / windows:.3g} per 1,000)")
    return (
        "Windows without drift, each ten beside a reference of their own: Boucle called any column drifted or "
        f"slightly moved in {' and '.join(told)}; stated are at most {1000 * RATE:.0f} per 1,000."
    )


def _theirs(peer: str, programs: Path, folder: Path, every: Sequence[Stream]) -> dict[str, list[list[bool]]]:
    first = {stream.name.partition(",")[0]: stream.name for stream in reversed(every)}
    asked = {
        "rows": streams.ROWS,
        "streams": [{"name": one.name, "texts": one.texts, "checked": one.name in first.values()} for one in every],
    }
    around = {**surroundings(programs), "NML_DISABLE_USAGE_LOGGING": "1", "OMP_NUM_THREADS": "1"}
    command = [programs / "python", HERE / f"detect_{peer}.py", folder, json.dumps(asked)]
    done = subprocess.run(command, env=around, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"detect_{peer}.py ended with {done.returncode}:\n{done.stderr[-3000:]}")
    sys.stderr.write(f"detection by {peer}: done\n")
    return json.loads(done.stdout.splitlines()[-1])
