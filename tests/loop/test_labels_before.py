"""Labels that come before the window of their row is closed, by the id of the request."""

from datetime import timedelta

import polars as pl
import pytest
from living import NAME, Living, _after

from boucle.kernel.errors import InvalidInput
from boucle.loop.labelling import LabelsTaken, keep_labels
from boucle.monitoring.api import labelled, served_of
from boucle.monitoring.store import find_window
from boucle.protocols.native.labels import Label, _table
from boucle.protocols.native.send_labels import _row

pytestmark = pytest.mark.slow


def tell(living: Living, rows: list[tuple[str, int | None, object]]) -> LabelsTaken:
    table = pl.DataFrame(rows, schema={"request_id": pl.String, "row": pl.Int64, "label": pl.Int64}, orient="row")
    return keep_labels(living.store, NAME, table)


def labels(living: Living, request: str) -> list[tuple[int, str]]:
    rows = labelled(living.store, NAME, "live", include_quarantined=True)
    return rows.filter(pl.col("request_id") == request).sort("row").select("row", "label").rows()


def test_labels_by_request_wait_for_the_window_of_their_rows(living: Living) -> None:
    living.day()
    day = next(living.days)
    before = tell(living, [(f"{day}/0", 0, 1)])  # nothing of the kind has been asked yet
    assert (before.kept, before.joined, before.waiting, before.waiting_ids) == (1, 0, 1, [f"{day}/0-0"])
    living._serve(day)
    while living.monitor.look():
        pass
    served = tell(living, [(f"{day}/0", 1, 0), (f"{day}/0", 2, 0), ("nobody", 0, 1)])
    assert (served.kept, served.joined, served.waiting) == (3, 0, 3)
    again = tell(living, [(f"{day}/0", 0, 1), (f"{day}/0", 2, 1)])
    assert (again.known, again.corrected) == (1, 1)
    assert labels(living, f"{day}/0") == []
    for moment in (_after(day), _after(day) + timedelta(hours=2)):
        living.clock.advance((moment - living.clock.now()).total_seconds())
        while living.monitor.look():
            pass
    assert labels(living, f"{day}/0") == [(0, "1"), (1, "0"), (2, "1")]
    after = tell(living, [(f"{day}/0", 0, 1), (f"{day}/0", 3, 1), ("nobody", 0, 1)])
    assert (after.joined, after.waiting, after.known, after.waiting_ids) == (2, 1, 2, ["nobody-0"])
    assert labels(living, f"{day}/0")[-1] == (3, "1")


def test_a_request_of_one_row_needs_no_row(living: Living) -> None:
    living.day()
    assert keep_labels(living.store, NAME, pl.DataFrame({"request_id": ["x"], "label": [1]})).waiting_ids == ["x-0"]
    assert tell(living, [("x", None, 0), (None, 0, 1)]).corrected == 1  # type: ignore[list-item]
    with pytest.raises(InvalidInput, match="need a column"):
        keep_labels(living.store, NAME, pl.DataFrame({"row": [0], "label": [1]}))


def test_labels_are_looked_for_no_further_back_than_their_windows(living: Living) -> None:
    """What is told of the newest day costs the same in every year: the windows before it are not read."""
    first, second = living.day(), living.day()
    assert tell(living, [(f"{first}/0", 0, 1), (f"{second}/0", 0, 1)]).joined == 2
    served = served_of(living.store, NAME, "live", pl.DataFrame({"request_id": [f"{second}/0"], "row": [0]}))
    assert served.select("request_id", "row", "day").rows() == [(f"{second}/0", 0, second)]
    older = living.store.read(lambda conn: find_window(conn, NAME, "live", str(first)))
    assert older is not None
    living.store.blobs.path(older[1]).unlink()
    assert tell(living, [(f"{second}/0", 0, 0)]).corrected == 1


def test_ids_that_no_window_has_are_looked_for_in_each_window_once(living: Living) -> None:
    day = living.day()
    assert tell(living, [("nobody yet", 0, 1)]).waiting == 1
    kept = living.store.read(lambda conn: find_window(conn, NAME, "live", str(day)))
    assert kept is not None
    living.store.blobs.path(kept[1]).unlink()
    assert tell(living, [("nobody yet", 0, 0), ("nobody else", 0, 0)]).waiting == 2
    assert keep_labels(living.store, NAME, pl.DataFrame({"key": ["no key"], "label": [1]})).waiting == 1


def test_a_prediction_is_named_by_its_id(living: Living) -> None:
    day = living.day()
    rows = {"prediction_id": [f"{day}/0-2", "x-y-0", "nothing", None], "label": [1, 0, 1, 1]}
    taken = keep_labels(living.store, NAME, pl.DataFrame(rows))
    assert (taken.joined, taken.waiting_ids, taken.incomplete) == (1, ["x-y-0"], 2)
    assert labels(living, f"{day}/0") == [(2, "1")]
    told = [Label(label=1, prediction_id=f"{day}/0-3"), Label(label=0, prediction_id=None)]
    assert keep_labels(living.store, NAME, _table(told)).joined == 1
    with pytest.raises(InvalidInput, match="told in one way"):
        _table([*told, Label(label=1, key="a")])
    assert _row({"prediction_id": "a-0", "label": 1}) == {"prediction_id": "a-0", "label": 1}


@pytest.mark.parametrize(("row", "sent"), [("2", 2), (None, 0), (float("nan"), 0), (3.0, 3), (1, 1)])
def test_which_row_of_a_request_is_sent_as_a_number(row: object, sent: int) -> None:
    assert _row({"request_id": "a", "row": row, "label": 1}) == {"request_id": "a", "row": sent, "label": 1}


@pytest.mark.parametrize("row", ["two", 1.5, float("inf")])
def test_a_row_that_is_no_whole_number_names_nothing(row: object) -> None:
    assert _row({"request_id": "a", "row": row, "label": 1}) == {"request_id": None, "row": 0, "label": 1}
