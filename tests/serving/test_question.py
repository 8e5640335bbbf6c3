"""Whether a question can be answered: names, rows, kinds, the key and the time."""

from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boucle.kernel.errors import InvalidInput
from boucle.packaging.records import Signature
from boucle.serving.question import Checked, Question, check


@pytest.fixture
def signature(bundles: ModuleType) -> Signature:
    found: Signature = bundles.SIGNATURE
    return found


def asked(signature: Signature, *, max_rows: int = 100, request_id: str = "req_1", **columns: list[Any]) -> Checked:
    columns = {"carrier": ["AA", "UA"], "temp": [71.5, None]} | columns
    return check(Question(columns, request_id), signature, max_rows=max_rows)


def test_inputs_come_in_the_signatures_order(signature: Signature) -> None:
    checked = check(Question({"temp": [71.5], "carrier": ["AA"]}, "req_1"), signature, max_rows=1)
    assert list(checked.inputs) == ["carrier", "temp"]
    assert (checked.rows, checked.event_time, checked.entity_key) == (1, None, None)


def test_the_key_and_the_time_are_told_apart_from_inputs(signature: Signature) -> None:
    times = ["2013-03-01T00:00:00-05:00", "2013-03-01T12:30:00.25Z"]
    checked = asked(signature, flight_id=["a", 12_345_678_901_234_567_890], scheduled_at=times)
    assert checked.entity_key == ["a", "12345678901234567890"]
    assert checked.event_time == ["2013-03-01T05:00:00+00:00", "2013-03-01T12:30:00.250000+00:00"]
    assert list(checked.inputs) == ["carrier", "temp"]


def test_an_unseen_category_and_missing_values_pass(signature: Signature) -> None:
    assert asked(signature, carrier=["never seen", None], temp=[None, None]).rows == 2


def test_no_rows_is_a_question_too(signature: Signature) -> None:
    assert asked(signature, carrier=[], temp=[]).rows == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"tmp": [1.0, 2.0]}, r"unknown input 'tmp' \(did you mean 'temp'\?\); allowed are carrier, temp, flight_id"),
        ({"x" * 200: [1.0, 2.0]}, r"unknown input 'xxx.*\.\.\.; allowed"),
        ({"temp": [1.0]}, "inputs differ in length: 'carrier' has 2 rows, 'temp' has 1"),
        ({"temp": [1.0, "hot"]}, "input 'temp', row 1: 'hot' is not a number; null means missing"),
        ({"temp": [1.0, float("inf")]}, "input 'temp', row 1: inf is not finite; null means missing"),
        ({"temp": [float("-inf"), 1.0]}, "input 'temp', row 0: -inf is not finite"),
        ({"carrier": ["AA", 7]}, "input 'carrier', row 1: 7 is not text; null means missing"),
        ({"carrier": ["AA", "x" * 65_537]}, "input 'carrier', row 1: 65,537 characters of text; at most 65,536"),
        ({"flight_id": ["a", None]}, "input 'flight_id', row 1: None is no key; send text or a whole number"),
        ({"flight_id": ["a", 1.5]}, "input 'flight_id', row 1: 1.5 is no key"),
        ({"flight_id": ["a", ""]}, "input 'flight_id', row 1: '' is no key"),
        ({"scheduled_at": ["2013-03-01T00:00:00Z", "soon"]}, "input 'scheduled_at', row 1: 'soon' is no moment in ISO"),
        ({"scheduled_at": ["2013-03-01T00:00:00", None]}, "row 0: '2013-03-01T00:00:00' is no moment .* with a zone"),
        ({"scheduled_at": [1362096000, None]}, "row 0: 1362096000 is no moment"),
        ({"temp": np.array([1.0, np.inf])}, "input 'temp', row 1: inf is not finite; null means missing"),
        ({"temp": np.array([1.0])}, "inputs differ in length"),
        ({"carrier": np.array(["AA", 7], dtype=object)}, "input 'carrier', row 1: 7 is not text"),
        ({"scheduled_at": ["0001-01-01T00:00:00+14:00", None]}, "row 0: .* is no moment"),
    ],
)
def test_what_is_wrong_is_named(signature: Signature, columns: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        asked(signature, **columns)


def test_every_missing_input_is_named(signature: Signature) -> None:
    with pytest.raises(InvalidInput, match="missing input 'carrier', 'temp'; send null where"):
        check(Question({}, "req_1"), signature, max_rows=1)


def test_an_input_that_is_never_missing_takes_no_null(signature: Signature) -> None:
    strict = msgspec.structs.replace(
        signature, inputs=[msgspec.structs.replace(one, nullable=False) for one in signature.inputs]
    )
    with pytest.raises(InvalidInput, match="input 'temp', row 1: null, but this model answers no row without"):
        asked(strict)
    with pytest.raises(InvalidInput, match="input 'temp', row 1: null, but this model answers no row without"):
        asked(strict, temp=np.array([1.0, np.nan]))
    with pytest.raises(InvalidInput, match=r"row 1: 'hot' is not a number$"):
        asked(strict, temp=[1.0, "hot"])
    with pytest.raises(InvalidInput, match="missing input 'carrier', 'temp'; the model answers no row without it"):
        check(Question({}, "req_1"), strict, max_rows=1)


def test_a_request_has_its_limits(signature: Signature) -> None:
    with pytest.raises(InvalidInput, match="2 rows in one request; at most 1 are allowed"):
        asked(signature, max_rows=1)
    for request_id in ("", "x" * 257):
        with pytest.raises(InvalidInput, match="a request id has 1 to 256 characters"):
            asked(signature, request_id=request_id)


ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first draw loads much on a busy machine
@given(
    columns=st.dictionaries(
        st.sampled_from(["carrier", "temp", "flight_id", "scheduled_at", "other"]), st.lists(ANYTHING, max_size=3)
    )
)
def test_any_question_is_answered_or_told_what_is_wrong(bundles: ModuleType, columns: dict[str, list[Any]]) -> None:
    try:
        checked = check(Question(columns, "req_1"), bundles.SIGNATURE, max_rows=2)
    except InvalidInput:
        return
    assert all(len(values) == checked.rows for values in checked.inputs.values())
