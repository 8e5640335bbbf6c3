"""OpenTelemetry traces of requests, where OTEL_EXPORTER_OTLP_ENDPOINT says where to send them.

The libraries are loaded only then. A request that comes with a W3C `traceparent` is a part of that trace. What is
sampled, and all else, is read by the SDK from its own variables, https://opentelemetry.io/docs/specs/otel/configuration.
"""

import logging
import os
from typing import TYPE_CHECKING, Final

from boucle.identity.http import Headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_log: Final = logging.getLogger("boucle.traces")


class Traces:
    """Makes a span of each request and sends them in batches, by a thread of the SDK's own."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "boucle"}
        self._provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("boucle")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, name: str, headers: Headers, facts: "Mapping[str, str]") -> "Span":
        """The span of a request whose head has come."""
        from opentelemetry.trace import SpanKind

        carried = {name: value for name in ("traceparent", "tracestate") if (value := headers.get(name)) is not None}
        context = self._propagator.extract(carried)
        return self._tracer.start_span(name, context=context, kind=SpanKind.SERVER, attributes=dict(facts))

    def end(
        self,
        span: "Span",
        request_id: str | None,
        facts: "Mapping[str, int]",
        *,
        failed: bool,
        name: str | None = None,
    ) -> str:
        """The span's end, once the answer is handed over, maybe under another name; the id of its trace."""
        from opentelemetry.trace import Status, StatusCode

        span.set_attributes(dict(facts))
        if request_id is not None:
            span.set_attribute("boucle.request_id", request_id)
        if name is not None:
            span.update_name(name)
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end()
        return format(span.get_span_context().trace_id, "032x")

    def close(self) -> None:
        """Send what waits, as far as the collector takes it in time."""
        self._provider.shutdown()


def traces() -> Traces | None:
    """What the environment asks for; None, and nothing is loaded, where it asks for nothing."""
    if not any(os.environ.get(name) for name in ENDPOINTS) or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        return Traces()
    except ImportError:
        _log.warning("no traces are sent: OpenTelemetry is not installed; pip install 'boucle[otel]'")
        return None


def trace_id(headers: Headers) -> str | None:
    """The trace that a request says to be a part of, by its `traceparent` (https://www.w3.org/TR/trace-context).

    >>> trace_id({"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
    '4bf92f3577b34da6a3ce929d0e0e4736'
    >>> trace_id({"traceparent": "nonsense"}), trace_id({})
    (None, None)
    """
    parts = (headers.get("traceparent") or "").split("-")
    if len(parts) < 4 or len(parts[1]) != 32 or not set(parts[1]) <= set("0123456789abcdef") or set(parts[1]) == {"0"}:
        return None
    return parts[1]
