"""Real workers and controllers, as processes, against the servers of a test."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psutil

from app.core.config import Settings

KINDS = Path(__file__).parent / "kinds"
HEAVYLIFT = [sys.executable, "-m", "app.cli"]

Found = TypeVar("Found")


def until(look: Callable[[], Found | None], *, seconds: float, what: str) -> Found:
    """Look until there is something; `seconds` is how long nothing is still no failure."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def environment(settings: Settings, **changes: str) -> dict[str, str]:
    """What the parts need to run against these settings, with the test kinds installed."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("HEAVYLIFT_")},
        "PYTHONPATH": str(KINDS),
        "HEAVYLIFT_DATABASE_URL": settings.database.url.get_secret_value(),
        "HEAVYLIFT_REDIS_URL": settings.redis.url.get_secret_value(),
        "HEAVYLIFT_STORAGE_URL": settings.storage.url,
        "HEAVYLIFT_API_SHUTDOWN_DELAY": "0",
        **changes,
    }


class Part:
    """One process of Heavylift, with its log in a file."""

    def __init__(
        self, arguments: list[str], env: dict[str, str], log: Path, *, descriptors: int | None
    ) -> None:
        self.log = log
        # Half of the limit at first, which a process may raise.
        limited = f'ulimit -Sn $(({descriptors} / 2)) && ulimit -Hn {descriptors} && exec "$@"'
        shell = [] if descriptors is None else ["bash", "-c", limited, "bash"]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*shell, *HEAVYLIFT, *arguments],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def ready(self, count: int = 1) -> "Part":
        until(
            lambda: (
                len(re.findall(r"\bready\b", self.output)) >= count
                or self.process.poll() is not None
            ),
            seconds=60,
            what=f"{self.log.name} ready: {self.output[-2000:]}",
        )
        assert self.process.poll() is None, self.output[-4000:]
        return self

    def signals(self) -> str:
        """The address of its signals, which it serves before it is ready."""
        line = until(
            lambda: re.search(r"^.*\bsignals\b.*$", self.output, re.MULTILINE),
            seconds=60,
            what=f"{self.log.name} serves its signals: {self.output[-2000:]}",
        )
        port = re.search(r"\bport\W+(\d+)", line[0])
        assert port is not None, line[0]
        return f"http://127.0.0.1:{port[1]}"

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(3)
        if self.process.poll() is None:
            self.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        if self.process.poll() is None:
            self.kill()


class Parts:
    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self._folder = folder
        self._parts: list[Part] = []

    def start(self, *arguments: str, **changes: str) -> Part:
        return self._start(arguments, changes, descriptors=None)

    def start_limited(self, descriptors: int, *arguments: str, **changes: str) -> Part:
        """With a hard limit of so many file descriptors, and a soft one of half of them."""
        return self._start(arguments, changes, descriptors=descriptors)

    def _start(
        self, arguments: tuple[str, ...], changes: dict[str, str], *, descriptors: int | None
    ) -> Part:
        name = f"{arguments[0]}-{len(self._parts)}.log"
        # A killed worker leaves its scratch folder: in the test's own.
        scratch = self._folder / "scratch"
        scratch.mkdir(exist_ok=True)
        changes = {"HEAVYLIFT_WORKER_SCRATCH": str(scratch), **changes}
        env = environment(self.settings, **changes)
        part = Part(list(arguments), env, self._folder / name, descriptors=descriptors)
        self._parts.append(part)
        return part

    def worker(self, *, concurrency: int = 1, pool: str = "cpu", **changes: str) -> Part:
        arguments = ("worker", "--pool", pool, "--concurrency", str(concurrency))
        return self.start(*arguments, **changes)

    def controller(self, **changes: str) -> Part:
        return self.start("controller", **changes)

    def api(self, **changes: str) -> int:
        """On a port of its own, which is returned."""
        return self.port(self.start("api", HEAVYLIFT_API_PORT="0", **changes))

    def port(self, api: Part) -> int:
        listening = until(
            lambda: re.search(r"^.*\blistening\b.*$", api.output, re.MULTILINE),
            seconds=60,
            what="the API",
        )
        # Its line is text or, in production, JSON.
        port = re.search(r"\bport\W+(\d+)", listening[0])
        assert port is not None, listening[0]
        return int(port[1])

    @property
    def output(self) -> str:
        """What all of them have logged."""
        return "".join(part.output for part in self._parts)

    def stop(self) -> None:
        for part in self._parts:
            part.stop()


@contextmanager
def parts(settings: Settings, folder: Path) -> Iterator[Parts]:
    running = Parts(settings, folder)
    try:
        yield running
    finally:
        running.stop()
