"""Requests that are refused leave no row; the monitor says which column is to blame."""

from pathlib import Path

import pytest
from monitored import monitored
from test_late_labels import YAML, day, orders

from boucle.loop.status import status
from boucle.monitoring.alerting.api import evidence, incidents
from boucle.serving.counters import open_counters
from boucle.serving.meter import Meter
from boucle.serving.refusals import count
from boucle.serving.traffic import counters_folder

pytestmark = pytest.mark.slow


def test_a_column_that_is_no_longer_sent_is_an_alert_by_its_name(tmp_path: Path) -> None:
    orders().write_parquet(tmp_path / "orders.parquet")
    (tmp_path / "boucle.yaml").write_text(YAML.replace("every: 6h", "every: 1d"))
    with monitored(tmp_path) as live:
        counters = open_counters(counters_folder(live.context.home, live.name))
        meter = Meter(counters)

        def refuse(times: int, said: str) -> None:
            for _ in range(times):
                meter.refused("v2", 400, 0.001)
                count(counters.view, said)

        live.serve(day(20))
        live.serve(day(21))
        live.look()
        refuse(2, "column 'x' is missing; the model needs it")  # as anybody may
        live.serve(day(22))
        live.serve(day(23))
        live.look()
        assert not [one for one in live.alerts() if "refused" in one.message]
        refuse(40, "column 'x' is missing; the model needs it")
        live.serve(day(24))
        live.serve(day(24).head(1))
        windows = live.look()
        assert any("refused(x)" in {one.name for one in window.findings} for window in windows)
        [alert] = [one for one in live.alerts() if "refused" in one.message]
        assert (alert.kind, alert.subject) == ("check", "x")
        assert "requests refused: column x is missing (40 of 41 requests)" in alert.message
        assert alert.id in {one.id for one in status(live.context).open_alerts}
        [told] = [
            one for one in incidents(live.context.store(), live.name) if any(alert.id == mine.id for mine in one.alerts)
        ]
        shown = evidence(live.context.store(), live.name, told.number)
        assert any("column x is missing" in line for window in shown for line in window.findings)
        counters.close()
