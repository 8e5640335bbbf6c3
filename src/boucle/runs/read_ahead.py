"""Answers that are made before they are asked for: the next page, while the client still reads the one before.

A client takes as long to read a page of many points as it takes to make one, and asks for the next one only then. One
thread makes it meanwhile. What it made is told only if nobody has written anything since, so whoever asks sees every
acknowledged write, as everywhere; where others write all the time, no more is made ahead.
"""

import logging
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Generic, TypeVar

from sqlalchemy import Connection

from boucle.kernel.database import Standing
from boucle.kernel.store import Store

T = TypeVar("T")
MOST: Final = 4
"""As many answers are kept, each with a connection; the oldest makes room. A page of a history has some 2 MB."""
_log: Final = logging.getLogger(__name__)


class ReadAhead(Generic[T]):
    """Makes answers ahead. Safe for many threads; one for each open store and kind of answer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._gate = threading.Lock()
        self._made: dict[Hashable, Future[Standing[T]]] = {}
        self._thread: Final = ThreadPoolExecutor(1, thread_name_prefix="read ahead")

    def begin(self, key: Hashable, query: Callable[[Connection], T]) -> None:
        """Have the answer to `key` made, unless it is being made, or there are many still to be made."""
        with self._gate:
            if key in self._made:
                return
            if len(self._made) >= MOST:
                oldest = next(iter(self._made))
                if not self._made[oldest].done():
                    return
                self._made.pop(oldest).add_done_callback(_close)
            self._made[key] = self._thread.submit(self._store.database.read_standing, query)

    def take(self, key: Hashable) -> T | None:
        """The answer to `key`, once; None if none was made or it stands no more."""
        with self._gate:
            made = self._made.pop(key, None)
        if made is None:
            return None
        try:
            standing = made.result()
            try:
                return standing.found if standing.is_current() else None
            finally:
                standing.close()
        except Exception as error:  # noqa: BLE001 - whoever asks now is told of it, if it is still so
            _log.debug("an answer could not be made ahead: %s", error)
            return None


def _close(made: "Future[Standing[T]]") -> None:
    if not made.cancelled() and made.exception() is None:
        made.result().close()
