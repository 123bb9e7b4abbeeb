"""Log lines that can't be written or rendered: dropped, counted, and of no consequence."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SAY = """
import logging, os, sys, threading, warnings
import structlog
from app.core.config import Log
from app.core.logging import configure_logging, dropped_lines, log_crashes
from app.core.stdio import keep_streams, open_streams

open_streams()
configure_logging(Log(format=sys.argv[1]))
keep_streams()
log_crashes()
log = structlog.get_logger()
library = logging.getLogger("library")

class Rude:
    def __repr__(self):
        raise ValueError("no repr")
    __str__ = __repr__

class RudeError(Exception):
    def __str__(self):
        raise ValueError("no str")
"""

# Each of them is one line, whatever becomes of it.
LINES = """
log.info("ours", text="\\u017elu\\u0165\\udcff")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("with a traceback")
library.warning("a library's")
warnings.warn("a warning")
thread = threading.Thread(target=lambda: [].pop(), name="pops")
thread.start()
thread.join()
if os.fork() == 0:
    log.info("a child's")
    os._exit(0)
os.wait()
print("printed", flush=True)
print("printed too", file=sys.stderr, flush=True)
open(sys.argv[2], "w").write(str(dropped_lines()))
"""
COUNT = 6


@contextmanager
def full_pipe() -> Iterator[int]:
    """One that does not block, and that nobody reads."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 65536)
    except BlockingIOError:
        yield writer
    finally:
        os.close(reader)
        os.close(writer)


@contextmanager
def broken_pipe() -> Iterator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextmanager
def full_disk() -> Iterator[int]:
    with Path("/dev/full").open("wb") as device:
        yield device.fileno()


STDOUTS = {"full disk": full_disk, "broken pipe": broken_pipe, "full pipe": full_pipe}


def say(
    program: str, tmp_path: Path, *, stdout: int | None, form: str = "json", closed: bool = False
) -> int:
    """Run it; returns how many lines were dropped."""
    counted = tmp_path / "dropped"
    command = [
        sys.executable,
        "-W",
        "default::UserWarning",
        "-c",
        SAY + program,
        form,
        str(counted),
    ]
    if closed:
        command = ["/bin/sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", *command]
    ended = subprocess.run(
        command, stdout=stdout, stderr=stdout or subprocess.PIPE, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return int(counted.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", STDOUTS)
def test_lines_that_stdout_does_not_take_are_counted(name: str, tmp_path: Path) -> None:
    with STDOUTS[name]() as stdout:
        assert say(LINES, tmp_path, stdout=stdout) == COUNT


@pytest.mark.slow
def test_lines_of_a_process_without_a_stdout_are_counted(tmp_path: Path) -> None:
    assert say(LINES, tmp_path, stdout=None, closed=True) == COUNT


@pytest.mark.slow
def test_text_that_the_terminals_encoding_lacks_is_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    with (tmp_path / "log").open("w") as log:
        assert say(LINES, tmp_path, form="text", stdout=log.fileno()) == 0
    assert r"\u017elu\u0165" in (tmp_path / "log").read_text()


RENDER = """
loop = {}
loop["loop"] = loop
deep = []
for _ in range(100_000):
    deep = [deep]
for value in (Rude(), [Rude()], {Rude(): 1}, {(1, 2): 3}, loop, deep, b"\\xff"):
    log.info("shown", value=value)
log.info("%d of them", "one")
try:
    raise RudeError
except RudeError:
    log.exception("raised")
library.warning("%d of them", "one")
library.warning(Rude())
def refuses(*_):
    raise KeyError("a processor of somebody's")
structlog.contextvars.bind_contextvars(job_id="7")
structlog.get_logger(processors=[refuses])
structlog.wrap_logger(None)
structlog.get_config()["processors"].insert(0, refuses)
structlog.get_logger().info("refused")
library.warning("library's")
open(sys.argv[2], "w").write(str(dropped_lines()))
"""


@pytest.mark.slow
def test_values_that_cannot_be_rendered_raise_nothing(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        dropped = say(RENDER, tmp_path, stdout=log.fileno())
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    # A library's lines go through processors of their own.
    assert events == ["shown"] * 7 + ["raised", "library's"]
    # Those with arguments or a message of the wrong type, and with a processor that raises.
    assert dropped == 4


CUT = """
for number in range(2000):
    log.info("line", number=number, text="x" * 1000)
fd = os.dup(1)
os.set_blocking(fd, True)
log.info("last")
open(sys.argv[2], "w").write(str(dropped_lines()))
"""


@pytest.mark.slow
def test_a_line_that_was_cut_off_spoils_none_that_follows(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    read = tmp_path / "log"
    with read.open("wb") as log:
        # A reader that lags behind.
        lagging = "import os, time\nwhile d := os.read(0, 1500): os.write(1, d); time.sleep(0.001)"
        with subprocess.Popen([sys.executable, "-c", lagging], stdin=reader, stdout=log):
            os.close(reader)
            try:
                dropped = say(CUT, tmp_path, stdout=writer)
            finally:
                os.close(writer)
    lines = [line for line in read.read_bytes().splitlines() if line]
    whole = [line for line in lines if line.endswith(b"}")]
    assert json.loads(whole[-1])["event"] == "last"
    assert dropped > 0
    assert len(whole) + dropped == 2001
    assert all(json.loads(line) for line in whole)
