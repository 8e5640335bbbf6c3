import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.kernel.errors import InvalidInput
from boucle.packaging.encode import Encoder, Values
from boucle.packaging.records import Input
from boucle.training.encode import encode_table
from boucle.training.records import Encoding

INPUTS = [
    Input(name="carrier", kind="category", nullable=True, categories=["AA", "B6", ""]),
    Input(name="temp", kind="number", nullable=True),
]
ENCODER = Encoder(INPUTS)

TEXTS = st.lists(st.none() | st.sampled_from(["AA", "B6", "", "aa", "\x00", "é"]) | st.text(max_size=3), max_size=20)


@given(TEXTS, st.data())
def test_serving_encodes_as_training_does(carriers: list[str | None], data: st.DataObject) -> None:
    temps = data.draw(st.lists(st.none() | st.floats(), min_size=len(carriers), max_size=len(carriers)))
    table = pl.DataFrame({"carrier": carriers, "temp": temps}, schema={"carrier": pl.String, "temp": pl.Float64})
    encoding = Encoding(categorical=["carrier"], numeric=["temp"], categories={"carrier": ["AA", "B6", ""]})
    served = ENCODER.encode({"carrier": carriers, "temp": temps})
    assert served.shape == (len(carriers), 2)
    assert np.array_equal(served, encode_table(table, encoding), equal_nan=True)


@pytest.mark.parametrize(
    "temps",
    [
        [1, None, 2.5],
        [1.0, float("nan"), 2.5],
        np.array([1, np.nan, 2.5]),
        np.array([1, None, 2.5], dtype=object),
        [np.float64(1), None, np.float32(2.5)],
        [True, None, 2.5],
    ],
)
def test_numbers_come_as_lists_or_arrays(temps: Values) -> None:
    matrix = ENCODER.encode({"temp": temps, "carrier": np.array(["B6", "AA", "ZZ"])})
    assert np.array_equal(matrix, [[1, 1], [0, np.nan], [np.nan, 2.5]], equal_nan=True)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"carrier": ["AA"], "temp": ["warm"]}, "column 'temp', row 0: 'warm' is no number"),
        ({"carrier": ["AA", "AA"], "temp": [1.0, "7"]}, "column 'temp', row 1: '7' is no number"),
        ({"carrier": ["AA"], "temp": [[1.0]]}, r"column 'temp', row 0: \[1.0\] is no number"),
        ({"carrier": ["AA"], "temp": [10**400]}, "column 'temp', row 0: 1000"),
        ({"carrier": ["AA"], "temp": np.array(["7"])}, "column 'temp', row 0: .*'7'.* is no number"),
        ({"carrier": ["AA", 7], "temp": [1, 2]}, "column 'carrier', row 1: 7 is no text"),
        ({"carrier": [["AA"]], "temp": [1]}, r"column 'carrier', row 0: \['AA'\] is no text"),
        ({"carrier": ["AA"]}, "column 'temp' is missing"),
        ({"carrier": ["AA"], "temp": [1, 2]}, "'carrier' has 1 rows, 'temp' has 2"),
    ],
)
def test_what_cannot_be_encoded_is_named(columns: dict[str, Values], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ENCODER.encode(columns)


def test_a_misspelt_column_is_guessed() -> None:
    with pytest.raises(InvalidInput) as error:
        ENCODER.encode({"Temp": [1], "carrier": ["AA"]})
    assert error.value.hint == "rename 'Temp' to 'temp'"


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(InvalidInput) as error:
        ENCODER.encode({"temp": ["x" * 10_000_000], "carrier": ["AA"]})
    assert len(error.value.message) < 200
