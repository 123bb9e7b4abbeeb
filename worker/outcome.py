"""Turns the result or the exception of a kind's function into an outcome, and never raises.

The function is foreign code. It may call `sys.exit`, raise an exception that has no text, or one
that says that its job was cancelled when nobody asked for that: each is a failed try that names its
cause.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from app.core.text import text_of
from app.jobs import JobError, JobInterrupted
from worker.slots import Order

log = structlog.get_logger()

INTERNAL = "internal-error"

# Characters of a failure's code, for clients to branch on, and of its detail, one sentence.
MAX_CODE = 64
MAX_DETAIL = 2000

# Levels of nested exception groups: an asyncio.TaskGroup adds one.
MAX_NESTING = 100

# Exceptions of a group, and groups in it, that are looked at: one a task, and a group may be
# endless.
MAX_MEMBERS = 10_000

NOT_KEBAB = re.compile("[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Succeeded:
    result: str
    """JSON."""


@dataclass(frozen=True, slots=True)
class Failed:
    code: str
    detail: str
    retryable: bool = True


# An order: the attempt ended because the parent had ordered it.
Outcome = Succeeded | Failed | Order


def outcome_of(work: Callable[[], str], ordered: Callable[[], Order]) -> Outcome:
    """Do the work, which returns a result's JSON; `ordered` then returns the parent's order."""
    try:
        return Succeeded(work())
    except BaseException as error:  # the function may raise SystemExit or KeyboardInterrupt too
        return failure_of(error, ordered)


def failure_of(error: BaseException, ordered: Callable[[], Order] = lambda: Order.NONE) -> Outcome:
    """The outcome of an attempt whose kind's code raised an exception."""
    try:
        return _failure(_unwrapped(error), ordered())
    except BaseException:
        # For example, its name is a property that raises.
        return Failed(INTERNAL, "the job raised an exception that can't be described")


def _failure(error: BaseException, order: Order) -> Outcome:
    if said := _job_errors(error):
        # Report the first error. Retry only if all of them may be retried.
        first, *others = [_said(each) for each in said]
        return replace(first, retryable=first.retryable and all(o.retryable for o in others))
    if order is not Order.NONE:
        return order
    failed = Failed(INTERNAL, _described(error))
    log.error("job raised", exc_info=error)
    return failed


def _unwrapped(error: BaseException) -> BaseException:
    """The exception that a task group wrapped, where it is the only one."""
    for _ in range(MAX_NESTING):
        if not isinstance(error, BaseExceptionGroup) or len(error.exceptions) != 1:
            break
        error = error.exceptions[0]
    return error


def _job_errors(error: BaseException) -> list[JobError]:
    """The error itself, or all in a group that holds nothing else; empty for other exceptions."""
    found: list[JobError] = []
    waiting = [error]
    for _ in range(MAX_MEMBERS):
        if not waiting:
            return found
        each = waiting.pop()
        if isinstance(each, JobError):
            found.append(each)
        elif isinstance(each, BaseExceptionGroup):
            waiting += reversed(each.exceptions)
        else:
            break
    return []


def _described(error: BaseException) -> str:
    name = type(error).__name__
    if isinstance(error, JobInterrupted):
        return f"{name}: the job raised it itself, and nobody had asked it to stop"
    text = text_of(error, MAX_DETAIL)
    return f"{name}: {text}"[:MAX_DETAIL] if text else name


def _said(error: JobError) -> Failed:
    """The failure with the error's own code and detail, if they have the declared types."""
    code, detail = _attribute(error, "code"), _attribute(error, "detail")
    retryable = _attribute(error, "retryable") is True
    kebab = NOT_KEBAB.sub("-", text_of(code, MAX_CODE).lower()).strip("-")
    if not isinstance(code, str) or not kebab:
        return Failed(INTERNAL, _described(error), retryable)
    if isinstance(detail, BaseException):
        return Failed(kebab, _described(detail), retryable)
    said = "" if detail is None else text_of(detail, MAX_DETAIL)
    return Failed(kebab, said or f"{type(error).__name__} without a detail", retryable)


def _attribute(error: JobError, name: str) -> object:
    try:
        return getattr(error, name, None)
    except BaseException:
        return None
