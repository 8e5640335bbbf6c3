"""NannyML's distances of two Parquet files: run by speed.py, in an environment of its own."""

import sys
import warnings

import nannyml
import pandas as pd
from taken import tell

warnings.filterwarnings("ignore")


def compared() -> object:
    """Jensen-Shannon, Wasserstein and Kolmogorov-Smirnov of numbers, Jensen-Shannon and chi-square of texts."""
    reference, current = (pd.read_parquet(f"{sys.argv[1]}/{part}.parquet") for part in ("reference", "current"))
    texts = [name for name in reference if name.startswith("t")]
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=list(reference.columns),
        treat_as_categorical=texts,
        continuous_methods=["jensen_shannon", "wasserstein", "kolmogorov_smirnov"],
        categorical_methods=["jensen_shannon", "chi2"],
        chunk_number=1,
    )
    return calculator.fit(reference).calculate(current).to_df()


tell(compared)
