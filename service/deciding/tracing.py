"""Traces, off unless GENLOCK_TRACING is set: one span for each command, and one for the transaction of its batch.

A command's `traceparent` makes its span a child of the publisher's, and its outcome carries the span's own; the
`tracestate` goes along with it. A batch of one is a child of its command, so that one trace shows the statements too; a
larger batch belongs to many traces, and links to them.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Verdict
from genlock.service.ledger.events import verdict_name

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer("genlock")


class TracingError(Exception):
    """Tracing was asked for and cannot be had; the message says what to do."""


@dataclass(frozen=True, slots=True)
class BatchTrace:
    """The spans of a batch's commands, by command id; empty while tracing is off."""

    spans: Mapping[str, Span]

    def context(self, command: Command) -> dict[str, str]:
        """The W3C trace context of the span that decides the command: `traceparent`, and perhaps `tracestate`."""
        carrier: dict[str, str] = {}
        if span := self.spans.get(command.id):
            _PROPAGATOR.inject(carrier, trace.set_span_in_context(span))
        return carrier

    def decided(self, command: Command, verdict: Verdict) -> None:
        """Note the verdict in the command's span."""
        if span := self.spans.get(command.id):
            span.set_attribute("genlock.verdict", verdict_name(verdict))


OFF = BatchTrace({})


@contextlib.contextmanager
def batch(commands: Sequence[Command]) -> Iterator[BatchTrace]:
    """Trace the transaction of a batch."""
    if not _tracing():
        yield OFF
        return
    spans = {command.id: _start(command) for command in commands}
    links = [Link(span.get_span_context()) for span in spans.values()]
    alone = trace.set_span_in_context(next(iter(spans.values()))) if len(spans) == 1 else None
    try:
        with _TRACER.start_as_current_span(
            "decide batch",
            alone,
            links=None if alone else links,
            attributes={"messaging.batch.message_count": len(commands)},
        ):
            yield BatchTrace(spans)
    finally:
        for span in spans.values():
            span.end()


def _tracing() -> bool:
    """Tell whether a tracer provider is set up; without one the API makes spans that record nothing."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def _start(command: Command) -> Span:
    told = {"traceparent": command.traceparent, "tracestate": command.tracestate}
    parent = _PROPAGATOR.extract({name: value for name, value in told.items() if value is not None})
    return _TRACER.start_span(
        f"decide {command.type or 'command.unknown'}",
        parent,
        kind=SpanKind.CONSUMER,
        attributes={
            "messaging.system": "rabbitmq",
            "messaging.message.id": command.id,
            "genlock.command.type": command.type,
            "genlock.record.kind": command.kind or "",
            "genlock.record.id": command.subject,
        },
    )


def configure() -> None:
    """Export spans over OTLP, as the standard OTEL_… variables say, and trace asyncpg's statements.

    Raises TracingError where the packages of the extra `tracing` are missing.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
        from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise TracingError("GENLOCK_TRACING is set: install genlock[tracing] too.") from error
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come before this default.
    provider = TracerProvider(resource=Resource({"service.name": "genlock"}).merge(Resource.create()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    AsyncPGInstrumentor().instrument()  # type: ignore[no-untyped-call]  # as the library has it
