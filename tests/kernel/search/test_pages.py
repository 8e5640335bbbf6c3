"""Page tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boucle.kernel.errors import InvalidInput
from boucle.kernel.search.pages import SortValue, decode_token, encode_token, query_mark

_VALUES = st.one_of(st.none(), st.text(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))


@given(st.lists(_VALUES, max_size=5))
def test_a_token_gives_back_its_keys(keys: list[SortValue]) -> None:
    mark = query_mark("runs", ["0"], "metrics.a > 1")
    assert decode_token(encode_token(mark, keys), mark, len(keys)) == keys


def test_a_made_up_token_with_a_number_that_no_database_keeps_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not one that a search gave"):
        decode_token(encode_token("00ff", [2**64 - 1, "a"]), "00ff", 2)


def test_a_token_of_another_query_is_refused() -> None:
    token = encode_token(query_mark("a"), [1])
    with pytest.raises(InvalidInput, match="of another search"):
        decode_token(token, query_mark("b"), 1)


@given(st.text())
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="page_token"):
        decode_token(text, query_mark("a"), 1)
