"""A run as the training program holds it: everything logged is in a spool before the call returns."""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, SupportsFloat, SupportsIndex

import msgspec

from boucle.kernel.errors import Conflict, InvalidInput
from boucle.runs.client.checks import (
    LARGEST_STEP,
    MOST_AT_ONCE,
    artifact_name,
    as_metrics,
    check_name,
    checked_moment,
    checked_params,
    checked_step,
    checked_tags,
)
from boucle.runs.client.destination import Destination
from boucle.runs.client.feeds import Feed, Threads
from boucle.runs.client.targets import open_target
from boucle.runs.spool.frames import LARGEST
from boucle.runs.spool.records import (
    ENCODER,
    POINTS,
    Artifact,
    Begin,
    Dataset,
    End,
    EndStatus,
    Params,
    ParamValue,
    Tags,
    in_parts,
)
from boucle.runs.spool.spool import Spool

MOST_NAMES: Final = 10_000
FINISH_S: Final = 10.0
BESIDE_S: Final = 5.0
"""How long the end of a run waits for what is found out beside it."""
Status = Literal["running", "finished", "failed", "interrupted"]


class ActiveRun:
    """One run. Safe for all threads; a forked or unpickled copy adds to the same run through a spool of its own.

    Nothing here waits for a server or fails for want of one, of disk space or of a writable folder: what cannot be
    kept is counted and told. InvalidInput is raised for what could never be stored.
    """

    def __init__(self, begin: Begin, target: Destination, root: Path, threads: Threads) -> None:
        self._begin = begin
        self._destination = target
        self._root = root
        self._threads = threads
        self._newest: dict[str, float] = {}
        """The newest value of each metric; its names are those that were checked."""
        self._params = dict(begin.params)
        self._ended_ms: int | None = None
        self._gate = threading.Lock()
        self._beside: list[threading.Thread] = []
        self.status: Status = "running"
        self._open()

    @property
    def id(self) -> str:
        """32 hexadecimal digits; later runs sort after earlier ones."""
        return self._begin.run

    @property
    def name(self) -> str:
        return self._begin.name

    @property
    def experiment(self) -> str:
        return self._begin.experiment

    def log(
        self,
        metrics: Mapping[str, SupportsFloat] | str,
        value: SupportsFloat | None = None,
        *,
        step: SupportsIndex = 0,
        at_ms: SupportsIndex | None = None,
    ) -> None:
        """Log values of metrics at a step: `run.log({"loss": 0.3}, step=5)` or `run.log("loss", 0.3, step=5)`."""
        if type(metrics) is not dict:
            metrics = as_metrics(metrics, value)
        newest = self._newest
        for name, one in metrics.items():
            if type(one) is not float or name not in newest:
                metrics = self._checked(metrics)
                break
        if type(step) is not int or not -LARGEST_STEP <= step <= LARGEST_STEP:
            step = checked_step(step)
        at_ms = time.time_ns() // 1_000_000 if at_ms is None else checked_moment(at_ms)
        payload = ENCODER.encode((POINTS, at_ms, step, metrics))
        if len(payload) > LARGEST:  # thousands of long names
            for part in in_parts(metrics):
                self.log(part, step=step, at_ms=at_ms)
        elif not self._write(payload):
            self._check_open()
        newest.update(metrics)  # type: ignore[arg-type]  # checked above

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Log params; one that has a value already keeps it."""
        found = checked_params(params)
        for part in in_parts(found):
            self._add(Params(part))
        self._params = {**found, **self._params}

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags; one that is there already gets the new value."""
        for part in in_parts(checked_tags(tags)):
            self._add(Tags(part))

    def log_file(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Keep a copy of a file as an artifact, called `name` or as the file is. Takes as long as copying does.

        A file that is not there or cannot be read is told once and counted in `dropped`.
        """
        try:
            source = Path(path)
        except TypeError as error:
            raise InvalidInput(f"path is {path!r}; allowed is the path of a file") from error
        self._check_open()
        self._keep(source, artifact_name(name or source.name))

    def log_text(self, text: str, name: str) -> None:
        """Keep a text as an artifact."""
        self._check_open()
        artifact = artifact_name(name)
        if not isinstance(text, str):
            raise InvalidInput(f"artifact {artifact} is {text!r:.100}; allowed is text")
        try:
            with tempfile.NamedTemporaryFile(prefix="boucle-") as file:
                file.write(text.encode(errors="replace"))
                file.flush()
                self._keep(Path(file.name), artifact)
        except OSError as error:
            self.lose(f"artifact {artifact} could not be kept: {error}")

    def log_dataset(self, name: str, data: object, context: str = "training") -> str:
        """Log which data the run used, by the digest of their content, which it returns.

        `data` is a file or folder, a table (Polars, pandas, Arrow, NumPy) or a digest of 64 hexadecimal digits.
        """
        from boucle.runs.client.data_used import describe

        used = describe(name, data, context)
        self._add(used)
        return used.fingerprint

    def flush(self, timeout: float = FINISH_S) -> bool:
        """Wait until all that was logged here is in the store; False if that takes longer than `timeout` seconds."""
        return self._threads.wait(self._feed, timeout, patient=True)

    def finish(self, status: EndStatus = "finished", *, timeout: float = FINISH_S) -> None:
        """End the run. Waits for the destination while that takes what it is sent, and never for one that is away."""
        for thread in self._beside:
            thread.join(min(timeout, BESIDE_S))
        with self._gate:
            if self.status != "running":
                if self.status != status:
                    raise Conflict(f"run {self.id} has ended as {self.status!r} already and cannot end as {status!r}")
                return
            self._ended_ms = time.time_ns() // 1_000_000
            if self._begin.is_owner:
                self._add(End(status, self._ended_ms))
            self.status = status
            self._write = _ended
            self._feed.closing = True
        self._threads.wait(self._feed, timeout, patient=False)

    @property
    def dropped(self) -> int:
        """How many records were lost because no room was left for them; 0 while all is well."""
        return self._feed.spool.dropped

    def __enter__(self) -> "ActiveRun":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.status == "running":
            self.finish(ends_as(kind))

    def __reduce__(self) -> tuple[object, tuple[bytes, bytes, str]]:
        from boucle.runs.client.start import join_run

        begin = msgspec.structs.replace(self._begin, is_owner=False)
        return join_run, (ENCODER.encode(begin), self._destination.encoded(), str(self._root))

    def __repr__(self) -> str:
        return f"<run {self.id} {_short(self.name)!r} of {_short(self.experiment)!r}: {self.status}>"

    def _repr_html_(self) -> str:
        from boucle.runs.client.shown import as_html, duration

        ended_ms = self._ended_ms or time.time_ns() // 1_000_000
        facts = {
            "run": self.id,
            "experiment": self.experiment,
            "status": self.status,
            "duration": duration(ended_ms - self._begin.started_ms),
            "server" if self._destination.url else "store": str(self._destination),
            "project": self._destination.project or "the server's default",
        }
        return as_html(self.name, facts, self._params.copy(), self._newest.copy())

    def lose(self, message: str) -> None:
        """Count what could not be logged, and tell the first time why."""
        self._own_spool().lose(message)

    def beside(self, work: Callable[[], None]) -> None:
        """Do something in a thread that the run's end waits for a little."""
        thread = threading.Thread(target=work, name="boucle-beside", daemon=True)
        self._beside.append(thread)
        thread.start()

    def _open(self) -> None:
        spool = Spool(self._root, self._destination.encoded(), ENCODER.encode(self._begin))
        self._feed = Feed(spool, open_target(self._destination), str(self._destination))
        self._feed.run = self
        self._write = spool.append
        self._threads.add(self._feed, self._root, self._destination.server)

    def reopen(self, threads: Threads) -> None:
        """Go on in a forked child, beside the parent: with a spool and threads of its own."""
        self._gate = threading.Lock()
        self._beside = []
        self._threads = threads
        self._begin = msgspec.structs.replace(self._begin, is_owner=False)
        if self.status == "running":
            self._write = self._write_first

    def _write_first(self, payload: bytes) -> bool:
        self._own_spool()
        return self._write(payload)

    def _own_spool(self) -> Spool:
        """The spool of this process; a forked child opens one when there is something to put into it."""
        if self._write == self._write_first:
            with self._gate:
                if self._write == self._write_first:
                    self._open()
        return self._feed.spool

    def _keep(self, source: Path, artifact: str) -> None:
        """Copy a file into the spool, and name it."""
        spool = self._own_spool()
        try:
            if not source.is_file():  # a pipe would be waited for
                spool.lose(f"artifact {artifact} could not be kept: {str(source)!r} is no file")
                return
            digest, size = spool.put_file(source)
        except OSError as error:
            spool.lose(f"artifact {artifact} could not be kept: {error}")
            return
        self._add(Artifact(artifact, digest, size, time.time_ns() // 1_000_000))

    def _add(self, record: Params | Tags | Artifact | Dataset | End) -> None:
        payload = ENCODER.encode(record)
        if len(payload) > LARGEST:
            raise InvalidInput(
                f"that is {len(payload):,} bytes at once; allowed are {LARGEST:,}",
                hint="log it in parts, or as a file with run.log_file",
            )
        if not self._write(payload):
            self._check_open()

    def _checked(self, metrics: Mapping[str, SupportsFloat]) -> dict[str, float]:
        found = {}
        for name, value in metrics.items():
            if name not in self._newest:
                check_name(name)
            try:
                found[name] = float(value)
            except (TypeError, ValueError) as error:
                raise InvalidInput(f"metric {name!r} is {value!r}; allowed are numbers") from error
            except OverflowError as error:
                raise InvalidInput(f"metric {name!r} is too large; allowed are numbers up to 1.8e308") from error
        if len(found) > MOST_AT_ONCE:
            raise InvalidInput(f"{len(found):,} metrics at once; allowed are {MOST_AT_ONCE:,}")
        if len(self._newest) >= MOST_NAMES:  # names that never end must not fill the memory
            self._newest.clear()
        return found

    def _check_open(self) -> None:
        if self.status != "running":
            raise Conflict(f"run {self.id} has ended as {self.status!r}", hint="start a new run: boucle.start_run()")


def ends_as(kind: type[BaseException] | None) -> EndStatus:
    """How a run ends that was left with this exception, or without one."""
    if kind is None:
        return "finished"
    cancelled = getattr(sys.modules.get("asyncio"), "CancelledError", KeyboardInterrupt)
    return "interrupted" if issubclass(kind, KeyboardInterrupt | cancelled) else "failed"


def _ended(payload: bytes) -> bool:
    del payload
    return False


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
