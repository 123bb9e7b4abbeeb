"""A child's work: claim, run, and a finish that is fenced by the attempt."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from obstore.store import ObjectStore
from opentelemetry import trace
from opentelemetry.trace import Span
from pydantic import BaseModel, ValidationError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from app.core.config import Settings
from app.core.db import sync_engine
from app.core.masking import faults
from app.core.outages import Fault, fault, reason
from app.core.scratch import remove_folder
from app.core.storage import open_store
from app.core.telemetry import Flush, trace_id, trace_statements
from app.core.text import text_of
from app.jobs import JobKind
from app.jobs.results import stored_result
from app.models.job import JobState
from app.services import ledger
from app.services.ledger import Change, Retention
from worker import tracing
from worker.announce import Announcer
from worker.context import Attempt
from worker.identity import Identity
from worker.interpreter import apart
from worker.outcome import (
    INTERNAL,
    MAX_DETAIL,
    Failed,
    Outcome,
    Succeeded,
    failure_of,
    outcome_of,
)
from worker.persist import persist
from worker.slots import Order, Slots
from worker.surroundings import Surroundings

log = structlog.get_logger()


class Executor:
    """One child's. Made after the fork: connections and stores do not survive one."""

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        slots: Slots,
        *,
        slot: int,
        scratch: Path,
        memory_per_slot: int,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._slots = slots
        self._slot = slot
        self._memory_per_slot = memory_per_slot
        self._keep = Retention.configured(settings)
        self._flush = Flush()
        self.attempts = 0
        """Those that were begun here."""
        self._scratch = scratch / str(slot)
        # What a killed predecessor left of its attempt.
        remove_folder(self._scratch)
        slots.enter(slot)
        # A job's fork has a copy of the ledger's connection, which only one process may use.
        os.register_at_fork(after_in_child=self._forget_connections)

    @cached_property
    def _engine(self) -> Engine:
        engine = sync_engine(self._settings.database)
        trace_statements(engine)
        return engine

    def _forget_connections(self) -> None:
        if "_engine" in self.__dict__:
            self._engine.dispose(close=False)

    @cached_property
    def _surroundings(self) -> Surroundings:
        return Surroundings(memory_limit=self._memory_per_slot)

    @property
    def spoilt(self) -> bool:
        """Whether a job has left this process in a state that the next one must not meet."""
        return self._surroundings.spoilt

    @cached_property
    def _store(self) -> ObjectStore:
        return open_store(self._settings.storage)

    @cached_property
    def _announcer(self) -> Announcer:
        return Announcer(self._settings)

    def execute(self, job_id: UUID, message: str | None = None) -> None:
        """Run the job that a message names, if there is an attempt of it to begin here.

        `message` is the `traceparent` that the message came with.
        """
        with self._engine.begin() as connection:
            claim = ledger.claim(
                connection,
                job_id,
                worker_id=self._identity.id,
                kinds=list(self._identity.kinds),
                version=self._identity.version,
            )
        if claim is None:
            return
        self.attempts += 1
        kind = self._identity.kinds[claim.kind]
        number = self._slots.take(
            self._slot,
            claim.job_id,
            claim.attempt,
            kind.timeout,
            message or claim.traceparent,
        )
        try:
            with (
                tracing.running(claim, kind.pool, message) as span,
                structlog.contextvars.bound_contextvars(
                    job_id=str(claim.job_id),
                    attempt=claim.attempt,
                    kind=claim.kind,
                    trace_id=trace_id(span.get_span_context()),
                ),
            ):
                self._announcer.room(kind.pool)
                self._run(kind, claim, number, span)
        except BaseException as error:
            # The slot stays taken: once this child has ended, the watch forfeits the lease.
            self._surroundings.spoil("an attempt could not be ended", exc_info=error)
            raise
        self._slots.clear(self._slot)
        if span.get_span_context().trace_flags.sampled:
            self._flush.soon()

    def _run(self, kind: JobKind[Any, Any], claim: ledger.Claim, number: int, span: Span) -> None:
        started = time.monotonic()
        surroundings = self._surroundings
        outcome: Outcome
        try:
            spec = kind.spec.model_validate_json(claim.spec)
        except ValidationError as error:
            self._refuse(claim, error, span)
            return
        except BaseException as error:
            surroundings.quiet()
            outcome = failure_of(error)
        else:
            self._announce_start(claim)
            try:
                outcome = self._work(kind, spec, claim, number)
            except BaseException as error:
                outcome = self._escaped(error)
        if outcome is Order.DROP:
            log.warning("lease lost, dropped")
            tracing.ended(span, "lost")
            return
        try:
            change = self._end(kind, claim, outcome)
        except BaseException as error:
            change = self._end(kind, claim, self._escaped(error))
        if change is None:
            log.warning("lease lost, outcome refused")
            tracing.ended(span, "lost")
        else:
            tracing.ended(span, tracing.outcome(change))
            log.info("attempt ended", state=change.state, seconds=time.monotonic() - started)

    def _escaped(self, error: BaseException) -> Outcome:
        """The outcome of a job that has left something, such as a thread, that raised after it."""
        self._surroundings.quiet()
        self._surroundings.spoil("an exception was raised after the job", exc_info=error)
        return failure_of(error)

    def _refuse(self, claim: ledger.Claim, error: ValidationError, span: Span) -> None:
        """Release a job that another version has accepted: it waits for such a version's worker."""
        log.warning("specification not understood here", error=faults(error))
        tracing.ended(span, "refused")
        self._write(
            claim.job_id,
            claim.attempt,
            lambda connection: ledger.release(
                connection,
                claim.job_id,
                claim.attempt,
                keep=self._keep,
                refused_by=self._identity.version,
            ),
        )

    def _work(
        self, kind: JobKind[Any, Any], spec: BaseModel, claim: ledger.Claim, number: int
    ) -> Outcome:
        context = Attempt(
            claim,
            engine=self._engine,
            store=lambda: self._store,
            announcer=self._announcer,
            slots=self._slots,
            slot=self._slot,
            number=number,
            scratch=self._scratch / f"{claim.job_id}-{claim.attempt}",
            threads=self._settings.worker.threads_per_slot,
            pending_ttl=timedelta(seconds=self._settings.files.pending_ttl),
            surroundings=self._surroundings,
        )

        def work() -> str:
            with context:
                try:
                    result = apart(kind.run, spec, context)
                finally:
                    try:
                        # Here: what the job has left may raise as soon as a function begins.
                        sys.settrace(None)
                        sys.setprofile(None)
                    except BaseException:  # noqa: S110 - a profiler that raises is removed
                        pass
                    self._surroundings.quiet()
                return stored_result(
                    kind.result, result, limit=self._settings.jobs.max_result_bytes
                )

        return outcome_of(work, context.ordered)

    def _end(self, kind: JobKind[Any, Any], claim: ledger.Claim, outcome: Outcome) -> Change | None:
        job_id, attempt = claim.job_id, claim.attempt
        match outcome:
            case Succeeded(result):
                return self._succeeded(job_id, attempt, result)
            case Failed():
                return self._failed(job_id, attempt, outcome)
            case Order.TIMEOUT:
                timed_out = Failed("timeout", timeout_detail(kind.timeout))
                return self._failed(job_id, attempt, timed_out)
            case _:
                # The release of a job that is to be cancelled ends it.
                return self._write(
                    job_id,
                    attempt,
                    lambda connection: ledger.release(connection, job_id, attempt, keep=self._keep),
                )

    def _announce_start(self, claim: ledger.Claim) -> None:
        self._announcer.change(Change(claim.job_id, JobState.RUNNING, claim.attempt, claim.seq))

    def _succeeded(self, job_id: UUID, attempt: int, result: str) -> Change | None:
        try:
            return self._write(
                job_id,
                attempt,
                lambda connection: ledger.succeed(
                    connection, job_id, attempt, result=result, keep=self._keep
                ),
            )
        except (DBAPIError, UnicodeError) as error:
            detail = text_of(reason(error), MAX_DETAIL)
            if fault(error) is Fault.UNSTORABLE:
                # No further try would help: a number out of range, say, or too much text.
                failed = Failed("result-not-storable", detail, retryable=False)
            else:
                log.exception("result not written")
                failed = Failed(INTERNAL, detail)
            return self._failed(job_id, attempt, failed)

    def _failed(self, job_id: UUID, attempt: int, failed: Failed) -> Change | None:
        log.warning("attempt failed", **asdict(failed))
        tracing.fail(trace.get_current_span(), failed.code)
        return self._write(
            job_id,
            attempt,
            lambda connection: ledger.fail(
                connection, job_id, attempt, **asdict(failed), keep=self._keep
            ),
        )

    def _write(
        self, job_id: UUID, attempt: int, statement: Callable[[Connection], Change | None]
    ) -> Change | None:
        """Write until it is written or the row refuses it; what came of it is announced."""
        self._slots.finishing(self._slot, job_id, attempt)
        change = persist(self._engine, statement)
        if change is not None:
            self._announcer.change(change)
        return change


def timeout_detail(timeout: float) -> str:
    return f"one attempt may take {timeout:g} s"
