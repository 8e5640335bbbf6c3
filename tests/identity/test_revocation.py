"""A token that was revoked is refused in every process, wherever the process that revoked it died."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from boucle.identity import accounts
from boucle.identity.api import UserDoor
from boucle.identity.store import everyone
from boucle.kernel.errors import Unauthenticated
from boucle.kernel.store import Store

ROOT = "person:root"

_MORTAL = """
import os, signal, sys
from pathlib import Path
from boucle.identity import accounts
from boucle.kernel import points
from boucle.kernel.store import Store

for line in sys.stdin:  # each in a fork: a real process without its start-up
    token, at = line.split()
    if (child := os.fork()) == 0:
        store = Store.open(Path(sys.argv[1]))
        reached = []
        def listen(name):
            reached.append(name)
            if len(reached) == int(at):
                os.write(1, f"died {name}\\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)
        points.listen(listen)
        accounts.revoke(store, token, actor="person:other")
        os.write(1, b"acknowledged -\\n")
        os._exit(0)
    os.waitpid(child, 0)
"""

_BUSY = """
import os, sys
from pathlib import Path
from boucle.identity import accounts
from boucle.kernel.store import Store

with Store.open(Path(sys.argv[1])) as store:
    for _ in range(int(sys.argv[2])):
        made = accounts.issue(store, "ada", actor="person:other")
        os.write(1, f"made {made.text}\\n".encode())
        sys.stdin.readline()
        accounts.revoke(store, made.token.id, actor="person:other")
        os.write(1, f"revoked {made.text}\\n".encode())
"""


def is_let_in(door: UserDoor, token: str) -> bool:
    try:
        door.principal_of(f"Bearer {token}", "10.0.0.7")
    except Unauthenticated:
        return False
    return True


@pytest.fixture
def door(store: Store) -> Iterator[UserDoor]:
    accounts.add(store, "ada", "admin", actor=ROOT)
    return accounts.open_door(store)


def start(script: str, store: Store, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, str(store.home), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


@pytest.mark.slow
def test_a_revocation_killed_at_any_point_leaves_no_process_with_a_token_that_is_gone(
    store: Store, door: UserDoor
) -> None:
    died: list[str] = []
    outcomes: set[tuple[bool, bool]] = set()
    with start(_MORTAL, store) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(1, 100):
            made = accounts.issue(store, "ada", actor=ROOT)
            assert is_let_in(door, made.text)
            assert door._kept[0] is not None, "this process keeps what it read"
            process.stdin.write(f"{made.token.id} {number}\n")
            end, point = process.stdout.readline().split()
            held = [token.id for user in store.read(everyone) for token in user.tokens]
            assert is_let_in(door, made.text) == (made.token.id in held), point
            outcomes.add((made.token.id in held, store.people.current() is None))
            if end == "acknowledged":
                assert made.token.id not in held
                break
            died.append(point)
        process.stdin.close()
    assert {"commit.begun", "commit.ready", "commit.committed", "commit.followed"} <= set(died)
    assert (False, True) in outcomes, "it died between the commit and the new generation"
    assert (True, True) in outcomes, "it died between the notice and the commit"


@pytest.mark.slow
def test_what_several_processes_revoke_is_refused_at_once_here(store: Store, door: UserDoor) -> None:
    mine = accounts.issue(store, "ada", actor=ROOT).text
    stop = threading.Event()

    def ask_on() -> None:
        while not stop.is_set():
            assert is_let_in(door, mine)

    asking = threading.Thread(target=ask_on)
    asking.start()
    processes = [start(_BUSY, store, "25") for _ in range(3)]
    try:
        for _ in range(25):
            for process in processes:
                assert process.stdin is not None
                assert process.stdout is not None
                word, token = process.stdout.readline().split()
                assert (word, is_let_in(door, token)) == ("made", True)
                process.stdin.write("go\n")
            for process in processes:
                assert process.stdout is not None
                word, token = process.stdout.readline().split()
                assert (word, is_let_in(door, token)) == ("revoked", False)
    finally:
        stop.set()
        asking.join()
        for process in processes:
            process.communicate()


def test_another_server_s_token_is_refused(door: UserDoor, tmp_path: Path) -> None:
    with Store.open(tmp_path / "other") as other:
        token = accounts.add(other, "ada", "admin", actor=ROOT).text
    assert not is_let_in(door, token)
