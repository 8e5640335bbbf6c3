"""The worker's event loop: woken while it sleeps, and left alone while it is busy."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from granian._loops import loops

from boucle.app.event_loop import WorkerLoop
from boucle.app.workers import _answer

TIMES = 3_000
PATIENCE_S = 30.0


@contextmanager
def running() -> Iterator[WorkerLoop]:
    loop = WorkerLoop()
    try:
        yield loop
    finally:
        loop.close()


def wait_for(loop: WorkerLoop, future: "asyncio.Future[Any]") -> Any:
    """What comes of it. The timer wakes the loop as well, so that who was not woken by another thread is late."""
    return loop.run_until_complete(asyncio.wait_for(future, PATIENCE_S))


def test_whoever_hands_over_while_it_falls_asleep_or_sleeps_wakes_it() -> None:
    with running() as loop:
        done: asyncio.Future[None] = loop.create_future()
        came = threading.Semaphore(0)
        seen = 0

        def come(last: bool) -> None:
            nonlocal seen
            seen += 1
            came.release()
            if last:
                done.set_result(None)

        def hand_over() -> None:
            for time in range(TIMES):
                loop.call_soon_threadsafe(come, time == TIMES - 1)
                assert came.acquire(timeout=PATIENCE_S)

        thread = threading.Thread(target=hand_over)
        thread.start()
        wait_for(loop, done)
        thread.join()
        assert seen == TIMES


def test_many_threads_hand_over_at_once() -> None:
    with running() as loop:
        done: asyncio.Future[None] = loop.create_future()
        left = 8 * TIMES

        def come() -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set_result(None)

        def hand_over() -> None:
            for _ in range(TIMES):
                loop.call_soon_threadsafe(come)

        threads = [threading.Thread(target=hand_over) for _ in range(8)]
        for one in threads:
            one.start()
        wait_for(loop, done)
        for one in threads:
            one.join()


def test_a_busy_loop_is_written_nothing() -> None:
    with running() as loop:
        came: list[int] = []

        async def be_busy() -> None:
            thread = threading.Thread(target=lambda: [loop.call_soon_threadsafe(came.append, one) for one in range(9)])
            thread.start()
            thread.join()
            reading: Any = loop._ssock  # type: ignore[attr-defined] # asyncio's own, which its types leave out
            with pytest.raises(BlockingIOError):
                reading.recv(1, socket.MSG_PEEK)
            await asyncio.sleep(0)

        loop.run_until_complete(be_busy())
        assert came == list(range(9))


def test_a_signal_is_heard_while_it_sleeps() -> None:
    with running() as loop:
        heard = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, heard.set_result, True)
        sender = threading.Thread(target=partial(os.kill, os.getpid(), signal.SIGUSR1))
        loop.call_soon(sender.start)
        assert wait_for(loop, heard)
        sender.join()
        loop.remove_signal_handler(signal.SIGUSR1)


def test_a_worker_runs_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loops._data, "asyncio", loops._data["asyncio"])
    made: list[asyncio.AbstractEventLoop] = []
    _answer(lambda *_: made.append(loops.get("asyncio")), (), None, None, (), None)
    asyncio.set_event_loop(None)
    made[0].close()
    assert type(made[0]) is WorkerLoop
