"""The digest of data is that of their content: the same content has one digest, other content another."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from boucle.kernel.errors import InvalidInput
from boucle.runs.client.data_used import describe

HERE = Path(__file__).parent
TOP = HERE.parents[2]


def digest(data: object) -> str:
    return describe("d", data, "training").fingerprint


def test_objects_are_told_by_what_they_hold_not_by_where_they_lie() -> None:
    def cells(last: str) -> np.ndarray:
        found = np.empty(5, dtype=object)
        found[:] = ["".join(["a", "b"]), Decimal("1.5"), None, {"b": [1], "a": np.float64(2)}, np.str_(last)]
        return found

    assert digest(cells("x")) == digest(cells("x")) != digest(cells("y"))
    rows = cells("x")
    before = digest(rows)
    rows[3]["b"].append(2)
    assert digest(rows) != before
    rows[0] = object()
    with pytest.raises(InvalidInput, match="nothing tells the value of a object"):
        digest(rows)
    with pytest.raises(InvalidInput, match="content of this data cannot be told: unhashable"):
        digest(pd.DataFrame({"a": [[1], [2]]}))


def test_categories_in_lists_and_objects_of_polars_have_one_digest_in_every_process() -> None:
    program = (
        "import polars as pl\n"
        "from boucle.runs.client.data_used import describe\n"
        "lists = pl.Series('a', [['a'], ['b']], dtype=pl.List(pl.Categorical))\n"
        "objects = pl.Series('o', [('a', 1), ('b', 2)], dtype=pl.Object)\n"
        "table = pl.DataFrame([lists, objects, pl.Series('n', [1, 2])])\n"
        "told = describe('d', table, 'training').fingerprint\n"
    )
    command = [sys.executable, "-c", f"{program}print(told)"]
    there = subprocess.run(command, check=True, capture_output=True, text=True, env={"PYTHONHASHSEED": "1"})
    kept = pl.Series(["z", "b", "a"], dtype=pl.Categorical)  # numbered by this process before those of the table
    here: dict[str, str] = {}
    exec(program, here)
    assert here["told"] == there.stdout.strip()
    assert len(kept) == 3
    assert digest(pl.DataFrame({"a": pl.Series([("a", 1)], dtype=pl.Object)})) != digest(
        pl.DataFrame({"a": pl.Series([("a", 2)], dtype=pl.Object)})
    )


@pytest.mark.long
def test_tables_of_arrow_are_told_by_their_cells() -> None:
    subprocess.run([HERE / "install-arrow"], check=True)
    asked = subprocess.run(
        [TOP / "build" / "arrow" / "bin" / "python", HERE / "arrow_digests.py"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TOP / "src")},
    )
    told: dict[str, list[str]] = json.loads(asked.stdout)
    assert {name: len(set(found)) for name, found in told.items()} == dict.fromkeys(told, 1)
    assert len({found[0] for found in told.values()}) == len(told)
