"""gRPC calls that are looked at from outside, as `boucle.app.observed` looks at requests.

A call has the path of its method and, as its status, what the same outcome has over HTTP.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio

from boucle.app.access_log import Access, AccessLog
from boucle.app.observed import GONE, REQUEST_ID, moment
from boucle.app.traces import Traces, trace_id

_STATUS: Final[Mapping[str, int]] = {
    "OK": 200,
    "CANCELLED": GONE,
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
Call: TypeAlias = Callable[[Any, Any], Awaitable[bytes]]


class ObservedCalls(grpc.aio.ServerInterceptor):
    """Stands before each call: a line in the access log, a span in its trace."""

    def __init__(self, log: AccessLog | None, spans: Traces | None) -> None:
        self._log, self._spans = log, spans

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """The handler of a call, behind what looks at it."""
        handler = await continuation(details)
        if handler is None:  # no such call
            return None
        return grpc.unary_unary_rpc_method_handler(self._seen(details.method, handler.unary_unary))

    def _seen(self, method: str, call: Call) -> Call:
        async def answered(data: bytes, context: Any) -> bytes:
            began, at = time.perf_counter(), time.time()
            sent = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
            span = self._begin(method, sent)
            status, size = "", None
            try:
                answer = await call(data, context)
                status, size = "OK", len(answer)
                return answer
            except Exception:
                status = _named(context.code()) or "INTERNAL"
                raise
            finally:  # without an exception that is caught, the client left
                ms = round((time.perf_counter() - began) * 1000, 3)
                request_id = dict(context.trailing_metadata() or ()).get(REQUEST_ID) or sent.get(REQUEST_ID)
                status = status or "CANCELLED"
                trace = trace_id(sent) if span is None else self._end(span, status, request_id)
                if self._log is not None:
                    self._log.add(
                        Access(
                            at=moment(at),
                            method="POST",
                            path=method[:2000],
                            status=_STATUS.get(status, 500),
                            grpc_status=status,
                            ms=ms,
                            client=context.peer(),
                            bytes_in=len(data),
                            bytes_out=size,
                            request_id=request_id,
                            trace_id=trace,
                            agent=sent.get("user-agent", "")[:200] or None,
                        )
                    )

        return answered

    def _begin(self, method: str, sent: Mapping[str, str]) -> Any:
        if self._spans is None:
            return None
        service, _, name = method.strip("/").rpartition("/")
        facts = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        return self._spans.begin(f"{service}/{name}", dict(sent), facts)

    def _end(self, span: Any, status: str, request_id: str | None) -> str:
        assert self._spans is not None
        facts = {"rpc.grpc.status_code": getattr(grpc.StatusCode, status).value[0]}
        return self._spans.end(span, request_id, facts, failed=_STATUS.get(status, 500) >= 500)


def _named(code: Any) -> str:
    """The name of a status that a context holds: grpc has it as a number or as what the number means."""
    if isinstance(code, grpc.StatusCode):
        return code.name
    return next((one.name for one in grpc.StatusCode if one.value[0] == code and code), "")
