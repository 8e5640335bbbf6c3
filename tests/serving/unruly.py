"""A model that no compiler knows, and that does what its rows say; imported by its own process as well."""

import ctypes
import os
import signal
import time
import wave  # noqa: F401 - which nobody else loads: a worker must not either
from pathlib import Path
from typing import Any

EXITS, SEGFAULTS, WAITS, RAISES, SHORT = -3.0, -11.0, -5.0, -7.0, -9.0


class Unruly:
    """Answers twice its first column, after ten milliseconds; what it may wait for is a file."""

    def __init__(self, gate: Path) -> None:
        self.gate = gate

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.doom.exists():
            os._exit(4)
        while self.gate.with_name("slow").exists():
            time.sleep(0.002)

    @property
    def doom(self) -> Path:
        """The process that loads it ends where this file is."""
        return self.gate.with_name("doom")

    def predict(self, rows: Any) -> Any:
        asked = rows[:, 0].tolist()
        if EXITS in asked:
            os._exit(3)
        if SEGFAULTS in asked:
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # no report of it in the test's output
            ctypes.string_at(0)
        if RAISES in asked:
            raise ValueError("no such thing")
        if SHORT in asked:
            rows = rows[:0]
        while WAITS in asked and not self.gate.exists():
            time.sleep(0.002)
        time.sleep(0.01)
        return rows[:, 0] * 2
