"""Beside a server: what each of its endpoints did is kept, a minute at a time, with what the processes used for it."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from boucle.app.parts import read_parts
from boucle.kernel.errors import BoucleError
from boucle.monitoring.resources import ProcessUse, processes, use_of
from boucle.serving.service_log import ServiceLog, Used, now_s

LOOK_S: Final = 60.0
"""How much of what was counted is lost if the server is killed."""
_log: Final = logging.getLogger("boucle.server")


@contextmanager
def keeping_service(home: Path, endpoints: Callable[[], Sequence[str]], look_s: float = LOOK_S) -> Iterator[None]:
    """Keep what endpoints do while the block runs, the last bit at its end."""
    keeper = _Keeper(home, endpoints, look_s)
    thread = threading.Thread(target=keeper.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        keeper.stopped.set()
        thread.join()


class _Keeper:
    """Looks now and then, from a thread of its own."""

    def __init__(self, home: Path, endpoints: Callable[[], Sequence[str]], look_s: float) -> None:
        self._home, self._endpoints, self._look_s = home, endpoints, look_s
        self.stopped = threading.Event()
        now = now_s()
        self._logs = {name: ServiceLog(home, name, now) for name in endpoints()}
        self._use = server_use(home)
        self._at = time.monotonic()
        self._told = ""

    def run(self) -> None:
        ended = False
        while not ended:
            ended = self.stopped.wait(self._look_s)
            try:
                self._look(last=ended)
                self._told = ""
            except BoucleError as error:
                if error.message != self._told:
                    self._told = error.message
                    _log.warning("what the endpoints did cannot be kept: %s", error.message)
            except Exception:  # noqa: BLE001 - beside the server, which goes on answering
                _log.exception("what the endpoints did cannot be kept")

    def _look(self, *, last: bool) -> None:
        now, names = now_s(), self._endpoints()
        counted = {name: log.count(now) for name, log in self._logs.items() if name in names}
        used = self._used(sum(one.rows for one in counted.values()))
        failed = None
        for name, minute in counted.items():
            try:
                self._logs[name].keep(replace(minute, used=used), now=last)
            except BoucleError as error:
                failed = error
        self._logs = {name: self._logs.get(name) or ServiceLog(self._home, name, now) for name in names}
        if failed is not None:
            raise failed

    def _used(self, rows: float) -> Used:
        use, at = server_use(self._home), time.monotonic()
        grown = use.cpu_s - self._use.cpu_s
        used = Used(
            cpu_s=grown if grown >= 0 else use.cpu_s,
            memory_gb_s=use.memory_bytes / 1e9 * (at - self._at),
            rows=rows,
        )
        self._use, self._at = use, at
        return used


def server_use(home: Path) -> ProcessUse:
    """What this server uses, with the whole `boucle up` that it is a part of, if it is one."""
    table, state = processes(), read_parts(home)
    ours = os.getpid()
    is_part = state is not None and any(one.pid == ours for one in state.parts)
    return use_of(state.pid if state is not None and is_part else ours, table)
