"""What the benchmarks count and how they write it; how fast anything is, is never judged."""

import doctest
import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_delays_and_false_alarms_have_known_answers(module: Callable[[str], ModuleType]) -> None:
    counting = module("monitoring.counting")
    alarms = [False, True, False, False, False, True, True, True, False, False]
    found = counting.counted(alarms, [(3, 7), (8, 10)])
    assert found.delays == (2, None)  # windows 3 and 4 passed, 5 alarmed; nothing in 8 and 9
    assert (found.hits, found.changed) == (2, 6)
    assert (found.false_alarms, found.clean) == (2, 4)  # windows 1 and 7
    assert counting.delay_told(found) == "2, 1 of 2 missed"
    assert counting.false_told(found) == "500"


def test_an_alarm_at_every_window_sees_all_at_once_and_is_false_everywhere_else(
    module: Callable[[str], ModuleType],
) -> None:
    counting = module("monitoring.counting")
    found = counting.counted([True] * 8, [(2, 4), (6, 8)])
    assert found.delays == (0, 0)
    assert counting.false_told(found) == "1e+03"
    assert counting.seen_share(found) == "100 %"


def test_the_examples_in_the_benchmarks_are_right(module: Callable[[str], ModuleType]) -> None:
    for name in ("monitoring.counting", "monitoring.streams"):
        failed, tried = doctest.testmod(module(name))
        assert tried
        assert not failed


@pytest.mark.slow
def test_changes_of_a_made_up_stream_are_where_it_says(module: Callable[[str], ModuleType]) -> None:
    streams, detection = module("monitoring.streams"), module("monitoring.detection")
    shifted = streams.shifted("income", 2.0)
    stream = streams.mixed("made up", "recurring", 5, streams.customers, shifted, "recurring", 8)
    assert stream.changes == [(2, 4), (6, 8)]
    means = [window["income"].mean() for window in stream.rows.iter_slices(streams.ROWS)]
    assert np.round(means).tolist() == [0, 0, 2, 2, 0, 0, 2, 2]
    alarms = detection.ours(stream)
    assert [alarms[at] for at in (2, 3, 6, 7)] == [True] * 4
    told = detection.rows([stream], {("boucle", "drift"): [alarms]})
    assert told[1] == ["made up", "recurring", "0 (100 %)"]


def test_gradual_changes_rise_to_all_rows(module: Callable[[str], ModuleType]) -> None:
    shares = module("monitoring.streams").shares("gradual", 40).tolist()
    assert shares[:20] == [0.0] * 20
    assert shares[20:30] == pytest.approx([at / 10 for at in range(1, 11)])
    assert shares[30:] == [1.0] * 10


def test_streams_are_the_same_every_time(module: Callable[[str], ModuleType]) -> None:
    streams = module("monitoring.streams")
    one, other = (streams.quiet(1, streams.customers, 0, 2) for _ in range(2))
    assert one.rows.equals(other.rows)
    assert one.texts == ["plan", "town"]
    assert isinstance(one.reference, pl.DataFrame)
    assert (one.windows, one.changes) == (2, [])


def test_a_page_has_the_tables_below_a_members_own(module: Callable[[str], ModuleType]) -> None:
    page = module("page")
    told = page.further({"title": "Detection", "about": "How.", "rows": [["stream", "Boucle"], ["abrupt", "0"]]})
    assert told == "### Detection\n\nHow.\n\n| stream | Boucle |\n| --- | --- |\n| abrupt | 0 |"
    assert page.further({"title": "Rate", "about": "1 of 400.", "rows": []}) == "### Rate\n\n1 of 400."


def test_costs_of_the_log_are_of_the_middle_pair_and_the_cheapest_slices(module: Callable[[str], ModuleType]) -> None:
    rows = module("monitoring.logging_cost").rows
    pairs = [((100.0, 1.0), (90.0, 1.2)), ((100.0, 1.0), (96.0, 1.03)), ((200.0, 1.0), (210.0, 1.05))]
    told = rows(pairs, pairs, {"rows": 1_000, "cpu": 0.02})
    assert told[1][1:] == ["100 answers/s", "96 answers/s", "4.0 %", "3.0 %"]
    assert told[3][2] == "20.0 us a row"
