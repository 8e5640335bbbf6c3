"""Quality of the newest windows by the labels that came."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from boucle.data.api import profile
from boucle.kernel.digests import Digest
from boucle.kernel.store import Store
from boucle.loop.quality import newest_quality
from boucle.monitoring import api
from boucle.packaging.records import Output, Signature
from boucle.serving.records import PredictionFrame

DAYS = [date(2024, 1, day) for day in (1, 2)]


def test_a_window_is_measured_by_what_the_versions_that_answered_said(tmp_path: Path) -> None:
    """The first says yes from 0.5 on and is right; beside the second one's 0.3 it would be wrong half of the time."""
    served = []
    signature = Signature(
        task="binary",
        inputs=[],
        outputs=[Output(name="probability", datatype="FP64"), Output(name="label", datatype="BYTES")],
        classes=["0", "1"],
        threshold=0.3,
    )
    with Store.open(tmp_path) as store:
        for number, day in enumerate(DAYS, start=1):
            table = api.frames_to_table([frame(day, number)])
            served.append(api.build_window(day, table, findings=[], drift=[]))
            summary = profile(api.inputs(table))
            api.keep_window(
                store, project_id="orders", stream="live", window=served[-1], profile=summary, predictions=table
            )
            labels = pl.DataFrame({"key": [f"{day}/{row}" for row in range(40)], "label": [0, 1] * 20})
            api.add_labels(
                store, project_id="orders", stream="live", labels=labels, arrived_at=datetime(2024, 1, 3, tzinfo=UTC)
            )
        thresholds = {1: 0.5, 2: 0.3}
        found = newest_quality(store, "orders", "live", served, "accuracy", signature, thresholds.__getitem__)
    assert [one.labelled for one in found] == [40, 40]
    assert [one.realised.value for one in found if one.realised] == pytest.approx([1.0, 0.5])


def frame(day: date, number: int) -> PredictionFrame:
    scores: list[float | str] = [0.4, 0.8] * 20
    said: list[float | str] = ["0" if number == 1 else "1", "1"] * 20
    return PredictionFrame(
        request_id=str(day),
        endpoint="orders",
        number=number,
        bundle_digest=Digest("0" * 64),
        served_at=1.7e9,
        latency_ms=2.5,
        rows=40,
        inputs={"x": [1.0] * 40},
        outputs={"probability": scores, "label": said},
        event_time=[f"{day}T10:00:00Z"] * 40,
        entity_key=[f"{day}/{row}" for row in range(40)],
    )
