"""The spans of a job's life after its request: each message, each attempt, each loss.

All of them are in the trace of the request that submitted the job, whose context lies in the job's
row: a retry, a rescue or a restart of every process in between changes nothing of that.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from app.core.telemetry import link_to, remote, traceparent, tracer
from app.models.job import JobState
from app.services.ledger import Change, Claim, Message, Origin
from worker.messages import queue_name

# What a change of a running job's state says of the attempt.
OUTCOMES = {JobState.SCHEDULED: "retried", JobState.QUEUED: "released"}


def outcome(change: Change) -> str:
    return OUTCOMES.get(change.state, change.state.value)


def _job(origin: Origin, attempt: int) -> dict[str, str | int]:
    return {
        "heavylift.job.id": str(origin.job_id),
        "heavylift.job.kind": origin.kind,
        "heavylift.job.attempt": attempt,
    }


def _message(pool: str, build: str | None, operation: str) -> dict[str, str]:
    return {
        "messaging.system": "redis",
        "messaging.destination.name": queue_name(pool, build),
        "messaging.operation.type": operation,
    }


@contextmanager
def sending(message: Message, origin: Origin | None) -> Iterator[str | None]:
    """The `traceparent` that goes with the message: None where nothing is recorded."""
    span: Span = trace.INVALID_SPAN
    if origin is not None:
        span = tracer.start_span(
            f"dispatch {origin.kind}", remote(origin.traceparent), kind=SpanKind.PRODUCER
        )
    if not span.is_recording():
        yield None
        return
    # The attempt that it asks for.
    span.set_attributes(_job(origin, message.attempt + 1))  # type: ignore[arg-type]
    span.set_attributes(_message(message.pool, message.build, "send"))
    span.set_attribute("messaging.message.id", message.task_id)
    try:
        yield traceparent(span.get_span_context())
    except Exception as error:
        fail(span, type(error).__name__)
        raise
    finally:
        span.end()


@contextmanager
def running(claim: Claim, pool: str, message: str | None) -> Iterator[Span]:
    """The attempt's span, current within; `message` is the context that its message came with."""
    origin = Origin(claim.job_id, claim.kind, claim.traceparent, None)
    span = tracer.start_span(
        f"run {claim.kind}", remote(message or claim.traceparent), kind=SpanKind.CONSUMER
    )
    if span.is_recording():
        span.set_attributes(_job(origin, claim.attempt))
        span.set_attributes(_message(pool, None, "process"))
        for link in link_to(claim.traceparent):
            span.add_link(link.context)
    with trace.use_span(
        span, end_on_exit=True, record_exception=False, set_status_on_exception=False
    ):
        yield span


def ended(span: Span, how: str) -> None:
    span.set_attribute("heavylift.job.outcome", how)


def fail(span: Span, error: str) -> None:
    span.set_attribute("error.type", error)
    span.set_status(StatusCode.ERROR)


def run_ended_by_parent(
    origin: Origin, attempt: int, message: str | None, *, seconds: float, how: str, error: str
) -> None:
    """The span of an attempt whose child was killed before it could write its own."""
    now = time.time_ns()
    span = tracer.start_span(
        f"run {origin.kind}",
        remote(message or origin.traceparent),
        kind=SpanKind.CONSUMER,
        start_time=now - int(seconds * 1e9),
    )
    if span.is_recording():
        span.set_attributes(_job(origin, attempt))
        ended(span, how)
        fail(span, error)
        for link in link_to(origin.traceparent):
            span.add_link(link.context)
    span.end(now)


def lost(origin: Origin, attempt: int) -> None:
    """Stands for the run of an attempt that was lost with its worker."""
    span = tracer.start_span(
        "job.lost", remote(origin.traceparent), start_time=_nanoseconds(origin.started_at)
    )
    if span.is_recording():
        span.set_attributes(_job(origin, attempt))
        ended(span, "lost")
        fail(span, "worker-lost")
    span.end()


def _nanoseconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1e9)
