"""The whole tree of `boucle up` through a cycle of the loop, each of its processes killed at each step of it."""

import json
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from boucle.kernel.store import Store
from boucle.loop.feed import Feed
from boucle.models.webhooks.api import allow_host

from ..integrations.conftest import Receiver  # noqa: TID252 - a real receiver of webhooks
from .conftest import Ground, copy
from .found import check
from .test_clock import Faked
from .tree import Strike, Tree, feed_of

pytestmark = pytest.mark.long

QUIET, TURNED = (date(2024, 1, 9), date(2024, 1, 11)), (date(2024, 1, 12), date(2024, 1, 13))
"""Days before the loop has seen enough, and those on which it trains and promotes."""


@pytest.fixture(scope="module")
def feed(ran: Path, tmp_path_factory: pytest.TempPathFactory) -> Feed:
    return feed_of(copy(ran, tmp_path_factory.mktemp("feed") / "orders"))


@pytest.fixture(scope="module")
def watched(ground: Ground, feed: Feed, ran: Path, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Three days that were served, watched and decided on; its folder is to be copied."""
    tree = Tree(ground, feed, copy(ran, tmp_path_factory.mktemp("watched") / "orders"))
    tree.serve(*QUIET)
    tree.end()
    return tree


class Stage:
    """Where the rest of the cycle is gone through, and what comes of it undisturbed."""

    def __init__(self, ground: Ground, feed: Feed, watched: Tree, folder: Path, receiver: Receiver) -> None:
        self._ground, self._feed, self._watched, self._folder = ground, feed, watched, folder
        self._receiver = receiver
        self.trees: list[Tree] = []
        self._expected: dict[str, Any] = {}

    def begin(self, ground: Ground | None = None, **environ: str) -> Tree:
        """The tree of `boucle up` over a copy of what was watched."""
        folder = copy(self._watched.folder, self._folder / f"{len(self.trees)}" / "orders")
        hook = f"to: webhook, name: hook, url: '{self._receiver.url}/{len(self.trees)}', secret_env: HOOK_SECRET"
        with (folder / "boucle.yaml").open("a") as file:  # without reminders, of which clocks that jump make many
            file.write(f"alerts: {{routes: [{{{hook}, repeat_every: 0d}}]}}\n")
        with Store.open(folder / ".boucle") as store:
            allow_host(store, "127.0.0.1", private=True, actor="person:ada")
        environ["HOOK_SECRET"] = "s3cret"
        self.trees.append(Tree(ground or self._ground, self._feed, folder, after=self._watched, **environ))
        return self.trees[-1]

    def expected(self) -> dict[str, Any]:
        if not self._expected:
            tree = self.begin()
            self._go_through(tree)
            self._expected = tree.facts() | {"notified": self.notified(tree)}
        return self._expected

    def finish(self, tree: Tree) -> None:
        """Go through the cycle: it comes to the same, and nothing that was acknowledged is lost."""
        expected = self.expected()
        self._go_through(tree)
        found = tree.facts() | {"notified": self.notified(tree)}
        for name in expected:
            assert found[name] == expected[name], tree.output()
        assert tree.told == dict(found["labels"])

    def _go_through(self, tree: Tree) -> None:
        tree.serve(*TURNED)
        tree.wait(lambda: not tree.ask("SELECT id FROM alert_outbox"), "whoever is to be told is told")
        tree.end()
        check(tree.home)

    def notified(self, tree: Tree) -> list[tuple[str, str, list[str]]]:
        """What the route was told of each incident, in order, once for all attempts: event, what of, its alerts."""
        path = f"/{self.trees.index(tree)}"
        found = {
            headers["x-boucle-delivery-id"]: json.loads(body) for at, headers, body in self._receiver.got if at == path
        }
        told = [
            (one["incident"]["number"], one["event"], sorted(each["id"] for each in one["incident"]["alerts"]))
            for one in found.values()
        ]
        return [(event, str(number), alerts) for number, event, alerts in sorted(told, key=lambda one: one[0])]


@pytest.fixture(scope="module")
def stage(ground: Ground, feed: Feed, watched: Tree, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    opened = Stage(ground, feed, watched, tmp_path_factory.mktemp("trees"), receiver)
    yield opened
    for tree in opened.trees:
        tree.kill()
    receiver.shutdown()
    thread.join()
    receiver.server_close()


def test_a_cycle_goes_from_drift_over_alert_training_and_gates_to_a_new_champion(ground: Ground, stage: Stage) -> None:
    expected = stage.expected()
    actions = [action["action"] for _, action, _, _ in expected["decisions"]]
    assert [one for one in actions if one != "hold"] == ["retrain", "promote"]
    assert expected["charge"][-1][0] == 2
    assert any("decay" in one[0] for one in expected["alerts"])
    assert {alert for _, _, alerts in expected["notified"] for alert in alerts} >= {
        one[0] for one in expected["alerts"] if "decay" in one[0]
    }
    folder = stage.trees[0].folder
    for number, action in enumerate(actions[-2:]):
        explained = ground.run(folder, "loop", "explain", f"live/2024-01-12/{number:02}")
        assert explained.code == 0, explained
        assert f"live/2024-01-12/{number:02}: {action}" in explained.out
    assert "what is in charge" in explained.out or "cool-down" in explained.out
    status = ground.run(folder, "status")
    assert "orders: version 2 is in charge" in status.out
    assert "150 rows served until 2024-01-13 (live)" in status.out


STEPS = (
    "window.kept",
    "job.kept",
    "step.worked",
    "decision.trained",
    "job.trained",
    "alias.promoted",
    "traffic.written",
    "window.finished",
)
"""Of the cycle, one after the other; at some the loop stands, at others the monitor or the training."""
POINTS = [
    *("log.frame_written", "ack.written", "labels.kept", "window.bytes_kept", "window.kept"),
    *("loop.taken", "job.begun", "job.kept", "bundle.kept", "decision.trained", "job.trained"),
    *("decision.recorded", "alias.promoted", "traffic.written", "window.decided", "window.finished"),
]
"""In the worker, in who tells labels, in the monitor, in the loop and in the training."""


def struck(stage: Stage, folder: Path, victim: str, points: list[str]) -> list[str]:
    """Go through the cycle with this process killed whenever some process is at one of the points; at which it was."""
    strike = Strike(folder / "held", points)
    tree = stage.begin(**strike.environ)
    strike.begin(tree, victim)
    try:
        stage.finish(tree)
    finally:
        strike.end()
    return strike.struck


def test_everything_is_killed_while_a_training_is_kept_and_while_its_version_takes_charge(
    stage: Stage, tmp_path: Path
) -> None:
    assert struck(stage, tmp_path, "all", ["job.trained", "alias.promoted"]) == ["job.trained", "alias.promoted"]


@pytest.mark.parametrize("points", [STEPS[:4], STEPS[4:]], ids=["until it is trained", "until it is in charge"])
@pytest.mark.parametrize("victim", ["up", "serve", "worker", "monitor", "loop", "training", "all"])
def test_each_process_killed_at_each_step(stage: Stage, tmp_path: Path, victim: str, points: tuple[str, ...]) -> None:
    at = struck(stage, tmp_path, victim, list(points))
    assert len(at) >= (1 if victim == "training" else 2), at  # who is being started again is not there to be killed


@pytest.mark.parametrize("point", POINTS)
def test_who_reaches_a_step_is_killed_there(ground: Ground, stage: Stage, point: str) -> None:
    mark = ground.mark()
    stage.finish(stage.begin(CRASH_AT=point, CRASH_MARK=mark))
    assert Path(mark).exists(), point


def test_a_cycle_while_the_clock_of_everything_jumps_by_hours_days_and_months(stage: Stage, tmp_path: Path) -> None:
    """Each fifth of a second, to and fro: nothing closes early, no label is lost, no decision is another one."""
    faked = Faked(tmp_path)
    with faked.told(["+0", "+3600", "+0", "-7200", "+259200", "-259200", "+0", "+2678400", "-2678400"], every_s=0.2):
        stage.finish(stage.begin(faked))
    faked.close()
