"""A standby is promoted under load: everything follows it, and no job is lost or run twice."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Self

import httpx2
import psycopg
import pytest

from app.core.config import Settings
from app.core.database_url import parse, render
from app.core.db import sync_engine
from app.embedded import EmbeddedPostgres, EmbeddedRedis
from app.migrations import upgrade
from tests.chaos.test_worker_signals import up
from tests.ledger_view import View
from tests.processes import Parts, parts, until
from tests.servers import scratch_folder
from tests.standby import promote, start_standby

# Seconds from the promotion to the first job that is accepted.
GOOD_WITHIN = 5.0

# Seconds between two submissions.
EVERY = 0.2


@dataclass
class Pair:
    primary: EmbeddedPostgres
    standby: EmbeddedPostgres
    ledger: View
    parts: Parts


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with scratch_folder() as folder:
        primary = EmbeddedPostgres(folder / "one")
        redis = EmbeddedRedis(folder / "redis")
        standby = None
        try:
            primary.start()
            redis.start()
            upgrade(Settings.model_validate({"database": {"url": primary.url()}}).database)
            standby = start_standby(primary, folder / "two")
            hosts = ",".join(str(server.folder) for server in (primary, standby))
            options = {"host": hosts, "target_session_attrs": "read-write"}
            settings = Settings.model_validate(
                {
                    "database": {"url": render({**parse(primary.url()), **options})},
                    "redis": {"url": redis.url()},
                    "storage": {"url": (folder / "files").as_uri()},
                }
            )
            engine = sync_engine(settings.database, connections=4)
            ledger = View(engine, View(engine, None).new_owner("first@example.com"))  # type: ignore[arg-type]
            with parts(settings, tmp_path) as running:
                yield Pair(primary, standby, ledger, running)
            engine.dispose()
        finally:
            redis.stop()
            if standby is not None:
                standby.stop()
            primary.stop()


class Clients:
    """One after the other, each submits a job and notes what it was told."""

    def __init__(self, port: int, log: Path) -> None:
        self.accepted: list[str] = []
        self.statuses: Counter[int] = Counter()
        self._http = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        until(self._ready, seconds=60, what="the API is ready")
        user = {"email": "a@example.com", "password": "correct horse battery"}
        assert self._http.post("/api/v1/users", json=user).status_code == 201
        form = {"username": user["email"], "password": user["password"]}
        login = self._http.post("/api/v1/auth/login", data=form)
        self._http.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
        self._log = log
        self._over = Event()
        self._thread = Thread(target=self._submit_for_ever)

    def _ready(self) -> bool:
        with suppress(httpx2.TransportError):
            return self._http.get("/readyz").status_code == 200
        return False

    def state(self) -> str:
        return str(self._http.get("/readyz").json()["dependencies"]["postgresql"]["state"])

    def _submit_for_ever(self) -> None:
        while not self._over.wait(EVERY):
            number = sum(self.statuses.values())
            spec = {"seconds": (0.1, 0.2, 0.5)[number % 3], "log": str(self._log)}
            answer = self._http.post("/api/v1/jobs/test.nap", json={"spec": spec})
            self.statuses[answer.status_code] += 1
            if answer.status_code == 202:
                self.accepted.append(answer.json()["id"])
            elif answer.status_code == 503:
                assert answer.headers["retry-after"] == "1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        self._thread.join()
        self._http.close()


def kill(primary: EmbeddedPostgres) -> None:
    primary.process.signal(signal.SIGQUIT)
    primary.process.wait()


def fence(primary: EmbeddedPostgres) -> None:
    """It goes on, with every connection that it has, and takes no more writes."""
    with psycopg.connect(primary.url(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        connection.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("give_up", [kill, fence])
def test_a_promotion_under_load_loses_no_job_and_runs_none_twice(
    pair: Pair, tmp_path: Path, give_up: Callable[[EmbeddedPostgres], None]
) -> None:
    log = tmp_path / "runs"
    worker = pair.parts.start(
        "worker", "--pool", "cpu", "--concurrency", "3", HEAVYLIFT_SIGNALS_PORT="0"
    ).ready()
    pair.parts.controller().ready()
    address = worker.signals()
    with Clients(pair.parts.api(), log) as clients:
        until(lambda: len(clients.accepted) > 20, seconds=60, what="jobs are accepted")
        long = pair.ledger.submit(seconds=12.0, log=str(log))
        until(lambda: pair.ledger.running(long, 1), seconds=60, what="the long job runs")
        give_up(pair.primary)
        refused = clients.statuses[503]
        until(lambda: clients.statuses[503] > refused + 3, seconds=20, what="jobs are refused")
        until(lambda: clients.state() == "down", seconds=20, what="the API shows it")
        until(lambda: not up(address, "postgresql"), seconds=30, what="the worker shows it")
        promote(pair.standby)
        accepted = len(clients.accepted)
        until(lambda: len(clients.accepted) > accepted, seconds=GOOD_WITHIN, what="good again")
        refused = clients.statuses[503]
        until(lambda: len(clients.accepted) > accepted + 15, seconds=60, what="and it stays good")
        # One connection of the API's may still have been on the old primary.
        assert clients.statuses[503] - refused <= 10
        until(lambda: clients.state() == "up", seconds=20, what="the API shows it")
    assert clients.statuses.keys() <= {202, 503}, clients.statuses
    pair.ledger.engine.dispose()
    until(lambda: pair.ledger.count("job_runs") == 0, seconds=90, what="all have ended")
    jobs = [str(long), *clients.accepted]
    assert pair.ledger.count("jobs WHERE outcome = 'succeeded'") >= len(jobs)
    spoilt = "outcome <> 'succeeded' OR attempt <> 1 OR tries <> 0"
    assert pair.ledger.count(f"jobs WHERE {spoilt}") == 0
    begun = Counter(line.split()[1] for line in log.read_text().splitlines() if "start" in line)
    assert begun.keys() >= set(jobs), "none was lost"
    assert set(begun.values()) == {1}, "none ran twice"
    assert "worker lost" not in pair.parts.output
    assert "child killed" not in worker.output
    for server, served in ((pair.primary, False), (pair.standby, True)):
        with suppress(psycopg.OperationalError), psycopg.connect(server.url()) as connection:
            counted = connection.execute("SELECT count(*) FROM jobs").fetchone()
            assert counted is not None
            assert (counted[0] >= len(jobs)) is served
