"""Each write, sync, rename and truncation of a store fails in turn, also inside SQLite; nothing false is said.

See `writer.py` for what is kept and how it is checked.
"""

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WRITER = Path(__file__).with_name("writer.py")
HALF = 0
CASES = [
    *((kind, error, 1, 1) for kind in ("sync", "rename", "truncate") for error in (errno.EIO, errno.ENOSPC)),
    *(("write", error, start, 3) for start, error in enumerate((errno.EIO, errno.ENOSPC, HALF), start=1)),
]
"""What fails, how, and which calls: of the many writes each in one of the three ways, of the others each in both."""
KINDS = {"write": 1, "sync": 2, "rename": 4, "truncate": 8}


def hurt(faults: Any, kind: str, error: int, once: str, start: int, step: int) -> dict[str, int]:
    command = [sys.executable, str(WRITER), str(KINDS[kind]), str(error), once, str(start), str(step)]
    done = subprocess.run(command, env=faults.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "error"), [("sync", errno.EIO), ("rename", errno.ENOSPC), ("write", errno.ENOSPC)])
def test_a_failing_call_is_told_and_nothing_false_is_acknowledged(faults: Any, kind: str, error: int) -> None:
    found = hurt(faults, kind, error, "ONCE", 1, 17 if kind == "write" else 5)
    assert found["exit 5"] > 0


@pytest.mark.long
@pytest.mark.parametrize("once", ["ONCE", "ON"], ids=["one call fails", "every call from it on fails"])
@pytest.mark.parametrize(
    ("kind", "error", "start", "step"),
    CASES,
    ids=[f"{kind}-{errno.errorcode.get(error, 'half')}" for kind, error, *_ in CASES],
)
def test_every_call_may_fail(faults: Any, kind: str, error: int, start: int, step: int, once: str) -> None:
    found = hurt(faults, kind, error, once, start, step)
    assert found.get("exit 5", 0) > 0 or error == HALF
