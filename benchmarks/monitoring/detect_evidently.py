"""Which windows Evidently's defaults call drifted: run by detection.py, in an environment of its own.

The tests and thresholds are those that DataDriftPreset takes by itself; without its page a window takes milliseconds
instead of seconds. The last window of some streams is asked for by the preset as well: both must say the same.
"""

import json
import sys
import warnings

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.legacy.calculations.stattests.registry import get_stattest
from evidently.presets import DataDriftPreset

warnings.filterwarnings("ignore")
folder, asked = sys.argv[1], json.loads(sys.argv[2])


def drifted(reference: pd.Series, window: pd.Series, kind: str) -> bool:
    """By the default test of a column, with its default threshold."""
    before, after = reference.dropna(), window.dropna()
    test = get_stattest(before, after, kind, None)
    return bool(test(before, after, kind, None).drifted)


def by_preset(reference: pd.DataFrame, window: pd.DataFrame, texts: list[str]) -> int:
    """How many columns the preset calls drifted."""
    numbers = [name for name in reference if name not in texts]
    columns = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    tables = [Dataset.from_pandas(one, data_definition=columns) for one in (window, reference)]
    [count] = [
        one["value"]["count"]
        for one in Report([DataDriftPreset()]).run(*tables).dict()["metrics"]
        if "DriftedColumnsCount" in one["metric_name"]
    ]
    return int(count)


found: dict[str, list[list[bool]]] = {"share": [], "any": []}
for number, stream in enumerate(asked["streams"]):
    reference, rows = (pd.read_parquet(f"{folder}/{number}.{part}.parquet") for part in ("reference", "rows"))
    kinds = {name: "cat" if name in stream["texts"] else "num" for name in reference}
    counts = []
    for first in range(0, len(rows), asked["rows"]):
        window = rows.iloc[first : first + asked["rows"]]
        counts.append(sum(drifted(reference[name], window[name], kind) for name, kind in kinds.items()))
    if stream["checked"]:
        preset = by_preset(reference, rows.iloc[-asked["rows"] :].reset_index(drop=True), stream["texts"])
        if preset != counts[-1]:
            raise SystemExit(f"{stream['name']}: the preset counts {preset} drifted columns, its tests {counts[-1]}")
    found["share"].append([count >= 0.5 * len(kinds) for count in counts])
    found["any"].append([count > 0 for count in counts])
sys.stdout.write(f"{json.dumps(found)}\n")
