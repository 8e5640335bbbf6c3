"""Trainings of the live loop of which nothing came, as a signal for alerts."""

from typing import Final

from boucle.kernel.store import Store
from boucle.loop import store as tables
from boucle.loop.live import LIVE
from boucle.monitoring.alerts import Signal

_MOST: Final = 20
"""More are not counted."""


def training_signals(store: Store, name: str) -> list[Signal]:
    """One as long as the newest training failed; it says how many did in a row."""
    newest = store.read(lambda conn: tables.newest_trainings(conn, name, LIVE, newest=_MOST))
    failed = 0
    for job in newest:
        if job.trained is None or job.trained.number is not None:
            break
        failed += 1
    if not failed or newest[0].trained is None:
        return []
    times = "the newest training failed" if failed == 1 else f"the newest {failed} trainings failed"
    message = f"{times}, of window {newest[0].window}: {newest[0].trained.outcome}"
    return [Signal(kind="training", subject="loop", message=message, evidence={"failures": float(failed)})]
