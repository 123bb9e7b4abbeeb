"""Traces: OpenTelemetry's SDK, set up by its own variables, so that it outlives forks and exits.

Every request and every job has a trace, and its id in all of its lines, whether it is recorded or
not. What is recorded, one in ten by default and whatever the caller's own trace says, is exported
over OTLP where OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT) says to; without one, nothing is.

FastAPI's native telemetry is off: it took 41 us of CPU for a request that is not recorded, half of
what a bare one takes. `make bench-observability` measures ours.
"""

import os
import random
import re
import threading
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import (
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBasedTraceIdRatio
from opentelemetry.trace import SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy import Engine, event
from typing_extensions import override

from app.core.config import ConfigurationError

# Of traces that begin here; those that come in have been decided.
DEFAULT_RATIO = 0.1

# Seconds that an exit waits for what is not exported yet. A worker's children and then its parent
# wait: two of it are what a dead collector may cost a drain.
FLUSH_WITHIN = 0.9

# Neither a span of the caller's, nor one that a task left behind in this context.
ROOT = Context()

W3C = TraceContextTextMapPropagator()

# Before a provider is set, and after: it asks the one that there is.
tracer = trace.get_tracer("heavylift", version("heavylift"))


class _Batches(SpanProcessor):
    """The batch processor of whichever process it is in.

    It is made with a process's first span: one that was inherited through a fork would share its
    connection, and the SDK's own starts a thread in every child.

    What a process has of a trace leaves it as a whole, once its own outermost span has ended: of a
    worker that is killed in the middle, no statement stays behind whose parent nobody ever sees.
    """

    # Spans of one trace; a longer one leaves in parts.
    MOST = 1000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inner: BatchSpanProcessor | None = None
        self._outermost: Counter[int] = Counter()
        self._held: dict[int, list[ReadableSpan]] = {}
        os.register_at_fork(
            before=self._lock.acquire,
            after_in_parent=self._lock.release,
            after_in_child=self._forget,
        )

    def _forget(self) -> None:
        self._inner = None
        self._outermost.clear()
        self._held.clear()
        self._lock.release()

    @override
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.context is not None and _is_outermost(span):
            with self._lock:
                self._outermost[span.context.trace_id] += 1

    @override
    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None:
            return
        trace_id = span.context.trace_id
        with self._lock:
            held = self._held.setdefault(trace_id, [])
            held.append(span)
            if _is_outermost(span):
                self._outermost[trace_id] -= 1
            if self._outermost[trace_id] > 0 and len(held) < self.MOST:
                return
            del self._held[trace_id]
            if self._outermost[trace_id] <= 0:
                del self._outermost[trace_id]
            if self._inner is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

                self._inner = BatchSpanProcessor(OTLPSpanExporter())
            inner = self._inner
        for one in held:
            inner.on_end(one)

    @override
    def shutdown(self) -> None:
        if self._inner is not None:
            self._inner.shutdown()  # type: ignore[no-untyped-call]

    @override
    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner is None or self._inner.force_flush(timeout_millis)


def _is_outermost(span: ReadableSpan) -> bool:
    return span.parent is None or span.parent.is_remote


_batches: _Batches | None = None


def _exported() -> bool:
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get(
        "OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    return bool(endpoint) and os.environ.get("OTEL_TRACES_EXPORTER", "otlp") != "none"


def _ratio() -> float | None:
    """None: OTEL_TRACES_SAMPLER says what it is, and the SDK reads it."""
    if not _exported():
        return 0
    if "OTEL_TRACES_SAMPLER" in os.environ:
        return None
    given = os.environ.get("OTEL_TRACES_SAMPLER_ARG", str(DEFAULT_RATIO))
    try:
        return min(max(float(given), 0), 1)
    except ValueError:
        raise ConfigurationError(f"OTEL_TRACES_SAMPLER_ARG: write {given!r} as 0.1") from None


# Of requests that begin a trace here: those that are recorded, and what records them. The SDK
# takes 5 us to find out that it is to record nothing, a tenth of what a bare request takes.
_begun_here: tuple[float, trace.Tracer] | None = None


def configure_tracing(part: str) -> None:
    """Once in a process, its children included; later calls change nothing.

    Raises `ConfigurationError`.
    """
    global _batches, _begun_here  # noqa: PLW0603 - there is one provider in a process
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    ours = Resource({SERVICE_NAME: f"heavylift-{part}", SERVICE_VERSION: version("heavylift")})
    # What the environment says outranks ours.
    resource = Resource.create().merge(ours).merge(OTELResourceDetector().detect())
    ratio = _ratio()
    sampler = None if ratio is None else ParentBasedTraceIdRatio(ratio) if ratio else ALWAYS_OFF
    provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
    if _exported():
        # Now, and not on an event loop with the first span; children inherit what is loaded.
        import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: F401

        _batches = _Batches()
        provider.add_span_processor(_batches)
    trace.set_tracer_provider(provider)
    # By a name of its own: the provider keeps one for each, and ours is the one that decides.
    decided = provider.get_tracer("heavylift.requests", version("heavylift"))
    if ratio is not None and isinstance(decided, Tracer):
        decided.sampler = ALWAYS_ON
        _begun_here = ratio, decided


def start_server_span(name: str, carrier: Mapping[str, str]) -> trace.Span:
    """Of a request, in the trace that its headers name or in one of its own."""
    if carrier:
        span = tracer.start_span(name, W3C.extract(carrier, ROOT), kind=SpanKind.SERVER)
    elif _begun_here is None:
        span = tracer.start_span(name, ROOT, kind=SpanKind.SERVER)
    elif random.random() < _begun_here[0]:  # noqa: S311
        span = _begun_here[1].start_span(name, ROOT, kind=SpanKind.SERVER)
    else:
        return unrecorded()
    # Where the SDK is off (OTEL_SDK_DISABLED), there are ids as well.
    return span if span.get_span_context().is_valid else unrecorded()


def exporting() -> bool:
    """Whether a span of this process goes anywhere."""
    return _batches is not None


def _within(seconds: float, step: Any) -> None:
    """The SDK's own timeouts are not kept (22 s with a dead collector were measured)."""
    thread = threading.Thread(target=step, name="flush", daemon=True)
    thread.start()
    thread.join(seconds)


def flush() -> None:
    """Export what there is, for `FLUSH_WITHIN` at most."""
    if _batches is not None:
        _within(FLUSH_WITHIN, _batches.force_flush)


def stop_tracing() -> None:
    """Export what there is, for `FLUSH_WITHIN` at most; what a process does before it exits."""
    if _batches is not None:
        _within(FLUSH_WITHIN, _batches.shutdown)


class Flush:
    """Exports at once, in a thread of its own: who may be killed any time leaves little unsaid."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def soon(self) -> None:
        if _batches is None or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=_batches.force_flush, name="flush", daemon=True)
        self._thread.start()


# --- contexts -------------------------------------------------------------------------------------


def traceparent(context: SpanContext) -> str | None:
    """W3C Trace Context, version 00; None for no context at all."""
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def current_traceparent() -> str | None:
    return traceparent(trace.get_current_span().get_span_context())


def remote(parent: str | None) -> Context:
    """The context that a `traceparent` names; an empty one, which begins a trace, for none."""
    return W3C.extract({} if parent is None else {"traceparent": parent}, Context())


def trace_id(context: SpanContext) -> str:
    """32 hexadecimal digits; only zeros where OTEL_SDK_DISABLED is set."""
    return f"{context.trace_id:032x}"


def unrecorded() -> trace.Span:
    """In a trace of its own, which has an id like any other."""
    trace_id, span_id = random.getrandbits(128), random.getrandbits(64)
    return trace.NonRecordingSpan(trace.SpanContext(trace_id, span_id, False))


def trace_of(parent: str | None) -> str:
    """The trace's id in a `traceparent`; empty where there is none. Raises nothing."""
    return "" if parent is None else parent[3:35]


def link_to(parent: str | None) -> list[trace.Link]:
    context = trace.get_current_span(remote(parent)).get_span_context()
    return [trace.Link(context)] if context.is_valid else []


# --- statements -----------------------------------------------------------------------------------

# What a statement changes; `FOR UPDATE` and `DO UPDATE` change nothing of their own.
CHANGES = re.compile(r"(?<!FOR )(?<!KEY )(?<!DO )\b(INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)")
READS = re.compile(r"\bFROM\s+([a-z_]\w*)")


@lru_cache(maxsize=512)
def summary(statement: str) -> str:
    """`INSERT jobs INSERT job_runs`: what it changes, else what it reads first (semconv's
    `db.query.summary`)."""
    changes = [f"{verb.split()[0]} {table}" for verb, table in CHANGES.findall(statement)]
    if changes:
        return " ".join(dict.fromkeys(changes))
    table = READS.search(statement)
    return f"SELECT {table[1]}" if table else statement.split(maxsplit=1)[0][:20]


def trace_statements(engine: Engine) -> None:
    """Spans for statements inside a recorded span; loops, which have none, begin no traces.

    (OpenTelemetry's own instrumentation refuses SQLAlchemy 2.1, and begins one for each.)
    """
    constant = {"db.system.name": "postgresql", "db.namespace": engine.url.database or ""}

    @event.listens_for(engine, "before_cursor_execute")
    def begin(_: Any, __: Any, statement: str, ___: Any, context: Any, ____: bool) -> None:
        if context is None or not trace.get_current_span().is_recording():
            return
        if statement.startswith("BEGIN"):
            return
        short = summary(statement)
        attributes = {
            **constant,
            "db.operation.name": short.split(" ", 1)[0],
            "db.query.summary": short,
            # All values are parameters, and those are not here.
            "db.query.text": statement,
        }
        context.heavylift_span = tracer.start_span(
            short, kind=SpanKind.CLIENT, attributes=attributes
        )

    @event.listens_for(engine, "after_cursor_execute")
    def end(_: Any, __: Any, ___: str, ____: Any, context: Any, _____: bool) -> None:
        span = getattr(context, "heavylift_span", None)
        if span is not None:
            span.end()

    @event.listens_for(engine, "handle_error")
    def fail(error: Any) -> None:
        span = getattr(error.execution_context, "heavylift_span", None)
        if span is not None:
            # Not its message: that may quote a row.
            cause = error.original_exception
            state = getattr(cause, "sqlstate", None)
            if state is not None:
                span.set_attribute("db.response.status_code", state)
            span.set_attribute("error.type", state or type(cause).__name__)
            span.set_status(StatusCode.ERROR)
            span.end()
