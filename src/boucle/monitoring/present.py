"""What time it is, for closing windows: by the clock, as long as that goes as time passes."""

from datetime import datetime, timedelta

from boucle.kernel.clock import Clock


class Present:
    """The clock's time, but no later than what has passed allows; a jump counts once it has lasted. Not thread-safe."""

    def __init__(self, clock: Clock, lasts: timedelta, jitter: timedelta) -> None:
        """`lasts`: so long a clock has to stay set before it is believed; a jump of at most `jitter` is none."""
        self._clock, self._lasts, self._jitter = clock, lasts, jitter
        passed = clock.passed()
        self._line = self._other = clock.now() - passed
        """When nothing had passed yet: as it is believed, and as the clock has it since `_since`."""
        self._since = passed

    def now(self) -> datetime:
        """The present moment."""
        at, passed = self._clock.now(), self._clock.passed()
        line = at - passed
        if abs(line - self._other) > self._jitter:
            self._other, self._since = line, passed
        if abs(line - self._line) > self._jitter and passed - self._since >= self._lasts:
            self._line = line
        return min(at, self._line + passed)
