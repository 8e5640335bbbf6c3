"""Compaction beside a server: a look now and then, and a process of low priority where there is something to do.

`python -m boucle.app.log_keeping HOME ENDPOINT SECTION`, the section as JSON.
"""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from boucle.kernel.errors import BoucleError
from boucle.serving.log_bound import drop_oldest
from boucle.serving.log_parts import parts
from boucle.serving.prediction_log import closed_segments
from boucle.serving.records import LogSection
from boucle.serving.traffic import log_folder

LOOK_S: Final = 60.0
_FIRST_LOOK_S: Final = 5.0
"""A server that starts has other things to do."""
_NICE: Final = 19
UNKNOWN: Final = (
    "its project has not said what is kept of it (`serving.log`); it does by `boucle compact` in that project's folder"
)
_log: Final = logging.getLogger("boucle.log")


Rules = Callable[[str], LogSection | None]
"""What is kept of an endpoint's log; None where nobody has said it, so that it is left as it is."""


@contextmanager
def keeping_logs(
    home: Path, endpoints: Callable[[], Sequence[str]], rules: Rules | None, look_s: float = LOOK_S
) -> Iterator[None]:
    """Compact the logs of endpoints now and then while the block runs; without rules they are left as they are.

    Tables are loaded by the other process only, and only while it works. What goes wrong there is told and tried again.
    Where the library for them is not installed (`boucle[serve]`), the oldest segments go beyond a bound.
    """
    if rules is None:
        yield
        return
    keeper = (_Keeper if find_spec("polars") is not None else _Dropper)(home, endpoints, rules, look_s)
    thread = threading.Thread(target=keeper.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        keeper.stop()
        thread.join()


class _Keeper:
    """Looks and starts the process; `stop` ends both, which loses nothing."""

    def __init__(self, home: Path, endpoints: Callable[[], Sequence[str]], rules: Rules, look_s: float) -> None:
        self._home, self._endpoints, self._rules, self._look_s = home, endpoints, rules, look_s
        self._told: dict[str, str] = {}
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()

    def run(self) -> None:
        wait_s = min(_FIRST_LOOK_S, self._look_s)
        while not self._over.wait(wait_s):
            for endpoint in self._endpoints():
                section = self._section(endpoint)
                if section is not None and self._is_due(endpoint, section):
                    self._compact(endpoint, section)
            wait_s = self._look_s

    def stop(self) -> None:
        with self._turn:
            self._over.set()
            if self._process is not None:
                self._process.terminate()

    def _section(self, endpoint: str) -> LogSection | None:
        """What is kept of a log; None, which is told once, if that is not known."""
        try:
            found = self._rules(endpoint)
            problem = "" if found is not None else UNKNOWN
        except BoucleError as error:
            found, problem = None, error.message
        if problem != self._told.get(endpoint, ""):
            self._told[endpoint] = problem
            if problem:
                _log.warning("the prediction log of %s is left as it is: %s", endpoint, problem)
        return found

    def _is_due(self, endpoint: str, section: LogSection) -> bool:
        folder = log_folder(self._home, endpoint)
        try:
            if closed_segments(folder):
                return True
            files = [*folder.glob("segment-*.log"), *(compacted := parts(folder))]
            size = sum(file.stat().st_size for file in files)
        except OSError:  # one went meanwhile: the next look sees what is left
            return False
        return section.max_mb is not None and bool(compacted) and size > section.max_mb * 1_000_000

    def _compact(self, endpoint: str, section: LogSection) -> None:
        words = [str(self._home), endpoint, msgspec.json.encode(section).decode()]
        with self._turn:
            if self._over.is_set():
                return
            self._process = subprocess.Popen(
                [sys.executable, "-m", "boucle.app.log_keeping", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**os.environ, "POLARS_MAX_THREADS": "1"},
            )
        _, said = self._process.communicate()
        if self._process.returncode and not self._over.is_set():
            _log.warning("the prediction log could not be compacted: %s", said.decode(errors="replace").strip()[-500:])


class _Dropper(_Keeper):
    """Keeps logs within their bound where nothing can compact them."""

    def _is_due(self, endpoint: str, section: LogSection) -> bool:
        if section.max_mb is None:
            return False
        try:
            files = log_folder(self._home, endpoint).glob("segment-*.log")
            return sum(file.stat().st_size for file in files) > section.max_mb * 1_000_000
        except OSError:
            return False

    def _compact(self, endpoint: str, section: LogSection) -> None:
        try:
            drop_oldest(self._home, endpoint, section.max_mb or 0)
        except BoucleError as error:
            _log.warning("the prediction log could not be kept within its bound: %s", error.message)


def main(arguments: Sequence[str]) -> int:
    """Compact once, with the lowest priority."""
    from boucle.serving.compaction import compact

    home, endpoint, section = arguments
    os.nice(_NICE)
    try:
        compact(Path(home), endpoint, msgspec.json.decode(section, type=LogSection))
    except BoucleError as error:
        sys.stderr.write(error.message)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
