"""Evidently's DataDriftPreset of two Parquet files: run by speed.py, in an environment of its own."""

import sys
import warnings

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
from taken import tell

warnings.filterwarnings("ignore")


def compared() -> object:
    """Read, compare, and the result as a dictionary; no page is made."""
    tables = [pd.read_parquet(f"{sys.argv[1]}/{part}.parquet") for part in ("reference", "current")]
    texts = [name for name in tables[0] if name.startswith("t")]
    numbers = [name for name in tables[0] if name not in texts]
    columns = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    reference, current = (Dataset.from_pandas(one, data_definition=columns) for one in tables)
    return Report([DataDriftPreset()]).run(current, reference).dict()


tell(compared)
