"""What other slices may import from data."""

from boucle.data.checks import name_of, run_checks
from boucle.data.csv_file import read_csv
from boucle.data.csv_sniff import sniff_csv, written
from boucle.data.described import Correlation, Moments, correlations, distinct_values
from boucle.data.described import moments as moments_of
from boucle.data.histogram import Histogram, bucket_bounds, bucket_middles
from boucle.data.number_profile import histogram_of, values_of
from boucle.data.profile_file import ProfiledTable, profile_file
from boucle.data.profile_file import from_bytes as read_profile
from boucle.data.profile_file import load as load_kept_profile
from boucle.data.profile_file import to_bytes as written_profile
from boucle.data.profiles import alike, comparable, merge, merged, profile, quantiles, rank_error
from boucle.data.schema import as_text, counted, infer, kind_of, moments, normalise
from boucle.data.snapshots import get_version, load, load_profile, parquet, snapshot
from boucle.data.sources import read_source, read_table
from boucle.data.task import check_present, task_of
from boucle.data.text_profile import hash_of, shared_values
from boucle.data.usable import check_usable

__all__ = [
    "Correlation",
    "Histogram",
    "Moments",
    "ProfiledTable",
    "alike",
    "as_text",
    "bucket_bounds",
    "bucket_middles",
    "check_present",
    "check_usable",
    "comparable",
    "correlations",
    "counted",
    "distinct_values",
    "get_version",
    "hash_of",
    "histogram_of",
    "infer",
    "kind_of",
    "load",
    "load_kept_profile",
    "load_profile",
    "merge",
    "merged",
    "moments",
    "moments_of",
    "name_of",
    "normalise",
    "parquet",
    "profile",
    "profile_file",
    "quantiles",
    "rank_error",
    "read_csv",
    "read_profile",
    "read_source",
    "read_table",
    "run_checks",
    "shared_values",
    "snapshot",
    "sniff_csv",
    "task_of",
    "values_of",
    "written",
    "written_profile",
]
