"""Who answers in a worker: the deployments of one generation of traffic, got ready and then put in charge.

Imported by the worker.
"""

import os
import threading
from collections.abc import MutableSequence
from pathlib import Path
from typing import NamedTuple, Protocol

from boucle.kernel.errors import BoucleError, Damaged
from boucle.serving.models import Model, Models
from boucle.serving.records import Ack, Traffic
from boucle.serving.switch import SHADOW_COUNTS, Switch
from boucle.serving.traffic import read_traffic, traffic_file, write_ack


class Lineup(NamedTuple):
    """One generation, ready to answer."""

    traffic: Traffic
    champion: Model
    canary: Model | None = None
    shadow: Model | None = None


class Following(Protocol):
    """Where a worker learns who answers. `now` is for the event loop, `refresh` for any thread."""

    @property
    def shadow_counts(self) -> "MutableSequence[int] | memoryview":
        """Where this worker counts what its shadow did."""

    def shadow_totals(self) -> list[int]:
        """What the shadows of all workers did."""

    def now(self) -> Lineup | None:
        """Who answers; None before anything is ready. It costs next to nothing."""

    def is_stale(self) -> bool:
        """Whether `refresh` has something to do."""

    def refresh(self) -> bool:
        """Get ready what is wanted, and say so or why not; False if nothing changed."""

    def close(self) -> None:
        """Let go of all models: nobody answers any more."""


def prepare(models: Models, traffic: Traffic, *, load: bool) -> tuple[Lineup, str]:
    """The line-up of some traffic, and why its shadow is not in it, if so.

    Champion and canary raise what is wrong with them; what is wrong with a shadow must not show. Without `load` it is
    only looked at what they take and answer.
    """
    champion = _ready(models, models.of(traffic.champion), load=load)
    canary = None if traffic.canary is None else _ready(models, models.of(traffic.canary.deployment), load=load)
    shadow, problem = None, ""
    if traffic.shadow is not None:
        try:
            shadow = _ready(models, models.of(traffic.shadow), load=load)
        except BoucleError as error:
            problem = error.message
        except Exception as error:  # noqa: BLE001 - whatever a loader raises, the others answer
            problem = f"{type(error).__name__}: {error}"
    return Lineup(traffic, champion, canary, shadow), problem


def _ready(models: Models, model: Model, *, load: bool) -> Model:
    if load:
        models.load(model)
    else:
        models.signature(model)
    return model


class FollowingFile:
    """Follows the traffic file alone, as the only worker, and acknowledges it itself."""

    def __init__(self, home: Path, name: str, models: Models) -> None:
        self._home, self._name, self._models = home, name, models
        self._file = traffic_file(home, name)
        self._seen: bytes | None = None
        self._owed: Ack | None = None
        self._refreshing = threading.Lock()
        self._lineup: Lineup | None = None
        self.shadow_counts = [0] * SHADOW_COUNTS

    def shadow_totals(self) -> list[int]:
        """What its shadow did."""
        return list(self.shadow_counts)

    def now(self) -> Lineup | None:
        """Who answers."""
        return self._lineup

    def is_stale(self) -> bool:
        """Whether the traffic file changed since it was taken up, or that is not said yet.

        It costs reading a small file: neither its time nor its inode tell, where the clock stands still.
        """
        seen = self._bytes()
        return self._owed is not None or (seen is not None and seen != self._seen)

    def refresh(self) -> bool:
        """Take up a changed traffic file, and acknowledge it or say why not; False if nothing changed.

        If a bundle cannot be loaded the one before stays in charge.
        """
        with self._refreshing:
            seen = self._bytes()
            changed = seen is not None and seen != self._seen
            if changed:
                self._seen = seen
                self._owed = self._take_up()
            owed = self._owed
            if owed is not None:
                write_ack(self._home, self._name, owed)  # tried again until there is room for it
                self._owed = None
            return changed

    def close(self) -> None:
        """Let go of all models."""
        with self._refreshing:
            self._lineup = None

    def _take_up(self) -> Ack:
        traffic = read_traffic(self._home, self._name)
        pid = os.getpid()
        try:
            self._lineup, problem = prepare(self._models, traffic, load=True)
        except BoucleError as error:
            return Ack(generation=traffic.generation, pid=pid, error=error.message)
        return Ack(generation=traffic.generation, pid=pid, shadow_error=problem or None, workers=[pid])

    def _bytes(self) -> bytes | None:
        try:
            return self._file.read_bytes()
        except FileNotFoundError:
            return None


class FollowingSwitch:
    """Follows the server's switch, as one of several workers: what is ready answers once the server says so."""

    def __init__(self, switch: Switch, worker: int, models: Models, *, lazy: bool) -> None:
        self._name = switch.name
        self._switch, self._worker, self._models, self._lazy = switch, worker, models, lazy
        self._ready: dict[int, Lineup] = {}
        """By turn: the one in charge, and the next."""
        self._prepared = 0
        self._word = 0
        self._refreshing = threading.Lock()
        self._lineup: Lineup | None = None
        self.shadow_counts = switch.shadow_counts(worker)
        self.shadow_totals = switch.shadow_totals

    def now(self) -> Lineup | None:
        """Who answers, from the moment of the switch on."""
        word = self._switch.word
        if word != self._word:
            ready = self._ready.get(word >> 1)
            if ready is not None:  # else this worker was started meanwhile, and `refresh` gets it ready
                self._lineup, self._word = ready, word
        return self._lineup

    def is_stale(self) -> bool:
        """Whether something is wanted that is not ready, or in charge that does not answer."""
        return self._switch.newest != self._prepared or self._switch.word != self._word

    def refresh(self) -> bool:
        """Get ready what is wanted and say so, and what is in charge if it is not; False if nothing changed."""
        with self._refreshing:
            changed = self._switch.newest != self._prepared
            if changed:
                self._prepare_wanted()
            if self._switch.word >> 1 not in (0, *self._ready):
                in_charge = self._switch.in_charge()
                if in_charge is not None and in_charge.traffic.endpoint == self._name:
                    lineup, _ = prepare(self._models, in_charge.traffic, load=not self._lazy)
                    self._ready[in_charge.number] = lineup
            self.now()
            answering, newest = self._word >> 1, self._prepared
            self._ready = {turn: one for turn, one in self._ready.items() if turn in (answering, newest)}
            return changed

    def close(self) -> None:
        """Let go of all models."""
        with self._refreshing:
            self._ready, self._lineup = {}, None

    def _prepare_wanted(self) -> None:
        wanted = self._switch.wanted()
        if wanted is None or wanted.traffic.endpoint != self._name:  # the place is another endpoint's by now
            return
        try:
            lineup, problem = prepare(self._models, wanted.traffic, load=self._loads())
        except BoucleError as error:
            damaged = isinstance(error, Damaged)
            self._switch.say(self._worker, wanted.number, failed=True, damaged=damaged, message=error.message)
        except Exception as error:
            self._switch.say(self._worker, wanted.number, failed=True, message=f"{type(error).__name__}: {error}")
            raise
        else:
            self._ready[wanted.number] = lineup
            self._switch.say(self._worker, wanted.number, message=problem)
        finally:
            self._prepared = wanted.number

    def _loads(self) -> bool:
        """Whether what comes is loaded before it takes charge: yes where clients ask already."""
        return not self._lazy or (self._lineup is not None and self._lineup.champion.predictor is not None)
