"""A live monitor's alert: from what was served to a receiver, a page, and through a real Alertmanager and back."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from held_ports import free_port

from boucle.app.main import run_command
from boucle.integrations.dispatch import Dispatcher
from boucle.kernel.clock import FixedClock
from boucle.kernel.store import Store
from boucle.models.webhooks.api import allow_host
from boucle.monitoring.alerting.policy import AlertmanagerRoute

from ..crash import live, project  # noqa: TID252 - the same small project, lived through in one process
from .conftest import PROJECT, Receiver, alert, dispatcher, happen

ALERTS = """
alerts:
  rules:
    - {name: wanders, kinds: [shift], ignore: true}
    - {name: turned, kinds: [drift], subjects: [x], severity: critical}
  routes:
    - {to: webhook, name: hook, url: "HOOK/x", secret_env: HOOK_SECRET}
serving: {log: {redact: [z]}}
"""


@pytest.mark.slow
def test_what_the_monitor_finds_is_told_shown_and_acknowledged(
    tmp_path: Path,
    receivers: Callable[[], Receiver],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    receiver, folder = receivers(), project.lay(tmp_path / "orders")
    yaml = folder / "boucle.yaml"
    yaml.write_text(yaml.read_text() + ALERTS.replace("HOOK/", receiver.url + "/"))
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    monkeypatch.chdir(folder)
    assert run_command(["webhooks", "allow", "127.0.0.1", "--private"]) == 0
    live.main([str(folder), "served"])
    capsys.readouterr()

    def asked(*words: str) -> Any:
        capsys.readouterr()
        assert run_command(["alerts", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    found = asked("list")
    drift = next(one for one in found if one["group"] == {"kind": "drift"})
    assert drift["severity"] == "critical"
    assert {one["subject"] for one in drift["alerts"]} >= {"x"}
    assert "shift" not in {one["group"]["kind"] for one in found}
    shown = asked("show", str(drift["number"]))
    columns = {one["column"]: one for window in shown["evidence"] for one in window["columns"]}
    assert columns["x"]["figures"]["psi"] > columns["x"]["figures"]["threshold"]
    assert sum(columns["x"]["window"]) == 30
    sample = shown["evidence"][0]["sample"]
    assert len(sample) == 5
    assert "in.x" in sample[0]
    assert not any("z" in name for row in sample for name in row)
    assert shown["evidence"][0]["redacted"] == ["z"]

    assert asked("send", "--once")["problems"] == {}
    told = [json.loads(body) for _, _, body in receiver.got]
    assert {one["incident"]["number"] for one in told} >= {drift["number"]}
    [route] = asked("routes")
    assert (route["waiting"], route["given_up"], route["arrived_at"] is None) == (0, 0, False)
    assert "hook" in asked("rules", "test")[0]["routes"]

    assert run_command(["alerts", "show", str(drift["number"]), "--html", "page.html"]) == 0
    page = Path("page.html").read_text()
    assert page.count("<svg") >= 1
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert asked("ack", str(drift["number"]), "--note", "<b>on it</b>")["acknowledged"]["note"] == "<b>on it</b>"
    silence = asked("silence", "--kind", "drift", "--for", "2h", "--why", "known")
    assert [one["number"] for one in asked("silences")] == [silence["number"]]
    assert asked("unsilence", str(silence["number"]))["ended_at"]
    assert run_command(["alerts", "list", "--html", "page.html"]) == 0
    assert "&lt;b&gt;on it&lt;/b&gt;" in Path("page.html").read_text()
    assert run_command(["audit", "verify"]) == 0
    assert run_command(["fsck"]) == 0
    for wrong in (
        ["ack", "99"],
        ["show", "99"],
        ["silence", "--kind", "drift", "--why", "w"],
        ["silence", "--kind", "drift", "--why", "w", "--until", "0001-01-01T00:00+14:00"],
        ["silence", "--incident", "9" * 20, "--why", "w", "--for", "2h"],
        ["routes", "--try", "no"],
    ):
        assert run_command(["alerts", *wrong]) == 2


# --- a real Alertmanager -------------------------------------------------------------------------------------------


@pytest.fixture
def alertmanager(tmp_path: Path, receivers: Callable[[], Receiver]) -> Iterator[tuple[str, Receiver]]:
    """Its address, and who it tells."""
    program = shutil.which("prometheus-alertmanager")
    if program is None:
        pytest.skip("no prometheus-alertmanager; tests/install-alertmanager installs it")
    receiver, port = receivers(), free_port()
    (tmp_path / "am.yml").write_text(
        "route: {receiver: hook, group_by: [kind], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}\n"
        f"receivers: [{{name: hook, webhook_configs: [{{url: '{receiver.url}/am', send_resolved: true}}]}}]\n"
    )
    with (tmp_path / "am.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={tmp_path / 'am.yml'}",
                f"--storage.path={tmp_path / 'am'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait(lambda: is_up(f"{url}/-/ready"))
        yield url, receiver
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.long
def test_an_alert_of_a_live_monitor_goes_through_a_real_alertmanager_and_resolves(
    tmp_path: Path, alertmanager: tuple[str, Receiver], store: Store
) -> None:
    """`boucle monitor` as a process of its own reads the log, and tells; then the alert closes."""
    url, receiver = alertmanager
    folder = project.lay(tmp_path / "orders")
    yaml = folder / "boucle.yaml"
    yaml.write_text(yaml.read_text() + f"\nalerts:\n  routes:\n    - {{to: alertmanager, name: am, url: '{url}'}}\n")
    live.main([str(folder), "served"])
    with Store.open(folder / ".boucle") as opened:
        allow_host(opened, "127.0.0.1", private=True, actor="person:ada")
    words = [sys.executable, "-m", "boucle.app.part", "--project", str(folder), "monitor"]
    monitor = subprocess.Popen(words, stdin=subprocess.PIPE, env={**os.environ})
    try:
        receiver.wait_for(lambda got: any('"firing"' in body and '"BoucleDrift"' in body for _, _, body in got))
    finally:
        monitor.terminate()
        assert monitor.stdin is not None
        monitor.stdin.close()
        monitor.wait(60)
    with urlopen(f"{url}/api/v2/alerts") as answer:
        known = {(one["labels"]["kind"], one["labels"]["subject"]) for one in json.load(answer)}
    assert ("drift", "x") in known

    # The same, to the end, with an incident whose end comes now.
    route = AlertmanagerRoute(name="am", url=url, labels={"team": "data"})
    _, section = dispatcher(store, route)
    sender = Dispatcher(store, PROJECT, section)
    assert isinstance(store.clock, FixedClock)
    happen(store, section, [alert("rain", "check")])
    assert sender.once().problems == {}
    receiver.wait_for(lambda got: any(of(body, "rain") == "firing" for _, _, body in got))
    happen(store, section, [], [alert("rain", "check")])
    assert sender.once().problems == {}
    receiver.wait_for(lambda got: any(of(body, "rain") == "resolved" for _, _, body in got))


def of(body: str, subject: str) -> str | None:
    """How an alert stands in what Alertmanager tells."""
    found = [one for one in json.loads(body)["alerts"] if one["labels"]["subject"] == subject]
    return str(found[0]["status"]) if found else None


def is_up(url: str) -> bool:
    try:
        with urlopen(url) as answer:
            return bool(answer.status == 200)
    except (URLError, ConnectionError):
        return False


def wait(true: Callable[[], bool], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
