"""A process that has imported what commands need, and forks a child for each: a real process without its start-up.

It reads a JSON document a line, `{"argv": [...], "environ": {...}, "cwd": ..., "out": ..., "err": ...}`, with
`"script": FILE` for a module's `main(argv)` in place of the `boucle` program. It answers with lines
`started PID` in the order of asking, and `ended PID STATUS` as it comes.
"""

import importlib
import json
import os
import selectors
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

LIBRARIES = (
    *("alembic.operations", "alembic.runtime.migration", "alembic.script", "altair", "numpy", "optuna", "polars"),
    *("rich.console", "rich.progress", "rich.table", "ruamel.yaml", "sklearn.ensemble", "sklearn.metrics"),
    *("sqlalchemy", "treelite", "typer"),
)
ROOMS = (
    *("boucle.app.console", "boucle.app.main", "boucle.kernel.migrations.runner", "boucle.loop.replay"),
    *("boucle.loop.status", "boucle.project.context", "boucle.project.lifecycle", "boucle.app.serve"),
)


def main() -> None:
    for name in (*LIBRARIES, *ROOMS):
        importlib.import_module(name)
    ended, wake = os.pipe()
    for descriptor in (ended, wake):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    say("ready")
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        pending = b""
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if ended in ready:
                os.read(ended, 4096)
                _tell_ended()
            if 0 in ready:
                piece = os.read(0, 1 << 16)
                if not piece:
                    return
                *lines, pending = (pending + piece).split(b"\n")
                for line in lines:
                    say(f"started {_fork(json.loads(line), (ended, wake))}")


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def _fork(job: dict[str, Any], pipes: tuple[int, int]) -> int:
    process = os.fork()
    if process == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in pipes:
            os.close(descriptor)
        os._exit(_work(job))
    return process


def _tell_ended() -> None:
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if process == 0:
            return
        say(f"ended {process} {os.waitstatus_to_exitcode(status)}")


def _work(job: dict[str, Any]) -> int:
    """Be the process that was asked for; returns its exit status."""
    os.setsid()
    os.environ.clear()
    os.environ.update(job["environ"])
    os.chdir(job["cwd"])
    for path, flags, target in (
        (os.devnull, os.O_RDONLY, 0),
        (job["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 1),
        (job["err"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 2),
    ):
        os.dup2(os.open(path, flags, 0o600), target)
    try:
        import sitecustomize

        sitecustomize.install()
        if "script" in job:
            script = Path(job["script"])
            sys.path.insert(0, str(script.parent))
            importlib.import_module(script.stem).main(job["argv"])
        else:
            from boucle.app.start import main as boucle

            sys.argv = ["boucle", *job["argv"]]
            boucle()
    except SystemExit as done:
        return int(done.code or 0)
    except BaseException:  # noqa: BLE001 - the edge of the child
        traceback.print_exc()
        return 99
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    main()
