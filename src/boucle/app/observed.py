"""A front that is looked at from outside: each request leaves a line in the access log, and a span in its trace.

It stands before the front only where one of both is asked for; otherwise requests meet the front itself.
"""

import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from boucle.app.access_log import Access, AccessLog
from boucle.app.front import Scope
from boucle.app.traces import Traces, trace_id, traces

REQUEST_ID: Final = "x-request-id"
GONE: Final = 499
"""The status of a request whose client left before its answer, as nginx has it."""


class App(Protocol):
    """What answers requests."""

    async def __rsgi__(self, scope: Scope, protocol: Any) -> None: ...


class Observers:
    """What looks at the requests of one process."""

    def __init__(self, access_log: str | None) -> None:
        self.log = None if access_log is None else AccessLog(access_log)
        self.traces = traces()

    def before(self, front: App) -> App:
        """The front, behind what looks at it."""
        return front if self.log is None and self.traces is None else Observed(front, self.log, self.traces)

    def close(self) -> None:
        """Write and send what waits."""
        if self.log is not None:
            self.log.close()
        if self.traces is not None:
            self.traces.close()


class Observed:
    """An app that is looked at."""

    def __init__(self, app: App, log: AccessLog | None, spans: Traces | None) -> None:
        self._app, self._log, self._spans = app, log, spans

    async def __rsgi__(self, scope: Scope, protocol: Any) -> None:
        began, at = time.perf_counter(), time.time()
        seen = _Seen(protocol)
        spans = self._spans
        span = None
        if spans is not None:
            facts = {"http.request.method": scope.method, "url.path": scope.path}
            span = spans.begin(scope.method, scope.headers, facts)
        try:
            await self._app.__rsgi__(scope, seen)
        finally:
            ms = round((time.perf_counter() - began) * 1000, 3)
            if spans is None or span is None:
                trace = trace_id(scope.headers)
            else:
                # A path that is answered is one of few; any other could be anything.
                name = f"{scope.method} {scope.path}" if seen.status < 400 else None
                code = {"http.response.status_code": seen.status}
                trace = spans.end(span, seen.request_id, code, failed=seen.status >= 500, name=name)
            if self._log is not None:
                self._log.add(_access(scope, seen, at, ms, trace))


class _Seen:
    """A request's protocol that remembers what was answered."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self.status = GONE
        self.request_id: str | None = None
        self.size: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol, name)

    def __call__(self) -> Any:
        return self._protocol()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._protocol)

    def response_bytes(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        self._note(status, headers, len(body))
        self._protocol.response_bytes(status, headers, body)

    def response_str(self, status: int, headers: Sequence[tuple[str, str]], body: str) -> None:
        self._note(status, headers, len(body.encode()))
        self._protocol.response_str(status, headers, body)

    def response_empty(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        self._note(status, headers, 0)
        self._protocol.response_empty(status, headers)

    def response_file(self, status: int, headers: Sequence[tuple[str, str]], *rest: Any) -> None:
        self._note(status, headers, None)
        self._protocol.response_file(status, headers, *rest)

    def response_file_range(self, status: int, headers: Sequence[tuple[str, str]], *rest: Any) -> None:
        self._note(status, headers, None)
        self._protocol.response_file_range(status, headers, *rest)

    def response_stream(self, status: int, headers: Sequence[tuple[str, str]]) -> Any:
        self._note(status, headers, None)
        return self._protocol.response_stream(status, headers)

    def _note(self, status: int, headers: Sequence[tuple[str, str]], size: int | None) -> None:
        self.status, self.size = status, size
        self.request_id = next((value for name, value in headers if name == REQUEST_ID), None)


def moment(at: float) -> str:
    """Seconds since the epoch, as lines have them."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _access(scope: Scope, seen: _Seen, at: float, ms: float, trace: str | None) -> Access:
    headers = scope.headers
    declared = headers.get("content-length") or ""
    return Access(
        at=moment(at),
        method=scope.method[:20],
        path=scope.path[:2000],
        status=seen.status,
        ms=ms,
        client=scope.client,
        bytes_in=int(declared) if declared.isascii() and declared.isdecimal() and len(declared) < 19 else None,
        bytes_out=seen.size,
        request_id=seen.request_id or (headers.get(REQUEST_ID) or "")[:256] or None,
        trace_id=trace,
        agent=(headers.get("user-agent") or "")[:200] or None,
    )
