from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import pytest
import redis
from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core import channels, config
from app.embedded import EmbeddedRedis
from app.models.job import JobState
from app.schemas.job import JobEvent
from app.services import ledger
from app.services.auth import Caller
from app.services.ledger import Change, Submission
from tests.ledger_view import KEEP
from tests.servers import scratch_folder

# Seconds that a token holds, cut off to whole ones. A slow machine may take longer than the first
# to begin a stream.
TTLS = (2, 4, 8)


class Worker:
    """Works on one job as a worker does: the ledger first, then a message to Redis."""

    def __init__(self, engine: Engine, redis_url: str, owner: UUID) -> None:
        self._engine = engine
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=1, retry=None)
        with engine.begin() as connection:
            job = ledger.accept(
                connection,
                Submission(owner_id=owner, kind="a.b", pool="cpu", max_tries=3, spec="{}"),
            )
        assert job is not None
        self.job_id = job

    def _announce(self, event: JobEvent) -> None:
        self._redis.publish(channels.job(self.job_id), event.model_dump_json())

    def claim(self) -> int:
        with self._engine.begin() as connection:
            claim = ledger.claim(
                connection, self.job_id, worker_id=uuid4(), kinds=["a.b"], version="1"
            )
        assert claim is not None
        return claim.seq

    def progress(self, fraction: float, *, announce: bool = True) -> int:
        with self._engine.begin() as connection:
            written = ledger.progress(
                connection, self.job_id, 1, fraction=fraction, message=f"{fraction:.0%}"
            )
        assert written is not None
        if announce:
            self._announce(
                JobEvent(
                    job_id=self.job_id,
                    seq=written[0],
                    state=JobState.RUNNING,
                    attempt=1,
                    progress=fraction,
                    message=f"{fraction:.0%}",
                )
            )
        return written[0]

    def succeed(self, *, announce: bool = True) -> int:
        with self._engine.begin() as connection:
            change = ledger.succeed(connection, self.job_id, 1, result="{}", keep=KEEP)
        return self._ended(change, announce=announce)

    def fail(self, *, announce: bool = True) -> int:
        with self._engine.begin() as connection:
            change = ledger.fail(
                connection, self.job_id, 1, code="bad", detail="d", retryable=False, keep=KEEP
            )
        return self._ended(change, announce=announce)

    def _ended(self, change: Change | None, *, announce: bool) -> int:
        assert change is not None
        if announce:
            self._announce(
                JobEvent(
                    job_id=self.job_id, seq=change.seq, state=change.state, attempt=1, progress=1
                )
            )
        return change.seq

    def subscribers(self) -> int:
        [(_, count)] = self._redis.pubsub_numsub(channels.job(self.job_id))
        return int(count)

    def close(self) -> None:
        self._redis.close()


@pytest.fixture
def own_redis() -> Iterator[EmbeddedRedis]:
    """One that a test may kill."""
    with scratch_folder() as folder:
        server = EmbeddedRedis(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def redis_settings(own_redis: EmbeddedRedis) -> config.Redis:
    return config.Redis.model_validate({"url": own_redis.url(), "timeout": 0.5})


@pytest.fixture
def owner(make_owner: Callable[..., UUID]) -> UUID:
    return make_owner()


@pytest.fixture
def caller(owner: UUID, open_session: Callable[[UUID], Caller]) -> Caller:
    """The owner, in a session."""
    return open_session(owner)


@pytest.fixture
def make_worker(
    engine: Engine, redis_settings: config.Redis, owner: UUID
) -> Iterator[Callable[[], Worker]]:
    workers: list[Worker] = []

    def make() -> Worker:
        workers.append(Worker(engine, redis_settings.url.get_secret_value(), owner))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


@pytest.fixture
def worker(make_worker: Callable[[], Worker]) -> Worker:
    """A job, and who works on it."""
    return make_worker()


@pytest.fixture
def statements(async_engine: AsyncEngine) -> list[str]:
    """Every statement that the engine sends from now on."""
    sent: list[str] = []

    def note(connection: object, cursor: object, statement: str, *more: object) -> None:
        sent.append(statement)

    event.listen(async_engine.sync_engine, "before_cursor_execute", note)
    return sent
