"""What is counted of a worker that answers with more versions than there is room for."""

from pathlib import Path

from boucle.serving.counters import open_counters
from boucle.serving.meter import Meter, by_version, exposition, totals


def test_versions_past_the_room_are_counted_as_no_version(tmp_path: Path) -> None:
    folder = tmp_path / "counters"
    meter = Meter(open_counters(folder))
    for number in range(1, 401):
        for _ in range(10):
            meter.answered("v2", number, 0.001, 2)
        meter.refused("v2", 500, 0.001, number)
        meter.refused("tf", 429, 0.001)
    counted = by_version(folder)
    assert 100 < len(counted) < 400
    assert {one.requests - one.errors for one in counted.values()} <= {0, 10}
    assert {one.errors for one in counted.values()} <= {0, 1}
    assert max(counted) < 200, "a version whose series found no room has no counts, rather than those of others"
    told = next(iter(totals(folder).values()))
    assert (told.answered, told.rows, told.failed, told.refused) == (4000, 8000, 400, 400)
    text = exposition([("flights", folder)]).decode()
    assert 'boucle_requests_total{door="other",endpoint="flights",status="200",version="other"}' in text
