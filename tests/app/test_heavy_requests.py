"""Many large requests at once: some are answered, the others are turned away before everybody has waited."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from boucle.serving.api import ServerProcess

pytestmark = pytest.mark.slow

ROWS = 20_000
AT_ONCE = 24


def test_large_requests_are_turned_away_before_they_wait(shared_home: Any) -> None:
    shared_home.deploy(1)
    body = json.dumps({"instances": [{"carrier": "UA", "temp": 80.25}] * ROWS}).encode()

    def ask(port: int) -> tuple[int, float, str | None]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        began = time.monotonic()
        connection.request("POST", "/v1/models/flights:predict", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status, time.monotonic() - began, answer.getheader("retry-after")

    with ServerProcess(shared_home.path, "flights", arguments=["--limit", "wait_ms=50"]) as url:
        port = int(url.rpartition(":")[2])
        assert ask(port)[0] == 200  # from which is learned how long one takes
        with ThreadPoolExecutor(AT_ONCE) as clients:
            answers = list(clients.map(ask, [port] * AT_ONCE))
        assert ask(port)[0] == 200, "nothing of it waits any more"
    assert {status for status, _, _ in answers} == {200, 429}
    assert all(int(again or 0) >= 1 for status, _, again in answers if status == 429)
    assert min(seconds for status, seconds, _ in answers if status == 429) < max(seconds for _, seconds, _ in answers)
