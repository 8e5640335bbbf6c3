"""The process of a model that is code: it opens the bundle, and answers its worker until that hangs up.

It trusts no more than the worker does: what is loaded are bytes that a trusted key signed.
"""

import contextlib
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

from boucle.kernel.errors import BoucleError, Unavailable
from boucle.packaging.bundle import Predictor, open_bundle
from boucle.packaging.trust import Trust
from boucle.serving.code_messages import Answer, Ask, Begin, Channel, Ready, Refusal, packed, refusal, unpacked
from boucle.serving.warming import warm

_PDEATHSIG: Final = 1
"""PR_SET_PDEATHSIG of prctl(2): the signal that this process gets when whoever started it ends."""
_FIRST: Final = 500
"""Where memory is short, Linux ends this process rather than a worker (proc(5), oom_score_adj)."""


def main(descriptor: int, worker: int) -> None:
    """Do what the worker of that process id asks for over a socket, until it hangs up or ends."""
    _end_with(worker)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a platform's reaches every process; the worker says when to end
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)
    channel = Channel(connection)
    begin = channel.task()
    if not isinstance(begin, Begin):
        return
    opened = _opened(begin)
    if isinstance(opened, Refusal):
        channel.send(opened)
        return
    channel.send(Ready())
    while isinstance(ask := channel.task(), Ask):
        channel.send(_answer(opened, ask))


def _end_with(worker: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):
            said = Path("/proc/self/oom_score_adj")
            if int(said.read_text()) < _FIRST:  # a platform may have said more of all its processes
                said.write_text(str(_FIRST))
    if os.getppid() != worker:  # it ended before that was said
        os._exit(1)


def _opened(begin: Begin) -> Predictor | Refusal:
    try:
        trust = Trust(keys=begin.keys, allow_code=True)
        signature = None if begin.signature is None else Path(begin.signature)
        predictor = open_bundle(Path(begin.folder), trust, signature)
        warm(predictor)
    except BoucleError as error:
        return refusal(error)
    except Exception as error:  # noqa: BLE001 - the edge of a plugin: who waits is told
        return refusal(Unavailable(f"the model cannot be loaded: {type(error).__name__}: {error}"))
    return predictor


def _answer(predictor: Predictor, ask: Ask) -> Answer | Refusal:
    try:
        return Answer(packed(predictor.predict(unpacked(ask.columns))))
    except BoucleError as error:
        return refusal(error)
    except Exception as error:  # noqa: BLE001 - the same
        return refusal(BoucleError(f"the model failed: {type(error).__name__}: {error}"))
