"""A child's work, in this process: what it writes of a job that misbehaves."""

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from uuid import UUID, uuid4

import numpy
import pytest
import structlog
from pydantic import BaseModel, model_validator
from sqlalchemy import Engine

from app.core.config import Settings
from app.core.logging import configure_logging
from app.jobs import JobCancelled, JobContext, JobError, JobOptions, KindRegistry, job_kind
from app.jobs.registry import AnyKind
from tests.ledger_view import View
from tests.processes import until
from worker.executor import Executor
from worker.identity import Identity
from worker.slots import Slots

LIMIT = 1000


class Nothing(JobOptions):
    seconds: float = 0


class Measured(BaseModel):
    value: float | None = None
    note: str = ""


@pytest.fixture
def view(engine: Engine, make_owner: Callable[..., UUID]) -> View:
    return View(engine, make_owner())


@pytest.fixture
def executors() -> Iterator[list[Executor]]:
    executors: list[Executor] = []
    yield executors
    for executor in executors:
        # As the child's end does.
        executor._engine.dispose()
        executor._announcer.close()


@pytest.fixture
def execute(
    settings: Settings, view: View, tmp_path: Path, executors: list[Executor]
) -> Callable[..., UUID]:
    """Run a job of the kind: its id."""
    # As a child's log is: what can't be rendered must not end it.
    configure_logging(settings.log)
    jobs = settings.jobs.model_copy(update={"max_result_bytes": LIMIT})
    limited = settings.model_copy(update={"jobs": jobs})

    def execute(kind: AnyKind, *, max_tries: int = 3) -> UUID:
        executor = Executor(
            limited,
            Identity(uuid4(), "cpu", "1", KindRegistry([kind])),
            Slots(1),
            slot=0,
            scratch=tmp_path / "scratch",
            memory_per_slot=1 << 40,
        )
        executors.append(executor)
        job = view.submit(kind.name, max_tries=max_tries)
        executor.execute(job)
        return job

    return execute


def kind_of(function: Callable[[], Any]) -> AnyKind:
    @job_kind("test.odd", pool="cpu", timeout=60)
    def odd(spec: Nothing, job: JobContext) -> Measured:
        result: Measured = function()
        return result

    return odd


def test_a_job_may_say_what_no_database_can_hold(execute: Callable[..., UUID], view: View) -> None:
    @job_kind("test.babble", pool="cpu", timeout=60)
    def babble(spec: Nothing, job: JobContext) -> Nothing:
        job.progress(0.5, "half\0 a \ud83d")
        until(
            lambda: view.count("job_runs WHERE message = 'half\ufffd a \ufffd'"),
            seconds=10,
            what="progress",
        )
        raise JobError("babble", "what\0 is \udcff?")

    job = execute(babble)
    assert view.state(job) == "failed"
    assert view.count("jobs WHERE error_detail = 'what\ufffd is \ufffd?'") == 1


def raising(error: BaseException) -> Callable[..., NoReturn]:
    def run(*_: object, **__: object) -> NoReturn:
        raise error

    return run


class WithoutCode(JobError):
    def __init__(self) -> None:
        Exception.__init__(self, "sets no code")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise SystemExit(self)


FAILURES: dict[str, tuple[Callable[[], object], str, str]] = {
    "sys.exit": (lambda: sys.exit(2), "internal-error", "SystemExit: 2"),
    "argparse": (
        lambda: argparse.ArgumentParser(exit_on_error=True).parse_args(["--unknown"]),
        "internal-error",
        "SystemExit: 2",
    ),
    "interrupt": (raising(KeyboardInterrupt()), "internal-error", "KeyboardInterrupt"),
    "cancelled task": (raising(asyncio.CancelledError()), "internal-error", "CancelledError"),
    "exception as detail": (
        raising(JobError("bad-input", ValueError("line 3"))),  # type: ignore[arg-type]
        "bad-input",
        "ValueError: line 3",
    ),
    "no detail": (raising(JobError("bad-input", None)), "bad-input", "JobError"),  # type: ignore[arg-type]
    "no code": (raising(WithoutCode()), "internal-error", "WithoutCode: sets no code"),
    "unspeakable": (raising(Unspeakable()), "internal-error", "Unspeakable"),
    "10 MB": (raising(ValueError("long " * 2_000_000)), "internal-error", "ValueError: long long"),
    "cancelled by itself": (raising(JobCancelled()), "internal-error", "JobCancelled"),
    "no result": (lambda: None, "result-invalid", "returned None"),
    "not a number": (lambda: Measured(value=float("nan")), "result-invalid", "value"),
    "nul": (lambda: Measured(note="a\0b"), "result-invalid", "note"),
    "too large": (lambda: Measured(note="x" * LIMIT), "result-too-large", str(LIMIT)),
}


@pytest.mark.parametrize("name", FAILURES)
def test_an_unusual_end_is_one_failed_try_that_names_its_cause(
    name: str, execute: Callable[..., UUID], view: View
) -> None:
    function, code, detail = FAILURES[name]
    ended = view.job(execute(kind_of(function), max_tries=1))
    assert (ended["state"], ended["tries"], ended["error_code"]) == ("failed", 1, code)
    assert detail in str(ended["error_detail"])
    assert len(str(ended["error_detail"])) <= 2000


@pytest.mark.parametrize("name", ["too large", "not a number"])
def test_a_result_that_cannot_be_kept_is_not_tried_again(
    name: str, execute: Callable[..., UUID], view: View
) -> None:
    assert view.state(execute(kind_of(FAILURES[name][0]))) == "failed"


def test_sys_exit_is_tried_again(execute: Callable[..., UUID], view: View) -> None:
    ended = view.job(execute(kind_of(lambda: sys.exit(1))))
    assert (ended["state"], ended["tries"], ended["losses"]) == ("scheduled", 1, 0)


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [
        (0.25, 0.25),
        (-1, 0),
        (2, 1),
        (float("inf"), 1),
        (10**400, 1),
        (float("nan"), 0.125),
        (Decimal("NaN"), 0.125),
        (Decimal("0.75"), 0.75),
        (numpy.float32(0.5), 0.5),
        (True, 1),
    ],
)
def test_progress_is_clamped(
    execute: Callable[..., UUID], view: View, fraction: Any, shown: float
) -> None:
    @job_kind("test.tell", pool="cpu", timeout=60)
    def tell(spec: Nothing, job: JobContext) -> Nothing:
        job.progress(0.125, "begun")
        job.progress(fraction, "told")
        until(
            lambda: view.count(f"job_runs WHERE message = 'told' AND progress = {shown}"),
            seconds=10,
            what="progress",
        )
        return spec

    assert view.state(execute(tell)) == "succeeded"


@pytest.mark.parametrize("fraction", [None, "x", "0.5", b"1", 1j, [0.5], object()])
def test_a_progress_that_is_not_a_number_fails_the_try(
    execute: Callable[..., UUID], view: View, fraction: Any
) -> None:
    @job_kind("test.tell", pool="cpu", timeout=60)
    def tell(spec: Nothing, job: JobContext) -> Nothing:
        job.progress(fraction)
        return spec

    ended = view.job(execute(tell, max_tries=1))
    assert (ended["state"], ended["error_code"]) == ("failed", "internal-error")
    assert "job.progress() takes a number from 0 to 1" in str(ended["error_detail"])


@pytest.mark.parametrize(
    ("message", "length"), [(None, 0), (b"bytes", 8), ("m" * 10_000_000, 500), (5, 1)]
)
def test_a_message_is_a_short_text(
    execute: Callable[..., UUID], view: View, message: Any, length: int
) -> None:
    @job_kind("test.tell", pool="cpu", timeout=60)
    def tell(spec: Nothing, job: JobContext) -> Nothing:
        job.progress(0.5, message)
        until(
            lambda: view.count(f"job_runs WHERE progress = 0.5 AND length(message) = {length}"),
            seconds=10,
            what="progress",
        )
        return spec

    assert view.state(execute(tell)) == "succeeded"


@pytest.mark.parametrize(
    ("name", "content_type", "code"),
    [
        ("../up", "text/plain", "output-name-invalid"),
        ("a\\b", "text/plain", "output-name-invalid"),
        ("", "text/plain", "output-name-invalid"),
        ("..", "text/plain", "output-name-invalid"),
        ("a\0b", "text/plain", "output-name-invalid"),
        ("\ud800", "text/plain", "output-name-invalid"),
        ("é" * 200, "text/plain", "output-name-invalid"),
        ("NUL.txt", "text/plain", "output-name-invalid"),
        (None, "text/plain", "output-name-invalid"),
        (Path("a"), "text/plain", "output-name-invalid"),
        ("x" * 10_000_000, "text/plain", "output-name-invalid"),
        ("a.txt", "text/plain\r\nSet-Cookie: a=b", "output-type-invalid"),
        ("a.txt", "text/plain\r\n;charset=x", "output-type-invalid"),
        ("a.txt", "text/plain\v; charset=x", "output-type-invalid"),
        ("a.txt", "text/plain; charset=x\n", "output-type-invalid"),
        ("a.txt", "text/plain; name=é", "output-type-invalid"),
        ("a.txt", "", "output-type-invalid"),
        ("a.txt", None, "output-type-invalid"),
        ("a.txt", "text/plain;" + " " * 300, "output-type-invalid"),
    ],
)
def test_an_output_that_no_client_could_store_is_refused(
    execute: Callable[..., UUID], view: View, name: Any, content_type: Any, code: str
) -> None:
    @job_kind("test.put", pool="cpu", timeout=60)
    def put(spec: Nothing, job: JobContext) -> Nothing:
        path = job.scratch / "made"
        path.write_text("made")
        job.output(path, name=name, content_type=content_type)
        return spec

    ended = view.job(execute(put))
    assert (ended["state"], ended["tries"], ended["error_code"]) == ("failed", 1, code)
    assert "job.output(" in str(ended["error_detail"])
    assert view.count("files") == 0


def test_an_output_is_kept_under_its_name(execute: Callable[..., UUID], view: View) -> None:
    @job_kind("test.put", pool="cpu", timeout=60)
    def put(spec: Nothing, job: JobContext) -> Nothing:
        path = job.scratch / "made"
        path.write_text("made")
        job.output(path, name="übung 1.csv", content_type='text/csv ;\tcharset="utf-8"')
        return spec

    assert view.state(execute(put)) == "succeeded"
    assert view.count("files WHERE state = 'ready' AND name = 'übung 1.csv'") == 1


def test_a_specification_whose_validation_raises_is_a_failed_try(
    execute: Callable[..., UUID], view: View
) -> None:
    class Exiting(Nothing):
        @model_validator(mode="after")
        def leave(self) -> NoReturn:
            sys.exit("no specification is good enough")

    @job_kind("test.picky", pool="cpu", timeout=60)
    def picky(spec: Exiting, job: JobContext) -> Nothing:
        return spec

    ended = view.job(execute(picky, max_tries=1))
    assert (ended["state"], ended["tries"]) == ("failed", 1)
    assert ended["error_detail"] == "SystemExit: no specification is good enough"


def raises_elsewhere(frame: FrameType, event: str, _: object) -> None:
    """Raise in each function that begins, but for those of this file."""
    if event == "call" and frame.f_code.co_filename != __file__:
        raise TimeoutError


def lower_the_recursion_limit() -> None:
    """As far as the interpreter allows at this depth."""
    for limit in range(1, 1000):
        with suppress(RecursionError):
            sys.setrecursionlimit(limit)
            break


LEFT: dict[str, Callable[[], object]] = {
    "recursion limit": lower_the_recursion_limit,
    "tracer": lambda: sys.settrace(raises_elsewhere),
    "profiler": lambda: sys.setprofile(raises_elsewhere),
    "threads' tracer": lambda: threading.settrace(raises_elsewhere),
    "threads' profiler": lambda: threading.setprofile(raises_elsewhere),
    "log processors": lambda: structlog.get_config()["processors"].insert(0, raising(SystemExit())),
    "log configuration": lambda: structlog.configure(
        processors=[structlog.stdlib.filter_by_level], cache_logger_on_first_use=False
    ),
    "log level": logging.disable,
    "log handlers": lambda: logging.basicConfig(force=True, level="CRITICAL"),
    "log variables": lambda: structlog.contextvars.bind_contextvars(customer="alice"),
}


def interpreter() -> list[object]:
    root = logging.getLogger()
    configuration = structlog.get_config()
    return [
        sys.gettrace(),
        sys.getprofile(),
        sys.getrecursionlimit(),
        threading.gettrace(),
        threading.getprofile(),
        configuration,
        [*configuration["processors"]],
        structlog.contextvars.get_contextvars(),
        (root.level, [*root.handlers], root.manager.disable),
    ]


@pytest.mark.parametrize("name", LEFT)
def test_what_a_function_leaves_does_not_harm_its_result(
    name: str, execute: Callable[..., UUID], view: View
) -> None:
    def leave() -> Measured:
        LEFT[name]()
        return result

    result = Measured(value=1)
    before = interpreter()
    ended = view.job(execute(kind_of(leave)))
    assert interpreter() == before
    assert (ended["state"], ended["error_detail"]) == ("succeeded", None)


@pytest.mark.parametrize("end", [Measured, raising(ValueError())])
def test_a_timer_whose_handler_raises_costs_one_try_at_most(
    end: Callable[[], object], execute: Callable[..., UUID], view: View
) -> None:
    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    def leave() -> object:
        try:
            signal.signal(signal.SIGALRM, interrupt)
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            return threading.Event().wait()
        except KeyboardInterrupt:
            return end()

    handler = signal.getsignal(signal.SIGALRM)
    ended = view.job(execute(kind_of(leave), max_tries=1))
    assert ended["state"] in ("succeeded", "failed")
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_an_exception_after_the_function_is_one_failed_try_of_a_spoilt_child(
    execute: Callable[..., UUID],
    executors: list[Executor],
    view: View,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As `PyThreadState_SetAsyncExc` of a thread that the job has left.
    monkeypatch.setattr("worker.executor.ledger.succeed", raising(KeyboardInterrupt()))
    ended = view.job(execute(kind_of(Measured), max_tries=1))
    assert (ended["state"], ended["tries"]) == ("failed", 1)
    assert ended["error_detail"] == "KeyboardInterrupt"
    assert executors[0].spoilt


def test_a_child_that_cannot_end_an_attempt_keeps_its_slot_for_the_watch_and_is_spoilt(
    execute: Callable[..., UUID],
    executors: list[Executor],
    view: View,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for statement in ("succeed", "fail"):
        monkeypatch.setattr(f"worker.executor.ledger.{statement}", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        execute(kind_of(Measured))
    (executor,) = executors
    assert executor.spoilt
    assert len(executor._slots.assignments()) == 1


@pytest.mark.slow
def test_a_scratch_folder_of_any_depth_is_removed(
    execute: Callable[..., UUID], view: View, tmp_path: Path
) -> None:
    @job_kind("test.dig", pool="cpu", timeout=60)
    def dig(spec: Nothing, job: JobContext) -> Nothing:
        # Deeper than the interpreter's recursion.
        here = os.open(job.scratch, os.O_RDONLY)
        for _ in range(sys.getrecursionlimit() + 100):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
        return spec

    assert view.state(execute(dig)) == "succeeded"
    assert list((tmp_path / "scratch" / "0").iterdir()) == []
