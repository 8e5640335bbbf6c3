"""A run as the training program holds it: everything logged is in a spool before the call returns."""

import operator
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, SupportsFloat, SupportsIndex

import msgspec

from boucle.kernel.errors import Conflict, InvalidInput
from boucle.runs import limits
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
)
from boucle.runs.spool.spool import Spool

LARGEST_STEP: Final = 2**53
FINISH_S: Final = 10.0
BESIDE_S: Final = 5.0
"""How long the end of a run waits for what is found out beside it."""
_BAD_PATH: Final = re.compile(r"[\0-\x1f\x7f\\]")
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
        self._names: set[str] = set()
        self._last: dict[str, float] = {}
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
        at_ms: int | None = None,
    ) -> None:
        """Log values of metrics at a step: `run.log({"loss": 0.3}, step=5)` or `run.log("loss", 0.3, step=5)`."""
        if type(metrics) is not dict:
            metrics = _as_metrics(metrics, value)
        names = self._names
        for name, one in metrics.items():
            if type(one) is not float or name not in names:
                metrics = self._checked(metrics)
                break
        if type(step) is not int or not -LARGEST_STEP <= step <= LARGEST_STEP:
            step = _checked_step(step)
        if not self._write(ENCODER.encode((POINTS, at_ms or time.time_ns() // 1_000_000, step, metrics))):
            self._check_open()
        self._last = metrics  # type: ignore[assignment]  # checked above

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Log params; one that has a value already keeps it."""
        self._add(Params(checked_params(params)))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags; one that is there already gets the new value."""
        self._add(Tags(checked_tags(tags)))

    def log_file(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Keep a copy of a file as an artifact, called `name` or as the file is. Takes as long as copying does."""
        source = Path(path)
        self._check_open()
        artifact = _artifact_name(name or source.name)
        if not source.is_file():
            raise InvalidInput(f"{str(source)!r} is no file; allowed are files that can be read")
        try:
            digest, size = self._feed.spool.put_file(source)
        except OSError as error:
            self._feed.spool.lose(f"artifact {artifact} could not be kept: {error}")
            return
        self._add(Artifact(artifact, digest, size, time.time_ns() // 1_000_000))

    def log_text(self, text: str, name: str) -> None:
        """Keep a text as an artifact."""
        self._check_open()
        artifact = _artifact_name(name)
        try:
            with tempfile.NamedTemporaryFile(prefix="boucle-") as file:
                file.write(text.encode(errors="replace"))
                file.flush()
                digest, size = self._feed.spool.put_file(Path(file.name))
        except OSError as error:
            self._feed.spool.lose(f"artifact {artifact} could not be kept: {error}")
            return
        self._add(Artifact(artifact, digest, size, time.time_ns() // 1_000_000))

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
            if self._begin.is_owner:
                self._add(End(status, time.time_ns() // 1_000_000))
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
            stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
            self.finish("interrupted" if stopped else "finished" if kind is None else "failed")

    def __reduce__(self) -> tuple[object, tuple[bytes, bytes, str]]:
        from boucle.runs.client.start import join_run

        begin = msgspec.structs.replace(self._begin, is_owner=False)
        return join_run, (ENCODER.encode(begin), self._destination.encoded(), str(self._root))

    def __repr__(self) -> str:
        return f"<run {self.name} ({self.id}) of {self.experiment}: {self.status}>"

    def _repr_html_(self) -> str:
        from boucle.runs.client.shown import as_html

        rows = {"run": self.id, "experiment": self.experiment, "status": self.status, "to": str(self._destination)}
        return as_html(self.name, rows, self._last)

    def beside(self, work: Callable[[], None]) -> None:
        """Do something in a thread that the run's end waits for a little."""
        thread = threading.Thread(target=work, name="boucle-beside", daemon=True)
        self._beside.append(thread)
        thread.start()

    def _open(self) -> None:
        spool = Spool(self._root, self._destination.encoded(), ENCODER.encode(self._begin))
        self._write = spool.append
        self._feed = Feed(spool, open_target(self._destination), str(self._destination))
        self._threads.add(self._feed, self._root)

    def reopen(self, threads: Threads) -> None:
        """Go on in a forked child, beside the parent: with a spool and threads of its own."""
        self._gate = threading.Lock()
        self._beside = []
        self._threads = threads
        self._begin = msgspec.structs.replace(self._begin, is_owner=False)
        if self.status == "running":
            self._feed.spool.abandon()
            self._write = self._write_first

    def _write_first(self, payload: bytes) -> bool:
        """Open this process's own spool when there is something to put into it."""
        with self._gate:
            if self._write == self._write_first:
                self._open()
        return self._write(payload)

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
            if name not in self._names:
                _check_name(name)
                if len(self._names) < 10_000:
                    self._names.add(name)
            try:
                found[name] = float(value)
            except (TypeError, ValueError) as error:
                raise InvalidInput(f"metric {name!r} is {value!r}; allowed are numbers") from error
        if len(found) > 10_000:
            raise InvalidInput(f"{len(found):,} metrics at once; allowed are 10,000")
        return found

    def _check_open(self) -> None:
        if self.status != "running":
            raise Conflict(f"run {self.id} has ended as {self.status!r}", hint="start a new run: boucle.start_run()")


def _ended(payload: bytes) -> bool:
    del payload
    return False


def _as_metrics(metrics: Mapping[str, SupportsFloat] | str, value: SupportsFloat | None) -> dict[str, SupportsFloat]:
    if isinstance(metrics, str):
        if value is None:
            raise InvalidInput(f"metric {metrics!r} has no value", hint=f'run.log("{metrics}", 0.5, step=1)')
        return {metrics: value}
    return dict(metrics)


def _checked_step(step: SupportsIndex) -> int:
    try:
        number = operator.index(step)
    except TypeError as error:
        raise InvalidInput(f"step is {step!r}; allowed are whole numbers") from error
    if abs(number) > LARGEST_STEP:
        raise InvalidInput(f"step is {number}; allowed are -2**53 to 2**53")
    return number


def shortened(params: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
    """Params whose texts are cut to what a store takes."""
    return {name: value[:500] if isinstance(value, str) else value for name, value in params.items()}


def check_text(what: str, text: str, longest: int) -> None:
    """Raise InvalidInput for text that no store takes."""
    try:
        text.encode()
    except (UnicodeEncodeError, AttributeError) as error:
        raise InvalidInput(f"{what} is {text!r}; allowed is text") from error
    if len(text) > longest or "\0" in text:
        raise InvalidInput(f"{what} is {text[:60]!r}, {len(text)} characters; allowed are {longest}, without NUL")


def _check_name(name: str) -> None:
    if not isinstance(name, str):
        raise InvalidInput(f"{name!r} cannot name anything in a run; allowed is text")
    limits.check_name(name, "name")
    limits.check_text(name, "name")


def checked_params(params: Mapping[str, object]) -> dict[str, ParamValue]:
    found: dict[str, ParamValue] = {}
    for name, value in params.items():
        _check_name(name)
        plain = value if isinstance(value, str | int | float | bool | None) else str(value)
        if isinstance(plain, int) and not -(2**63) <= plain < 2**63:
            plain = str(plain)
        if isinstance(plain, str):
            check_text(f"param {name!r}", plain, 6000)
        found[name] = plain
    return found


def checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name, value in tags.items():
        _check_name(name)
        found[name] = str(value)
        check_text(f"tag {name!r}", found[name], 8000)
    return found


def _artifact_name(name: str) -> str:
    parts = name.split("/")
    if not name or len(name) > 500 or _BAD_PATH.search(name) or any(one in ("", ".", "..") for one in parts):
        raise InvalidInput(
            f"artifact name {name!r} is no relative path; allowed are names such as plots/roc.png, without . and .."
        )
    check_text("artifact name", name, 500)
    return name
