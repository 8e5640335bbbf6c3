"""Starting a run from any Python program: `boucle.start_run`."""

import atexit
import functools
import logging
import os
import sys
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from boucle.identity.principals import account_name
from boucle.kernel.clock import SystemClock
from boucle.kernel.ids import RandomIds
from boucle.runs.checked_out import as_mlflow_calls_it, checked_out
from boucle.runs.client import checks
from boucle.runs.client.destination import Destination, current_folder, destination, spool_root
from boucle.runs.client.feeds import Threads
from boucle.runs.client.run import ActiveRun, ends_as
from boucle.runs.client.targets import LOADING
from boucle.runs.limits import check_title
from boucle.runs.process import process_tags
from boucle.runs.spool.records import DECODER, Begin, EndStatus, ParamValue, in_parts

END_S: Final = 10.0
"""How long a process that ends waits for destinations that take what they are sent."""
_log: Final = logging.getLogger(__name__)


class _Process:
    """What this process tracks."""

    def __init__(self) -> None:
        self.is_known = False
        """Whether multiprocessing knows of it."""
        self.pid = 0
        """Of the process of multiprocessing that calls us at its end."""
        self.begin()

    def begin(self) -> None:
        """Know nothing yet."""
        self.threads = Threads()
        self.runs: weakref.WeakSet[ActiveRun] = weakref.WeakSet()
        self.ids = RandomIds(SystemClock())


_process: Final = _Process()


def start_run(
    experiment: str | None = None,
    name: str | None = None,
    params: Mapping[str, ParamValue] | None = None,
    tags: Mapping[str, str] | None = None,
    *,
    seed: int | None = None,
    url: str | None = None,
    home: str | Path | None = None,
    project: str | None = None,
    spool: str | Path | None = None,
) -> ActiveRun:
    """Begin a run, and return at once; changes of the code, environment and the like are found out beside it.

    It goes to the server at `url`, BOUCLE_URL or MLFLOW_TRACKING_URI; without one, or with `home`, into the store of
    this folder. The server may be away: what is logged waits in `spool` (BOUCLE_SPOOL), on this machine. `seed` is
    recorded, as the param `seed` and the tag `boucle.seed`; setting it is up to the program.
    """
    where = destination(url, home, project)
    run_id = _process.ids.new_hex()
    title = name or f"run {time.strftime('%Y-%m-%d %H:%M:%S')}"
    for what, text in (("experiment", experiment or "Default"), ("name", title)):
        checks.check_text(what, text, 250)
        check_title(text, what)
    user = account_name()
    known = checks.checked_params({} if params is None else params)
    seed_param, seed_tag = checks.seed_facts(seed, known)
    given = checks.checked_tags({} if tags is None else tags)
    folder = current_folder()
    traced = {**process_tags(folder, sys.argv), **as_mlflow_calls_it(checked_out(folder) if folder else {})}
    of_run = {"mlflow.user": user, "mlflow.runName": title, **traced, **seed_tag, **given}
    # The first record is in every file of the spool again, so what is much follows in records of its own.
    first_params, *more_params = in_parts({**known, **seed_param})
    first_tags, *more_tags = in_parts(of_run)
    begin = Begin(
        run=run_id,
        experiment=experiment or "Default",
        name=title,
        user=user,
        started_ms=time.time_ns() // 1_000_000,
        params=first_params,
        tags=first_tags,
        is_owner=True,
    )
    run = _adopt(ActiveRun(begin, where, spool_root(spool), _process.threads))
    for params in more_params:
        run.log_params(params)
    for tags in more_tags:
        run.set_tags(tags)
    run.beside(functools.partial(_trace, run, folder))
    return run


def join_run(begin: bytes, where: bytes, root: str) -> ActiveRun:
    """Add to a run that another process began; what a pickled run becomes."""
    record = DECODER.decode(begin)
    if not isinstance(record, Begin):
        raise TypeError("these bytes are no run")
    known = msgspec.json.decode(where, type=Destination)
    return _adopt(ActiveRun(record, known, Path(root), _process.threads))


def _adopt(run: ActiveRun) -> ActiveRun:
    _process.runs.add(run)
    _end_as_multiprocessing_does()
    return run


def _trace(run: ActiveRun, folder: Path | None) -> None:
    with LOADING:
        from boucle.runs.client.trace import trace
    trace(run, folder)


def _ends_as() -> EndStatus:
    """How a program that never ended its run has ended; a process of multiprocessing is still in its exception."""
    error = sys.exception()
    if isinstance(error, SystemExit) and not error.code:
        return "finished"
    return ends_as(getattr(sys, "last_type", None) if error is None else type(error))


def _at_exit() -> None:
    deadline = time.monotonic() + END_S
    threads = _process.threads
    for run in list(_process.runs):
        if run.status == "running":
            run.finish(_ends_as(), timeout=max(0.0, deadline - time.monotonic()))
    for feed in list(threads.feeds):
        threads.wait(feed, max(0.0, deadline - time.monotonic()), patient=False)
    threads.sync_now()
    threads.say_losses()


def _after_fork() -> None:
    """Go on in a forked child: the parent's ids, threads and locks mean nothing here."""
    LOADING.release()
    runs, feeds = list(_process.runs), _process.threads.feeds
    _process.begin()
    for feed in feeds:
        feed.spool.abandon()
    for run in runs:
        run.reopen(_process.threads)
        _process.runs.add(run)
    _end_as_multiprocessing_does()


def _end_as_multiprocessing_does() -> None:
    """Be called also at the end of a process of multiprocessing, which ends without the handlers of atexit.

    It has its own, and as it begins, after a fork or once it has read what it is given, it forgets those that are
    there; only then it calls what was registered for that moment.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        return
    if not _process.is_known:
        _process.is_known = True
        util.register_after_fork(_process, lambda _: util.Finalize(None, _at_exit, exitpriority=10))
    if sys.modules["multiprocessing.process"].parent_process() is not None and _process.pid != os.getpid():
        _process.pid = os.getpid()
        util.Finalize(None, _at_exit, exitpriority=10)


atexit.register(_at_exit)
os.register_at_fork(before=LOADING.acquire, after_in_parent=LOADING.release, after_in_child=_after_fork)
