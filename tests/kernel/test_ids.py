from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from boucle.kernel.clock import FixedClock, SystemClock
from boucle.kernel.ids import RandomIds, SequentialIds, encode


@given(st.integers(0, 2**130 - 1), st.integers(0, 2**130 - 1))
def test_encoded_numbers_sort_as_the_numbers_do(a: int, b: int) -> None:
    assert (encode(a) < encode(b)) == (a < b)


@given(st.lists(st.integers(-5, 5), max_size=30))
def test_ids_sort_in_the_order_they_were_made_though_the_clock_steps_back(steps: list[int]) -> None:
    clock = FixedClock(datetime(2013, 3, 1, tzinfo=UTC))
    ids, made = RandomIds(clock), []
    for step in steps:
        clock.advance(step / 1000)
        made.append(ids.new("run"))
    assert made == sorted(set(made))


def test_an_id_is_its_prefix_and_26_characters_that_begin_with_the_time() -> None:
    first, second = (RandomIds(FixedClock(datetime(2013, 3, 1, tzinfo=UTC))).new("run") for _ in range(2))
    assert first.startswith("run_")
    assert len(first) == len("run_") + 26
    assert first[:14] == second[:14]
    assert first != second


def test_many_threads_never_get_the_same_id() -> None:
    for ids in (RandomIds(SystemClock()), SequentialIds()):
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _, ids=ids: ids.new("run"), range(2000)))
        assert len(set(made)) == 2000
