"""The threads that bring spools to the disk and to their destinations, one pair of them in a process.

They are daemons: what they have not done when the process ends is done by the next one, from the spool.
"""

import functools
import logging
import random
import sys
import threading
import time
from pathlib import Path
from typing import Final

from boucle.kernel.errors import BoucleError, InvalidInput, Unavailable
from boucle.runs.client.destination import spool_root
from boucle.runs.client.sending import send_all
from boucle.runs.client.targets import LOADING, NotLetIn, Target
from boucle.runs.spool.frames import HEADER_BYTES, LARGEST
from boucle.runs.spool.spool import Spool

SYNC_S: Final = 0.5
"""A power cut costs what was logged since the last sync began: half a second, and what the disk takes for it."""
SEND_S: Final = 0.2
"""How long frames are gathered before they are sent, unless somebody waits for them."""
BATCH_BYTES: Final = LARGEST + HEADER_BYTES
"""Room for the largest frame: one that no read holds whole would hold up all that follows."""
LONGEST_PAUSE_S: Final = 30.0
REPLAY_S: Final = 5.0
_dice: Final = random.Random()
"""Our own: drawing from Python's would change what a training draws after it has set its seed."""
_log: Final = logging.getLogger(__name__)


class Feed:
    """A spool on its way to a target."""

    def __init__(self, spool: Spool, target: Target, where: str) -> None:
        self.spool, self.target, self.where = spool, target, where
        self.run: object = None
        """Whose it is, kept until all of it is sent: one that is dropped unfinished ends with the process."""
        self.sent = 0
        self.failures = 0
        self.again_at = 0.0
        self.closing = False
        """Nothing more comes; once all is sent, the spool goes."""
        self.gone = False
        """Nothing more is done with it here."""
        self.left = False
        """It is sent with what dead processes left."""
        self.refused = 0
        self._synced = 0
        self._sync_failed = False

    @property
    def is_sent(self) -> bool:
        return self.has_sent(self.spool.end)

    def has_sent(self, position: int) -> bool:
        """Whether all before a position of the spool is sent, by whomever."""
        if self.left:
            return self.spool.folder is None or not self.spool.folder.exists()
        return self.sent >= position

    def sync(self) -> None:
        """Bring what is new to the disk; a refusal is told once."""
        end = self.spool.end
        if end == self._synced or self.gone:
            return
        try:
            self.spool.sync()
        except OSError as error:
            if not self._sync_failed and not self.gone:
                self._sync_failed = True
                _log.warning("a spool cannot be brought to the disk: %s; a power cut may lose records", error.strerror)
            return
        self._synced = end

    def send(self) -> bool:
        """Send one batch; whether there is more. Unavailable if the target cannot take it."""
        begin, data = self.spool.read(self.sent, BATCH_BYTES)
        if not data:
            return False
        held = self.spool.begin
        taken, _ = send_all(self.target, self.spool.id, begin, data, self.spool.folder, held)
        if taken.position < begin and held < begin:
            self._go_back(taken.position, held)
            begin, data = self.spool.read(self.sent, BATCH_BYTES)
            taken, _ = send_all(self.target, self.spool.id, begin, data, self.spool.folder, held)
        if taken.position <= self.sent:
            raise Unavailable(f"{self.where} takes nothing of {len(data)} bytes")
        self.sent = taken.position
        self.spool.release(self.sent)
        for sentence in taken.told:
            _log.warning("%s: %s", self.where, sentence)
        for sentence in taken.refused:
            if self.refused < 10:
                _log.warning("%s did not take a record: %s", self.where, sentence)
            self.refused += 1
        return not self.is_sent

    def _go_back(self, position: int, held: int) -> None:
        """Go on from an earlier position, which is what a target knows that came back from a backup."""
        self.sent = position
        lost = "" if held <= position else "; what was logged before that is gone, as the spool let go of it"
        _log.warning(
            "%s does not know all that it took, as after `boucle restore`: what the spool still has is sent again%s",
            self.where,
            lost,
        )


def _is_usual(root: Path | None) -> bool:
    """Whether a folder of spools is the one that commands look into by themselves."""
    try:
        return root == spool_root(None)
    except InvalidInput:
        return False


class Threads:
    """What runs beside the program. A forked child begins with new ones."""

    def __init__(self) -> None:
        self.feeds: list[Feed] = []
        self._servers: set[object] = set()
        """Those that this process logs to: what is left for others is sent without the token of this one."""
        self.dropped = 0
        self._told = 0
        self.changed = threading.Condition()
        self._wake = threading.Event()
        self._working: set[str] = set()
        self._replay_now: dict[Path, threading.Event] = {}
        self._left_for: set[str] = set()
        """Destinations that were away when a run ended."""
        self._asked: set[str] = set()
        """Destinations that refuse us, each told once."""

    def add(self, feed: Feed, root: Path, server: object) -> None:
        """Take care of a feed, which goes to a server or None, and of what dead processes left in its folder of
        spools."""
        with self.changed:
            self.feeds.append(feed)
            self._servers.add(server)
            self._replay_now.setdefault(root, threading.Event())
            works = {"boucle-sync": self._sync_all, "boucle-send": self._send_all}
            works[f"boucle-replay {root}"] = functools.partial(self._replay_all, root)
            for name, work in works.items():
                if name not in self._working:
                    self._working.add(name)
                    threading.Thread(target=work, name=name, daemon=True).start()

    def wait(self, feed: Feed, timeout_s: float, *, patient: bool) -> bool:
        """Wait until all that a feed holds now is sent; not `patient` gives up at the first failure."""
        end, failures = feed.spool.end, feed.failures
        if not patient and failures:
            return feed.has_sent(end)
        if patient:
            feed.again_at = 0.0
            if feed.left:
                self._hurry(feed)
        self._wake.set()
        with self.changed:
            self.changed.wait_for(
                lambda: (
                    feed.has_sent(end) or (feed.gone and not feed.left) or (not patient and feed.failures > failures)
                ),
                timeout_s,
            )
        return feed.has_sent(end)

    def say_losses(self) -> None:
        """Tell at the end what was lost on the way."""
        lost = self.dropped + sum(feed.spool.dropped for feed in self.feeds)
        if lost > self._told:
            self._told = lost
            _log.error(
                "tracking lost %d records of this process: they could not be read or stored, or had no room", lost
            )

    def sync_now(self) -> None:
        for feed in list(self.feeds):
            feed.sync()

    def _sync_all(self) -> None:
        while True:
            time.sleep(SYNC_S)
            self.sync_now()

    def _send_all(self) -> None:
        while True:
            self._wake.wait(SEND_S)
            self._wake.clear()
            for feed in list(self.feeds):
                if feed.again_at <= time.monotonic():
                    self._send(feed)

    def _send(self, feed: Feed) -> None:
        sent = feed.sent
        try:
            while feed.send():
                self._note()
            if feed.failures:
                _log.warning("%s takes records again", feed.where)
            feed.failures = 0
            if feed.where in self._left_for and feed.sent > sent:
                self._left_for.discard(feed.where)
                self._hurry(feed)
            if feed.closing and feed.is_sent:
                self._end(feed, is_sent=True)
        except Exception as error:  # noqa: BLE001 - the edge of the thread: nothing may stop it, the spool keeps all
            self._fail(feed, error)
        self._note()

    def _end(self, feed: Feed, *, is_sent: bool) -> None:
        feed.gone, feed.left, feed.run = True, not is_sent, None
        with self.changed:
            self.feeds.remove(feed)
            self.dropped += feed.spool.dropped
        feed.spool.leave(remove=is_sent)
        feed.target.close()

    def _fail(self, feed: Feed, error: Exception) -> None:
        if isinstance(error, NotLetIn):
            self._ask_for_help(feed, error)
        elif not feed.failures:
            words = error.message if isinstance(error, BoucleError) else f"{type(error).__name__}: {error}"
            _log.warning("%s; what is logged is kept in the spool and sent later", words)
        feed.failures += 1
        if feed.closing and not feed.gone and feed.spool.is_on_disk:
            # Thousands of short runs may end while a server is away: none of them may keep files open.
            feed.sync()
            self._end(feed, is_sent=False)
            self._left_for.add(feed.where)
            return
        pause = min(LONGEST_PAUSE_S, 0.5 * 2 ** min(feed.failures, 10))
        feed.again_at = time.monotonic() + pause * _dice.uniform(0.5, 1.0)

    def _ask_for_help(self, feed: Feed, error: NotLetIn) -> None:
        """Tell the person, once, what only a person can mend; a program's own logging must not hide it."""
        with self.changed:
            if feed.where in self._asked:
                return
            self._asked.add(feed.where)
        root = None if feed.spool.folder is None else feed.spool.folder.parent
        command = "boucle sync" if _is_usual(root) else f"boucle sync --spool {root}"
        kept = "it waits in memory" if root is None else f"it waits in {root}, and `{command}` sends it then"
        if sys.stderr is not None:  # a program without a terminal or file for it
            sys.stderr.write(
                f"boucle: tracking is refused: {error.message}\n"
                f"boucle: next: {error.hint or 'ask who runs that server'}\n"
                f"boucle: training goes on, nothing is lost: {kept}\n"
            )

    def _hurry(self, feed: Feed) -> None:
        """Have what was left beside a feed sent soon."""
        if feed.spool.folder is not None and (soon := self._replay_now.get(feed.spool.folder.parent)):
            soon.set()

    def _note(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def _replay_all(self, root: Path) -> None:
        """Send what dead processes left, again and again: a child of this one may die at any time."""
        pause = REPLAY_S
        while True:
            try:
                with LOADING:
                    from boucle.runs.client.leftovers import replay
                failed = [one for one in replay(root, known=set(self._servers)) if one.problem]
            except Exception as error:  # noqa: BLE001 - the edge of the thread: it must not be heard in training
                _log.debug("cannot look for what other processes left: %s", error)
                failed = []
            self._note()
            pause = min(pause * 2, LONGEST_PAUSE_S * 2) if failed else REPLAY_S
            self._replay_now[root].wait(pause * _dice.uniform(0.8, 1.2))
            self._replay_now[root].clear()
