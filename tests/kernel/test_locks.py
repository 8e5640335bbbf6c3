import fcntl
import subprocess
import sys
import threading
from pathlib import Path

from boucle.kernel.locks import turn

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
