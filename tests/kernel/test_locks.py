import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from boucle.kernel import locks
from boucle.kernel.locks import holder, open_to_lock, turn

_HOLD = """
import sys
from pathlib import Path
from boucle.kernel.locks import turn
with turn(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_lock_ends_with_its_holder_also_when_that_is_killed(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    waiter = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(lock)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert waiter.poll() is None
    holder.kill()
    out, _ = waiter.communicate(timeout=30)
    assert out == b"held\n"
    holder.communicate()
    with turn(lock):
        pass


_FORK = """
import os, sys
from pathlib import Path
from boucle.kernel.locks import turn
lock = Path(sys.argv[1])
here, there = os.pipe()
with turn(lock):
    if not os.fork():
        os.close(there)
        os.read(here, 1)  # until its parent ends
        os._exit(0)
with turn(lock, wait=False):
    print("taken anew", flush=True)
with turn(lock):
    if not (other := os.fork()):
        sys.exit(0)
    os.waitpid(other, 0)
    try:
        with turn(lock, wait=False):
            print("a child let go of what its parent holds", flush=True)
    except BlockingIOError:
        print("still held", flush=True)
"""


def test_a_lock_ends_with_its_block_also_while_a_child_lives_that_was_forked_in_it(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _FORK, str(tmp_path / "lock")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    out, err = process.communicate(timeout=30)
    assert out == "taken anew\nstill held\n", err


def test_who_waits_comes_before_who_takes_it_again(tmp_path: Path) -> None:
    lock, order = tmp_path / "lock", []

    def wait() -> None:
        with turn(lock):
            order.append("waiter")

    waiter = threading.Thread(target=wait)
    with turn(lock):
        waiter.start()
        while not is_held(tmp_path / "lock.next"):
            pass
    with turn(lock):
        order.append("holder again")
    waiter.join()
    assert order == ["waiter", "holder again"]


def is_held(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_who_holds_a_lock_is_told_also_that_it_is_stopped(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert holder(lock) is None
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        told = holder(lock)
        if told is None:
            process.kill()
            pytest.skip("this system does not tell who holds a lock")
        assert told.startswith(f"process {process.pid} (")
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        assert f"kill -CONT {process.pid}" in (holder(lock) or "")
        process.kill()


def test_who_waits_long_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "TELL_S", 0.01)
    lock, done = tmp_path / "lock", threading.Event()

    def wait() -> None:
        with turn(lock):
            done.set()

    with turn(lock):
        threading.Thread(target=wait).start()
        deadline = time.monotonic() + 30
        while not caplog.records and time.monotonic() < deadline:
            threading.Event().wait(0.01)
    assert done.wait(30)
    assert f"still waiting for {lock}, which is held by" in caplog.text


def test_what_is_to_be_locked_is_open_for_writing_where_one_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mode() -> int:
        descriptor = open_to_lock(tmp_path / "lock")
        try:
            return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        finally:
            os.close(descriptor)

    with pytest.raises(FileNotFoundError):
        mode()
    (tmp_path / "lock").touch()
    assert mode() == os.O_RDWR
    real = os.open

    def of_a_read_only_disk(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", of_a_read_only_disk)
    assert mode() == os.O_RDONLY
