"""The control plane: every protocol's surface behind one front, in one process.

`run` is measured against granian's usual server, which keeps its worker in a second process: the same throughput, half
the start and less than half the memory (decision record 0017). What a second process would add is a new worker after a
crash; here whatever started `boucle up` sees its end and starts it again.
"""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from html import escape
from typing import Final

import msgspec
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

from boucle import __version__
from boucle.app import stopping
from boucle.app.connections import make_room, tell
from boucle.app.front import Front
from boucle.app.monitor_metrics import Metrics
from boucle.app.parts import read_parts
from boucle.identity.accounts import open_door
from boucle.identity.http import Request, Response, Route, Surface
from boucle.kernel.ports import hold_port
from boucle.protocols.control import Control
from boucle.protocols.mlflow import surface as mlflow
from boucle.protocols.native import surface as native
from boucle.protocols.native.errors import refuse

DRAIN_S: Final = 10.0
"""How long a stopping server waits for the answers that are under way."""
_READY_S: Final = 0.002
_SWITCH_S: Final = 0.0005
"""How long a thread that computes keeps Python's lock while another wants it. The writer gives it up at each statement
and waits for the loop to get it back; with Python's 5 ms, single metrics come at a tenth less a second."""
_log: Final = logging.getLogger("boucle.control")
_LOGGING: Final = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
    "loggers": {
        # Its only warning is that an embedded server is experimental, at every start.
        "_granian": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
        "boucle": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
    },
}


def surfaces(control: Control) -> list[Surface]:
    """Every protocol that is spoken here."""
    return [_plain(control), mlflow.surface(control), native.surface(control)]


def make_front(control: Control, names: Sequence[str] = ()) -> Front:
    """The control plane as an RSGI app."""
    return Front(surfaces(control), door=open_door(control.store), names=names, default_project=control.default_project)


def run(front: Front, host: str, port: int, announce: Callable[[], None]) -> None:
    """Answer until a signal comes; returns when what was being answered is answered. Needs the main thread.

    `announce` is called once the port answers. A second signal ends the process at once.
    """
    sys.setswitchinterval(_SWITCH_S)
    # What the program is made of stays for good. To look through it for garbage takes 25 ms of an answer now and then.
    gc.freeze()
    asyncio.run(_run(front, host, port, announce))


async def _run(front: Front, host: str, port: int, announce: Callable[[], None]) -> None:
    room = make_room()
    tell(room)
    server = Server(
        front,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=room,
        log_level=LogLevels.error,
        log_dictconfig=_LOGGING,
    )
    loop = asyncio.get_running_loop()
    came: list[int] = []

    def stop(number: int) -> None:
        came.append(number)
        if len(came) > 1:
            stopping.leave_again(number)
        server.stop()  # type: ignore[no-untyped-call]
        loop.call_later(DRAIN_S, give_up)

    def give_up() -> None:
        _log.warning("some requests took longer than %.0f s to end and are cut off", DRAIN_S)
        stopping.leave(0)

    for number in stopping.SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup`
            loop.add_signal_handler(number, stop, number)
    with hold_port(host, port):  # else the connection that asks whether the port answers may meet itself
        serving = loop.create_task(server.serve())
        ready = loop.create_task(_answers(host, port))
        await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
    if ready.done() and not came:
        announce()
    await serving
    ready.cancel()


async def _answers(host: str, port: int) -> None:
    """Wait until the port is listened on."""
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(_READY_S)
            continue
        writer.close()
        return


def _plain(control: Control) -> Surface:
    """What belongs to no protocol; its errors tell of every path that nobody else claims."""
    page = _page().encode()

    async def health(_: Request) -> Response:
        return Response(200, b"OK", "text/plain; charset=utf-8")

    async def parts(_: Request) -> Response:
        state = read_parts(control.store.home)
        return Response(200, msgspec.json.encode([] if state is None else state.parts), "application/json")

    measured = Metrics(control)

    def metrics(_: Request) -> Response:
        return Response(200, measured.exposition(), "text/plain; version=0.0.4; charset=utf-8")

    async def welcome(_: Request) -> Response:
        return Response(200, page, "text/html; charset=utf-8", (("content-security-policy", _ONLY_STYLE),))

    return Surface(
        routes=[
            Route("GET", "/", "public", welcome),
            Route("GET", "/health", "public", health),
            Route("GET", "/health/parts", "read", parts),
            Route("GET", "/metrics", "read", metrics),
        ],
        refuse=refuse,
    )


_ONLY_STYLE: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 42rem; margin: 12vh auto 0; padding: 0 1.5rem; color: #1d2b36 }
h1 { font-weight: 600; margin-bottom: .2rem } p { margin: .2rem 0 1.4rem }
dt { font-weight: 600 } dd { margin: 0 0 1rem } code { background: #eef2f5; border-radius: 4px; padding: .1rem .35rem }
@media (prefers-color-scheme: dark) { body { background: #14191d; color: #dde5ea } code { background: #242c33 } }
"""


def _page() -> str:
    """What a person sees who opens the address in a browser. Public, so it says nothing of what is stored."""
    addresses = (
        ("MLflow's clients", "MLFLOW_TRACKING_URI=<this address>"),
        ("one project's", "MLFLOW_TRACKING_URI=<this address>/p/NAME"),
        ("is it up?", "GET /health"),
    )
    rows = "".join(f"<dt>{escape(what)}</dt><dd><code>{escape(how)}</code></dd>" for what, how in addresses)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Boucle</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>Boucle {escape(__version__)}</h1><p>The tracking server and model registry of this machine.</p>"
        f"<dl>{rows}</dl><p>There are no web pages of runs here: links that MLflow's client prints end on this page. "
        "Look with <code>mlflow.search_runs</code>, a notebook or <code>boucle lineage RUN</code>.</p></html>\n"
    )
