"""Logs of a process that has threads and forks, as the worker's parent does."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from app.core.logging import MAX_TRACEBACK, log_renderer

FORKS = 50

FORK_WHILE_THREADS_LOG = f"""
import logging, os, signal, sys, threading, time
import structlog
from app.core.config import Log
from app.core.logging import configure_logging

configure_logging(Log(format="json"))
log = structlog.get_logger()
over = threading.Event()

def chatter(say):
    while not over.is_set():
        say("chatter " + "x" * 1000)

threads = [
    threading.Thread(target=chatter, args=[say])
    for say in (log.info, log.info, logging.getLogger("library").info)
]
for thread in threads:
    thread.start()
for child in range({FORKS}):
    pid = os.fork()
    if pid == 0:
        log.info("child")
        logging.getLogger("library").info("child's library")
        os._exit(0)
    deadline = time.monotonic() + 10
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            print(f"child {{child}} is stuck", file=sys.stderr)
            os._exit(1)
        time.sleep(0.001)
over.set()
for thread in threads:
    thread.join()
"""


@pytest.mark.slow
@pytest.mark.parametrize("buffering", [[], ["-u"]])
def test_a_child_forked_while_threads_log_can_log(buffering: list[str]) -> None:
    # Later versions of Python warn of every fork of a process with threads.
    options = [*buffering, "-W", "ignore::DeprecationWarning"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    forking = subprocess.run(
        [sys.executable, *options, "-c", FORK_WHILE_THREADS_LOG],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert forking.returncode == 0, forking.stderr
    # All lines are whole: those of the threads, of the children, and of the standard library.
    events = [json.loads(line)["event"] for line in forking.stdout.splitlines()]
    assert events.count("child") == events.count("child's library") == FORKS


UNCAUGHT = """
import logging, sys, threading, warnings
import structlog
from app.core.config import Log
from app.core.logging import configure_logging, log_crashes

configure_logging(Log(level="{level}"))
log_crashes()
log = structlog.get_logger()
for say in (log, logging.getLogger("library")):
    say.debug("a debug line")
    say.info("an info line")
    say.warning("a warning line")
    say.error("an error line")
chatty = logging.getLogger("chatty")
chatty.setLevel(logging.DEBUG)
chatty.info("an info line")
warnings.warn("old fashioned")
thread = threading.Thread(target=lambda: 1 / 0, name="divides")
thread.start()
thread.join()

class Falls:
    def __del__(self):
        raise KeyError("fell")

Falls()
raise ValueError("the end\\nof it")
"""


def printed(level: str, **environment: str) -> list[dict[str, str]]:
    """What a process has said on stdout and stderr together."""
    dying = subprocess.run(
        [sys.executable, "-W", "default", "-c", UNCAUGHT.format(level=level)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert dying.returncode == 1
    return [json.loads(line) for line in dying.stdout.splitlines()]


def test_what_nobody_caught_is_a_line_too() -> None:
    lines = {line["event"]: line for line in printed("info")}
    assert "ValueError: the end" in lines["crashed"]["exception"]
    assert lines["crashed"]["level"] == "critical"
    assert lines["thread crashed"]["thread"] == "divides"
    assert "ZeroDivisionError" in lines["thread crashed"]["exception"]
    assert any("old fashioned" in event for event in lines)
    assert any("KeyError" in line.get("exception", "") for line in lines.values())


@pytest.mark.slow
@pytest.mark.parametrize(("level", "said"), [("debug", 4), ("info", 3), ("error", 1)])
def test_the_level_is_that_of_libraries_too(level: str, said: int) -> None:
    events = [line["event"] for line in printed(level)]
    # Of ours, of a library, and of a library that sets a level of its own.
    expected = 2 * said + (level != "error")
    assert len([event for event in events if event.endswith(" line")]) == expected


class Unshowable:
    def __repr__(self) -> str:
        raise SystemExit(self)


class EvilNotes(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise KeyboardInterrupt


def chain(length: int) -> BaseException:
    error = ValueError("the first")
    for number in range(length):
        following = ValueError(f"because of {number}")
        following.__cause__ = error
        error = following
    return error


@pytest.fixture(params=["json", "text"])
def render(request: pytest.FixtureRequest) -> Callable[..., str]:
    renderer = log_renderer(as_text=request.param == "text")

    def render(**line: object) -> str:
        said = renderer(None, "error", {"event": "said", "level": "error", **line})
        assert isinstance(said, str)
        return said

    return render


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("short"), "ValueError: short"),
        (ValueError("x" * 10_000_000), "characters"),
        (EvilNotes("notes"), "EvilNotes: its traceback raises KeyboardInterrupt"),
        (chain(100_000), "ValueError: because of 99999"),
    ],
    ids=["short", "10 MB", "notes that raise", "a long chain"],
)
def test_any_exception_is_a_line(
    render: Callable[..., str], error: BaseException, said: str
) -> None:
    line = render(exc_info=error)
    assert said in line
    assert len(line) < 3 * MAX_TRACEBACK


def test_a_value_that_cannot_be_shown_costs_the_line_that_value(render: Callable[..., str]) -> None:
    line = render(value=Unshowable(), job_id="j1")
    assert "said" in line
    assert "j1" in line
    assert "SystemExit" in line
