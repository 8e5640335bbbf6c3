"""What `boucle status` says of a loop that is at work."""

import tarfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from boucle.app.main import run_command
from boucle.app.monitor_metrics import Metrics
from boucle.kernel.store import Store
from boucle.loop import store as tables
from boucle.loop.by_the_minute import ServiceWatch
from boucle.loop.live import LIVE
from boucle.loop.monitor import Monitor
from boucle.loop.status import status
from boucle.project.context import open_context
from boucle.protocols.control import Control

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A project whose live loop decided on five days."""
    with tarfile.open(GOLDEN / "live-0011.tar.xz") as tar:
        tar.extractall(tmp_path, filter="tar")
    return tmp_path


def test_a_training_under_way_and_windows_that_wait_are_told(live: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["status", "--project", str(live)]) == 0
    assert "under way" not in (before := capsys.readouterr().out)
    assert "the loop has decided" not in before
    assert "newest decision, on 2024-01-13: hold: cool-down until 2024-01-15: trained 1 days ago" in before
    assert "boucle loop explain live/2024-01-13/00" in before
    with Store.open(live / ".boucle") as store:
        held = store.read(lambda conn: tables.get_stream(conn, "orders", LIVE))
        assert held is not None
        job = store.read(lambda conn: tables.get_job(conn, "orders", "live/2024-01-12/00"))
        assert job is not None
        again = replace(job, state="running", attempts=2)
        earlier = next(iter(store.read(lambda conn: tables.decided(conn, "orders", LIVE)))).day
        store.write(lambda conn: tables.put_job(conn, "orders", held, again))
        store.write(lambda conn: tables.finish_window(conn, "orders", held, str(earlier), earlier))
    assert run_command(["status", "--project", str(live)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "a training is under way for the 2. time, asked for by window 2024-01-12: auc_roc is 0.57" in said
    assert f"the loop has decided on the windows until {earlier}, not on those since" in said


def test_a_replay_hides_what_is_live_until_that_is_at_work_again_and_from_prometheus_never(live: Path) -> None:
    with open_context(live) as context:
        store = context.store()

        def begun(stream: str) -> str | None:
            store.write(lambda conn: tables.begin(conn, "orders", stream, first_version=1))
            return status(context).stream

        assert status(context).stream == LIVE
        assert begun("replay-0123456789ab") == "replay-0123456789ab"
        exported = Metrics(Control(store=store, default_project="orders", folder=live)).exposition().decode()
        assert 'boucle_window_age_seconds{project="orders"}' in exported
        Monitor(context, print)
        assert status(context).stream == LIVE
        assert begun("replay-0123456789ab") == "replay-0123456789ab"
        assert begun(LIVE) == LIVE


def test_a_damaged_endpoint_of_another_project_is_an_alert_and_hides_no_other(live: Path) -> None:
    damaged = live / ".boucle" / "serving" / "other" / "traffic.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    with open_context(live) as context:
        found = {one.subject: one.message for one in ServiceWatch(context).look()}
    assert "the controls cannot be looked at" in found["controls"]
    assert "traffic.json" in found["controls"]
