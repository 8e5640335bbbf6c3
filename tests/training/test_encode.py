import numpy as np
import polars as pl
import pytest

from boucle.data.records import Features
from boucle.kernel.errors import InvalidInput
from boucle.training.encode import MOST_CATEGORIES, encode_table, encoding_of


def test_categories_come_first_and_codes_are_dense(flights: pl.DataFrame, features: Features) -> None:
    encoding = encoding_of(flights, features)
    matrix = encode_table(flights, encoding)
    assert encoding.categories["carrier"] == ["AA", "B6", "DL", "UA"]
    assert np.unique(matrix[~np.isnan(matrix[:, 0]), 0]).tolist() == [0, 1, 2, 3]
    assert np.isnan(matrix[:, 0]).sum() == flights["carrier"].null_count()
    assert np.array_equal(matrix[:, 2], flights["temp"].to_numpy(), equal_nan=True)


def test_only_the_heaviest_categories_are_kept() -> None:
    values = [f"v{i:03}" for i in range(300)] + [f"v{i:03}" for i in range(100, 300)]
    encoding = encoding_of(pl.DataFrame({"c": values}), Features(categorical=["c"]))
    assert len(encoding.categories["c"]) == MOST_CATEGORIES
    assert encoding.categories["c"] == [f"v{i:03}" for i in range(50)] + [f"v{i:03}" for i in range(100, 300)]


def test_rows_may_come_in_any_order(flights: pl.DataFrame, features: Features) -> None:
    assert encoding_of(flights, features) == encoding_of(flights.reverse(), features)


def test_unseen_values_and_empty_vocabularies_are_missing(flights: pl.DataFrame, features: Features) -> None:
    encoding = encoding_of(flights.with_columns(origin=pl.lit(None, dtype=pl.String)), features)
    other = flights.with_columns(carrier=pl.lit("never seen"))
    assert encoding.categories["origin"] == []
    assert np.isnan(encode_table(other, encoding)[:, :2]).all()


def test_other_types_are_taken_as_they_read() -> None:
    table = pl.DataFrame({"c": [3, 11, 3], "flag": [True, None, False]})
    encoding = encoding_of(table, Features(categorical=["c"], numeric=["flag"]))
    assert encoding.categories == {"c": ["11", "3"]}
    assert np.array_equal(encode_table(table, encoding), [[1, 1], [0, np.nan], [1, 0]], equal_nan=True)


def test_text_is_no_numeric_feature(flights: pl.DataFrame) -> None:
    with pytest.raises(InvalidInput, match="'carrier' is String; a numeric feature needs numbers"):
        encode_table(flights, encoding_of(flights, Features(numeric=["carrier"])))


def test_a_missing_column_is_named_with_the_nearest(flights: pl.DataFrame) -> None:
    with pytest.raises(InvalidInput, match="'carier' is missing") as error:
        encoding_of(flights, Features(categorical=["carier"]))
    assert error.value.hint == "did you mean 'carrier'?"


def test_a_model_needs_a_feature(flights: pl.DataFrame) -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        encoding_of(flights, Features())
