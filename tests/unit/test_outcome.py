"""Whatever a kind's function raises is an outcome: nothing gets past the place that decides."""

import asyncio
import decimal
import re
import sys
from enum import Enum, StrEnum
from typing import NoReturn

import pytest

from app.core.config import Log
from app.core.logging import configure_logging
from app.jobs import (
    JobCancelled,
    JobError,
    JobInterrupted,
    JobTimedOut,
    LeaseLost,
    RetryableJobError,
)
from worker.outcome import MAX_CODE, MAX_DETAIL, Failed, Outcome, Succeeded, outcome_of
from worker.slots import Order


@pytest.fixture(autouse=True)
def logged() -> None:
    """As a child's log is: what can't be rendered must not end it."""
    configure_logging(Log())


def outcome(error: BaseException, order: Order = Order.NONE) -> Outcome:
    def work() -> NoReturn:
        raise error

    return outcome_of(work, lambda: order)


def failed(error: BaseException, order: Order = Order.NONE) -> Failed:
    found = outcome(error, order)
    assert isinstance(found, Failed)
    # What the ledger takes, and clients may branch on.
    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", found.code)
    assert len(found.code) <= MAX_CODE
    assert 0 < len(found.detail) <= MAX_DETAIL
    assert "\0" not in found.detail
    found.detail.encode()
    assert type(found.code) is type(found.detail) is str
    return found


class Raises:
    """Raises out of whatever describes it."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __str__(self) -> str:
        raise self._error

    __repr__ = __str__


class NoText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307


class EvilText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise SystemExit

    def __getitem__(self, key: object) -> NoReturn:
        raise SystemExit

    lower = strip = __format__ = __getitem__  # type: ignore[assignment]


class EvilNotes(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise KeyboardInterrupt


class EvilName(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise SystemExit


class Nameless(Exception, metaclass=EvilName):
    pass


class Endless(BaseExceptionGroup[BaseException]):
    @property
    def exceptions(self) -> tuple[BaseException, ...]:
        return (self,)


def chain(length: int, *, cyclic: bool = False) -> BaseException:
    first = error = ValueError("the first cause")
    for number in range(length):
        following = ValueError(f"because of {number}")
        following.__cause__ = error
        error = following
    if cyclic:
        first.__cause__ = error
    return error


def nested(depth: int, leaf: BaseException) -> BaseException:
    for _ in range(depth):
        leaf = BaseExceptionGroup("group", [leaf, ValueError("another")])
    return leaf


def unpicklable() -> BaseException:
    class Local(Exception):
        def __reduce__(self) -> NoReturn:
            raise TypeError

    return Local(lambda: None)


UNUSUAL: dict[str, tuple[BaseException, str]] = {
    "sys.exit()": (SystemExit(), "SystemExit"),
    "sys.exit(text)": (SystemExit("usage: no"), "SystemExit: usage: no"),
    "sys.exit(object)": (SystemExit(Raises(ValueError())), "SystemExit: <a text that raises"),
    "generator": (GeneratorExit(), "GeneratorExit"),
    "task": (asyncio.CancelledError("late"), "CancelledError: late"),
    "memory": (MemoryError(), "MemoryError"),
    "recursion": (RecursionError("too deep"), "RecursionError: too deep"),
    "stop": (StopIteration(3), "StopIteration: 3"),
    "base": (BaseException("bare"), "BaseException: bare"),
    "group": (
        BaseExceptionGroup("two", [KeyboardInterrupt(), ValueError()]),
        "BaseExceptionGroup: two (2 sub-exceptions)",
    ),
    "group of one": (ExceptionGroup("one", [KeyError("k")]), "KeyError: 'k'"),
    "endless group": (Endless("e", [ValueError()]), "Endless: e"),
    "deep groups": (nested(3000, ValueError()), "ExceptionGroup: group (2 sub-exceptions)"),
    "str raises": (Exception(Raises(SystemExit(9))), "Exception: <a text that raises SystemExit>"),
    "str is no text": (NoText(), "NoText: <a text that raises TypeError>"),
    "str is evil": (Exception(EvilText("x")), "Exception"),
    "notes raise": (EvilNotes("notes"), "EvilNotes: notes"),
    "name raises": (Nameless(), "can't be described"),
    "10 MB": (ValueError("x" * 10_000_000), "ValueError: xxx"),
    "nul and surrogate": (ValueError("a\0b\ud800c"), "ValueError: a\ufffdb\ufffdc"),
    "long chain": (chain(5000), "ValueError: because of 4999"),
    "cyclic chain": (chain(3, cyclic=True), "ValueError: because of 2"),
    "unpicklable": (unpicklable(), "Local: <function"),
    "cancelled": (JobCancelled(), "JobCancelled: the job raised it itself"),
    "timed out": (JobTimedOut(), "JobTimedOut: the job raised it itself"),
    "lease lost": (LeaseLost(), "LeaseLost: the job raised it itself"),
    "interrupted": (JobInterrupted("x"), "JobInterrupted: the job raised it itself"),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_exception_is_a_failed_try_that_names_its_cause(name: str) -> None:
    error, detail = UNUSUAL[name]
    found = failed(error)
    assert (found.code, found.retryable) == ("internal-error", True)
    assert detail in found.detail


class NoCode(JobError):
    def __init__(self) -> None:
        pass


class Properties(JobError):
    def __init__(self) -> None:
        pass

    @property
    def code(self) -> str:  # type: ignore[override]
        raise SystemExit

    detail = code


class Code(Enum):
    BAD = "bad"


class TextCode(StrEnum):
    BAD = "bad-shape"


SAID: dict[str, tuple[JobError, str, str]] = {
    "as declared": (JobError("bad-shape", "no sides"), "bad-shape", "no sides"),
    "exception": (JobError("bad", ValueError("x")), "bad", "ValueError: x"),  # type: ignore[arg-type]
    "None": (JobError("bad", None), "bad", "JobError without a detail"),  # type: ignore[arg-type]
    "empty": (JobError("bad", ""), "bad", "JobError without a detail"),
    "number": (JobError("bad", 5), "bad", "5"),  # type: ignore[arg-type]
    "bytes": (JobError("bad", b"x"), "bad", "b'x'"),  # type: ignore[arg-type]
    "evil detail": (JobError("bad", EvilText("said")), "bad", "said"),
    "raising detail": (JobError("bad", Raises(ValueError())), "bad", "<a text that raises"),  # type: ignore[arg-type]
    "10 MB": (JobError("bad", "y" * 10_000_000), "bad", "yyy"),
    "no code": (NoCode(), "internal-error", "NoCode"),
    "properties": (Properties(), "internal-error", "Properties"),
    "code None": (JobError(None, "d"), "internal-error", "JobError: d"),  # type: ignore[arg-type]
    "code 404": (JobError(404, "d"), "internal-error", "JobError: d"),  # type: ignore[arg-type]
    "code empty": (JobError("", "d"), "internal-error", "JobError: d"),
    "code of signs": (JobError("?!\0", "d"), "internal-error", "JobError: d"),
    "code of an enum": (JobError(Code.BAD, "d"), "internal-error", "JobError: d"),  # type: ignore[arg-type]
    "code of a text enum": (JobError(TextCode.BAD, "d"), "bad-shape", "d"),
    "code in capitals": (JobError("Bad_Shape: 3", "d"), "bad-shape-3", "d"),
    "code of 10 MB": (JobError("c" * 10_000_000, "d"), "c" * MAX_CODE, "d"),
    "evil code": (JobError(EvilText("evil"), "d"), "evil", "d"),
}


@pytest.mark.parametrize("name", SAID)
def test_what_a_job_error_says_is_kept_as_far_as_it_can_be(name: str) -> None:
    error, code, detail = SAID[name]
    found = failed(error)
    assert (found.code, found.retryable) == (code, False)
    assert detail in found.detail


def test_a_retryable_error_is_tried_again() -> None:
    assert failed(RetryableJobError("busy", "later")) == Failed("busy", "later", retryable=True)


RETRYABLE = RetryableJobError("busy", "later")
FINAL = JobError("bad-input", "line 3")

GROUPS: dict[str, tuple[BaseException, Failed]] = {
    "final": (
        ExceptionGroup("g", [FINAL, JobError("other", "o")]),
        Failed("bad-input", "line 3", False),
    ),
    "retryable": (
        ExceptionGroup("g", [RETRYABLE, RetryableJobError("b", "c")]),
        Failed("busy", "later"),
    ),
    "mixed": (ExceptionGroup("g", [RETRYABLE, FINAL]), Failed("busy", "later", False)),
    "nested": (
        ExceptionGroup("g", [ExceptionGroup("h", [FINAL, RETRYABLE]), RETRYABLE]),
        Failed("bad-input", "line 3", False),
    ),
}


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_of_job_errors_says_what_its_first_one_says(name: str) -> None:
    error, expected = GROUPS[name]
    assert failed(error) == expected
    assert failed(error, Order.TIMEOUT) == expected


def test_a_group_with_another_exception_is_an_internal_error() -> None:
    found = failed(ExceptionGroup("g", [FINAL, ValueError("x")]))
    assert (found.code, found.retryable) == ("internal-error", True)


@pytest.mark.parametrize("order", [Order.CANCEL, Order.TIMEOUT, Order.DROP])
@pytest.mark.parametrize(
    "error",
    [JobCancelled(), ValueError("cleaning up failed"), ExceptionGroup("g", [ValueError()])],
)
def test_an_order_is_the_outcome_whatever_it_made_the_function_raise(
    order: Order, error: BaseException
) -> None:
    assert outcome(error, order) is order


def test_a_typed_failure_stands_beside_an_order() -> None:
    assert failed(JobError("bad", "d"), Order.TIMEOUT) == Failed("bad", "d", retryable=False)


def test_a_result_stands_beside_an_order() -> None:
    assert outcome_of(lambda: "{}", lambda: Order.CANCEL) == Succeeded("{}")


def test_an_order_that_cannot_be_read_fails_the_try() -> None:
    def unreadable() -> Order:
        raise decimal.InvalidOperation

    found = outcome_of(lambda: sys.exit(1), unreadable)
    assert isinstance(found, Failed)
    assert found.code == "internal-error"
