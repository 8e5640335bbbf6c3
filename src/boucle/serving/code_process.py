"""A model that is code, in a process of its own: whatever it does there, the worker and its other models go on.

A thread keeps the process: it starts it, and starts it again when it ended, ever later if it ends soon. That thread
lasts as long as the model is needed, and no other starts one: Linux ends a process with the thread that started it
(prctl(2), PR_SET_PDEATHSIG). Imported by the worker, which reads no more of the model than its manifest.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from boucle.kernel.errors import BoucleError, InvalidInput, Late, Unavailable
from boucle.packaging.encode import Values
from boucle.packaging.records import BundleManifest, Signature
from boucle.serving.code_messages import Answer, Ask, Begin, Channel, Ready, Refusal, error_of, packed, unpacked

START_S: Final = 120.0
"""How long loading a model may take."""
GRACE_S: Final = 10.0
"""How long after its deadline a question may still be computed; then the process is ended."""
MOST_S: Final = 600.0
"""How long a question without a deadline may be computed."""
END_S: Final = 2.0
"""How long the process may take to end by itself."""
REST_S: Final = 0.2
"""Before it is started again; twice as long each time, up to `MOST_REST_S`, unless it ran for `STEADY_S`."""
MOST_REST_S: Final = 30.0
STEADY_S: Final = 60.0
_log: Final = logging.getLogger("boucle.worker")


class CodePredictor:
    """Asks a model in its process. Safe to share by threads, which are answered one by one."""

    def __init__(self, manifest: BundleManifest, begin: Begin, called: str) -> None:
        """Starts it, and waits until it can be asked. What is wrong with the bundle is raised as if it was opened here;
        Unavailable if the process ends, or takes too long.
        """
        self.manifest = manifest
        self._process = CodeProcess(begin, called)
        self.end = weakref.finalize(self, self._process.end)
        """Ends the process; so does letting the last reference go."""
        self._process.started()

    @property
    def signature(self) -> Signature:
        """What goes in and what comes out."""
        return self.manifest.signature

    @property
    def pid(self) -> int | None:
        """Of its process, while that can be asked."""
        return self._process.pid

    def check(self) -> None:
        """Unavailable if it cannot be asked just now."""
        self._process.check()

    def predict(
        self, columns: Mapping[str, Values], nthread: int = 1, deadline: float | None = None
    ) -> dict[str, NDArray[np.float64] | list[str]]:
        """As `boucle.packaging.bundle.Predictor.predict`; the model itself knows by how many threads.

        `deadline` is a reading of `time.perf_counter`. Late if it was computing for `GRACE_S` beyond that, Unavailable
        while the process is started again, BoucleError if it ended over this very question.
        """
        del nthread
        try:
            outputs = self._process.ask(Ask(packed(columns)), deadline).outputs
        except (UnicodeEncodeError, OverflowError) as error:
            raise InvalidInput(f"the model refuses these rows: {error}") from error
        try:
            found = unpacked(outputs)
        except ValueError as error:
            raise BoucleError(f"the model answered no table: {error}") from error
        rows = len(next(iter(columns.values()), ()))
        for one in self.signature.outputs:
            values = found.get(one.name)
            is_text = isinstance(values, list)
            if values is None or is_text != (one.datatype == "BYTES") or np.shape(values) != (rows,):
                raise BoucleError(f"the model answered no {one.name!r} for each of {rows} rows")
        return {one.name: found[one.name] for one in self.signature.outputs}


class CodeProcess:
    """Keeps a process going. Safe for threads."""

    def __init__(self, begin: Begin, called: str) -> None:
        self._begin, self._called = begin, called
        self._asking = threading.Lock()
        self._change = threading.Condition()
        self._channel: Channel | None = None
        """While it can be asked."""
        self._process: subprocess.Popen[bytes] | None = None
        """While it is not waited for."""
        self._connection: Channel | None = None
        self._problem: BoucleError | None = None
        """Why it cannot be asked."""
        self._again = 0.0
        """When it is started again."""
        self._ended = threading.Event()
        threading.Thread(target=self._keep, name="code", daemon=True).start()

    @property
    def pid(self) -> int | None:
        """While it can be asked."""
        with self._change:
            return self._process.pid if self._channel is not None and self._process is not None else None

    def started(self) -> None:
        """Wait until it can be asked for the first time; raises why it cannot."""
        with self._change:
            self._change.wait_for(lambda: self._channel is not None or self._problem is not None)
            if self._channel is None and self._problem is not None:
                self._ended.set()
                raise self._problem

    def check(self) -> None:
        """Unavailable if it cannot be asked just now, with when it is started again."""
        with self._change:
            if self._channel is None:
                why = "is started" if self._problem is None else self._problem.message
                wait_s = max(1.0, self._again - time.perf_counter())
                raise Unavailable(f"{self._called} cannot be asked: {why}", retry_after_s=wait_s)

    def ask(self, question: Ask, deadline: float | None) -> Answer:
        """What it answers; see `CodePredictor.predict`."""
        until = time.perf_counter() + MOST_S if deadline is None else deadline + GRACE_S
        if not self._asking.acquire(timeout=max(0.0, (deadline or until) - time.perf_counter())):
            raise Late("the deadline was over before the answer was computed")
        try:
            self.check()
            channel = self._channel
            if channel is None:  # since a moment
                self.check()
                raise Unavailable(f"{self._called} is started again", retry_after_s=1.0)
            try:
                channel.send(question, until)
                said = channel.said(until)
            except TimeoutError as error:
                self._kill(channel)
                raise Late(f"{self._called} computed longer than it may, and was ended") from error
            except (OSError, EOFError) as error:
                raise self._died(channel) from error
            except msgspec.MsgspecError as error:
                self._kill(channel)
                raise BoucleError(f"{self._called} said what is no answer, and was ended: {error}") from error
        finally:
            self._asking.release()
        if isinstance(said, Refusal):
            raise error_of(said)
        if not isinstance(said, Answer):
            self._kill(channel)
            raise BoucleError(f"{self._called} said what is no answer, and was ended")
        return said

    def end(self) -> None:
        """Have it end: by itself if it can, soon in any case. Returns at once."""
        self._ended.set()
        with self._change:
            if self._connection is not None:
                self._connection.hang_up()
            if self._process is None:
                return
        try:
            timer = threading.Timer(END_S, self._kill)
            timer.daemon = True
            timer.start()
        except RuntimeError:  # the interpreter ends, and starts no thread any more
            self._kill()

    def _died(self, channel: Channel) -> BoucleError:
        with self._change:
            self._change.wait_for(lambda: self._channel is not channel, timeout=END_S)
            how = self._problem.message if self._problem is not None else "its process ended"
        return BoucleError(
            f"{self._called} did not live to answer: {how}",
            hint="do not send the same rows again before it is known why: the server's output may say",
        )

    def _kill(self, channel: Channel | None = None) -> None:
        """End the process, unless it is another one by now than the one of a channel."""
        with self._change:
            if self._process is not None and (channel is None or self._channel is channel):
                _kill_group(self._process.pid)

    def _keep(self) -> None:
        rest_s = REST_S
        was_ready = False
        while not self._ended.is_set():
            ready_at = self._live()
            if ready_at is None and not was_ready:
                return  # whoever waits for it is told
            if self._ended.is_set():
                return
            was_ready = True
            if ready_at is not None and time.perf_counter() - ready_at > STEADY_S:
                rest_s = REST_S
            with self._change:
                self._again = time.perf_counter() + rest_s
                _log.warning("%s: %s; it is started again in %g s", self._called, self._problem, rest_s)
            self._ended.wait(rest_s)
            rest_s = min(MOST_REST_S, 2 * rest_s)

    def _live(self) -> float | None:
        """One process, from start to end: when it was ready, if it was."""
        ready_at = None
        said: BoucleError | None = None
        try:
            process, channel = self._begun()
        except OSError as error:  # no process or descriptor can be had
            with self._change:
                self._problem = Unavailable(f"its process cannot be started: {error}")
                self._change.notify_all()
            return None
        try:
            until = time.perf_counter() + START_S
            channel.send(self._begin, until)
            answer = channel.said(until)
            if isinstance(answer, Ready):
                ready_at = time.perf_counter()
                with self._change:
                    self._channel, self._problem = channel, None
                    self._change.notify_all()
            else:
                said = error_of(answer) if isinstance(answer, Refusal) else None
                _kill_group(process.pid)
        except TimeoutError:
            said = Unavailable(f"{self._called} was not loaded in {START_S:g} s")
            _kill_group(process.pid)
        except (OSError, EOFError):
            pass  # how it ended is known soon
        except msgspec.MsgspecError as error:
            said = BoucleError(f"{self._called} said what nobody understands: {error}")
            _kill_group(process.pid)
        _wait(process)
        with self._change:
            self._process = self._connection = self._channel = None
            if process.returncode is None:  # it is not reaped yet, so the number is still its own
                _kill_group(process.pid)  # what it started itself
            how = _how(process.wait())
            while_loading = "" if ready_at is not None else " while the model was loaded"
            self._problem = said or Unavailable(f"its process ended{while_loading}: {how}")
            self._change.notify_all()
        channel.hang_up()  # whoever waits there, though what the process started may have the other end
        with self._asking:
            channel.close()
        return ready_at

    def _begun(self) -> tuple["subprocess.Popen[bytes]", Channel]:
        ours, theirs = socket.socketpair()
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from boucle.serving.code_main import main; main({theirs.fileno()}, {os.getpid()})"
        )
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing's
        try:
            process = subprocess.Popen(
                [sys.executable, *flags, "-c", program],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        channel = Channel(ours)
        with self._change:
            self._process, self._connection = process, channel
            if self._ended.is_set():
                channel.hang_up()
        return process, channel


def _wait(process: "subprocess.Popen[bytes]") -> None:
    """Until a process ended, without reaping it where the operating system can."""
    if hasattr(os, "waitid"):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    else:
        process.wait()


def _kill_group(pid: int) -> None:
    """End a process and what it started. Only while it is not reaped: its number is another's then."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _how(returncode: int) -> str:
    """How a process ended.

    >>> _how(3), _how(-11)
    ('exit 3', 'signal SIGSEGV')
    """
    if returncode >= 0:
        return f"exit {returncode}"
    with suppress(ValueError):
        return f"signal {signal.Signals(-returncode).name}"
    return f"signal {-returncode}"
