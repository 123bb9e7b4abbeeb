"""Logs of a process that has threads and forks, as the worker's parent does."""

import json
import os
import subprocess
import sys

import pytest

FORKS = 50

FORK_WHILE_THREADS_LOG = f"""
import logging, os, signal, sys, threading, time
import structlog
from app.core.logging import configure_logging

configure_logging(json=True)
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
