"""Sends one command under a span of its own, with a service and its database traced too, and prints the spans.

A process of its own, because a tracer provider is set once for a process.
"""

import asyncio
import json
import secrets
import sys

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

import genlock
from genlock.consumers.process import logs
from genlock.service.settings import Settings
from tests.support.harness import serving


def _caller() -> Context:
    """The context of the publisher's caller, with the state of another tracer."""
    state = TraceState([("vendor", "of-the-caller")])
    span = SpanContext(
        secrets.randbits(127) + 1,
        secrets.randbits(63) + 1,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=state,
    )
    return trace.set_span_in_context(NonRecordingSpan(span))


async def main() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    AsyncPGInstrumentor().instrument()  # type: ignore[no-untyped-call]  # as the library has it
    settings = Settings()
    logs.configure(settings)
    tracer = trace.get_tracer("publisher")
    async with (
        serving(settings),
        genlock.connect(settings.amqp_url.get_secret_value(), namespace=settings.namespace) as client,
    ):
        command = genlock.command(genlock.DocumentPut(expected_generation=None, body={}), subject="traced")
        with tracer.start_as_current_span("publish", _caller()):
            outcome = await client.send(command)
    spans = [
        {
            "name": span.name,
            "trace": format(span.context.trace_id, "032x"),
            "span": format(span.context.span_id, "016x"),
            "parent": format(span.parent.span_id, "016x") if span.parent else None,
            "attributes": dict(span.attributes or {}),
        }
        for span in exporter.get_finished_spans()
        if span.context
    ]
    traced = {"traceparent": outcome.traceparent, "tracestate": outcome.tracestate, "spans": spans}
    json.dump(traced, sys.stdout, default=str)


if __name__ == "__main__":
    asyncio.run(main())
