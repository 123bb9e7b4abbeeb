"""A controller, a worker and an API that tests of one file share, with a Redis of their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import redis

from app.core.config import Settings
from app.core.db import sync_engine
from app.embedded import EmbeddedRedis
from tests.ledger_view import View
from tests.processes import Parts, parts, until
from tests.servers import create_database, scratch_folder

# Options that redis-py takes from a URL, and kombu does not.
DATABASE = 3
OPTIONS = "protocol=3&health_check_interval=5&client_name=heavylift"


class Working:
    """A controller, a worker and an API with a Redis that a test may change."""

    def __init__(self, view: View, running: Parts, server: EmbeddedRedis) -> None:
        self.ledger = view
        self.server = server
        self.controller = running.controller(HEAVYLIFT_SIGNALS_PORT="0").ready()
        self.worker = running.worker(HEAVYLIFT_SIGNALS_PORT="0").ready()
        self.api = running.api()
        until(lambda: self.redis_of_the_api() == "up", seconds=60, what="the API is there")

    @contextmanager
    def administrator(self) -> Iterator[redis.Redis]:
        with redis.Redis.from_url(self.server.url(DATABASE)) as client:
            yield client

    def redis_of_the_api(self) -> str | None:
        """As it says itself; nothing where it is not ready to say it."""
        try:
            answer = httpx2.get(f"http://127.0.0.1:{self.api}/readyz", timeout=10)
        except httpx2.TransportError:
            return None
        if answer.status_code != 200:
            return None
        return str(answer.json()["dependencies"]["redis"]["state"])

    def works(self) -> None:
        """As before: jobs run, at their first attempt, in the worker that there was."""
        jobs = [self.ledger.submit() for _ in range(2)]
        until(lambda: self.ledger.succeeded(*jobs), seconds=60, what="jobs run as before")
        assert self.worker.process.poll() is None
        assert self.controller.process.poll() is None
        assert self.ledger.count("jobs WHERE attempt <> 1") == 0


@contextmanager
def running_system(folder_of_logs: Path) -> Iterator[Working]:
    """One for all tests of a file: each leaves it as it was."""
    with scratch_folder() as folder:
        server = EmbeddedRedis(folder / "redis")
        server.start()
        database = create_database(f"working_{os.getpid()}")
        settings = Settings.model_validate(
            {
                "database": {"url": database},
                "redis": {"url": f"{server.url(DATABASE)}&{OPTIONS}"},
                "storage": {"url": (folder / "files").as_uri()},
            }
        )
        engine = sync_engine(settings.database, connections=4)
        view = View(engine, View(engine, None).new_owner("first@example.com"))  # type: ignore[arg-type]
        try:
            with parts(settings, folder_of_logs) as running:
                yield Working(view, running, server)
        finally:
            engine.dispose()
            server.stop()
