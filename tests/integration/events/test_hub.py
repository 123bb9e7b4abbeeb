"""The hub: what Redis says, what it loses, and what PostgreSQL then says."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core import config
from app.core.errors import DomainError, NotFound, Unauthorized, Unavailable
from app.embedded import EmbeddedRedis
from app.schemas.job import JobEvent
from app.services import events
from app.services.auth import Caller
from app.services.events import EventHub
from tests.integration.events.conftest import Worker
from tests.integration.listening import eventually

pytestmark = pytest.mark.anyio

# Longer than any test: what arrives has come through Redis.
NEVER = 600.0
# Short: what Redis does not say is found at once.
SOON = 0.05


class Stream:
    """What one client gets, collected in the background."""

    def __init__(self, hub: EventHub, job: UUID, caller: Caller, *, after: int = 0) -> None:
        self.events: list[JobEvent] = []
        self._watch = hub.watch(job, caller, after=after)
        self._task = asyncio.create_task(self._collect())

    async def _collect(self) -> None:
        async for event in self._watch:
            self.events.append(event)

    async def reaches(self, seq: int) -> None:
        # The ledger may have replaced that event already.
        await eventually(lambda: any(event.seq >= seq for event in self.events))

    async def ended(self) -> list[JobEvent]:
        async with asyncio.timeout(10):
            await self._task
        return self.events

    async def refused(self, why: type[DomainError]) -> list[JobEvent]:
        with pytest.raises(why):
            await self.ended()
        return self.events

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


@pytest.fixture
async def hub(async_engine: AsyncEngine, redis_settings: config.Redis) -> AsyncIterator[EventHub]:
    """Its poll comes never: all that arrives was read after a subscription, or said by Redis."""
    async with EventHub(async_engine, redis_settings, poll=NEVER) as hub:
        yield hub


@pytest.fixture
async def polling_hub(
    async_engine: AsyncEngine, redis_settings: config.Redis
) -> AsyncIterator[EventHub]:
    async with EventHub(async_engine, redis_settings, poll=SOON) as hub:
        yield hub


async def test_two_watchers_see_a_job_to_its_end(
    hub: EventHub, worker: Worker, caller: Caller
) -> None:
    first = Stream(hub, worker.job_id, caller)
    await first.reaches(1)
    assert first.events[0].state == "queued"
    worker.claim()
    halfway = worker.progress(0.5)
    await first.reaches(halfway)
    assert first.events[-1].message == "50%"
    # One that comes later begins with what is now.
    second = Stream(hub, worker.job_id, caller)
    await second.reaches(halfway)
    assert [event.seq for event in second.events] == [halfway]
    end = worker.succeed()
    for stream in first, second:
        events = await stream.ended()
        assert (events[-1].seq, events[-1].state) == (end, "succeeded")
        seqs = [event.seq for event in events]
        assert seqs == sorted(set(seqs))


async def test_the_subscription_comes_before_the_snapshot(
    hub: EventHub, worker: Worker, caller: Caller
) -> None:
    """Whatever changes round a stream's beginning is read, or said by Redis."""
    for _ in range(20):
        stream = Stream(hub, worker.job_id, caller)
        await stream.reaches(1)
        assert worker.subscribers() == 1
        await stream.leave()
        await eventually(lambda: worker.subscribers() == 0)


async def test_one_connection_whatever_is_watched(
    hub: EventHub,
    make_worker: Callable[[], Worker],
    caller: Caller,
    own_redis: EmbeddedRedis,
) -> None:
    workers = [make_worker() for _ in range(5)]
    streams = [Stream(hub, worker.job_id, caller) for worker in workers for _ in range(3)]
    for stream in streams:
        await stream.reaches(1)
    subscribers = [client for client in workers[0]._redis.client_list() if int(client["sub"]) > 0]
    assert [int(client["sub"]) for client in subscribers] == [5]
    for stream in streams:
        await stream.leave()


async def test_resuming_repeats_nothing_and_misses_nothing(
    hub: EventHub, worker: Worker, caller: Caller
) -> None:
    seen = worker.claim()
    stream = Stream(hub, worker.job_id, caller, after=seen)
    other = Stream(hub, worker.job_id, caller)
    await other.reaches(seen)
    assert stream.events == []
    # Between two connections of the client: nobody is there to hear it.
    await stream.leave()
    worker.progress(0.3, announce=False)
    missed = worker.progress(0.4, announce=False)
    resumed = Stream(hub, worker.job_id, caller, after=seen)
    await resumed.reaches(missed)
    assert [event.seq for event in resumed.events] == [missed]
    worker.succeed()
    await resumed.ended()
    # Having seen the end, there is nothing more.
    assert await Stream(hub, worker.job_id, caller, after=resumed.events[-1].seq).ended() == []


async def test_a_progress_that_is_not_a_number_delays_no_stream(
    hub: EventHub, make_worker: Callable[[], Worker], caller: Caller, engine: Engine
) -> None:
    bad, good = make_worker(), make_worker()
    for worker in bad, good:
        worker.claim()
    with engine.begin() as connection:
        wrong = text("UPDATE job_runs SET progress = 'NaN' WHERE job_id = :job")
        connection.execute(wrong, {"job": bad.job_id})
    streams = [Stream(hub, worker.job_id, caller) for worker in (bad, good)]
    for stream in streams:
        await stream.reaches(2)
    assert [stream.events[0].progress for stream in streams] == [0, 0]
    # What a worker of an older version says of it: JSON has no NaN.
    event = streams[0].events[0].model_copy(update={"seq": 3, "progress": float("nan")})
    bad._announce(event)
    await streams[0].reaches(3)
    assert streams[0].events[-1].progress == 0
    for stream in streams:
        await stream.leave()


@pytest.fixture
def unknown_state(engine: Engine, worker: Worker) -> Iterator[UUID]:
    """A job in a state that a later version has added."""
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE job_runs DROP CONSTRAINT job_runs_state_check"))
        connection.execute(text("UPDATE job_runs SET state = 'paused'"))
    yield worker.job_id
    with engine.begin() as connection:
        connection.execute(text("UPDATE job_runs SET state = 'queued' WHERE state = 'paused'"))
        connection.execute(
            text(
                "ALTER TABLE job_runs ADD CONSTRAINT job_runs_state_check"
                " CHECK (state IN ('scheduled', 'queued', 'running'))"
            )
        )


async def test_a_job_that_is_not_understood_costs_no_other_its_stream(
    unknown_state: UUID,
    hub: EventHub,
    make_worker: Callable[[], Worker],
    caller: Caller,
    engine: Engine,
) -> None:
    odd = Stream(hub, unknown_state, caller)
    good = Stream(hub, make_worker().job_id, caller)
    await good.reaches(1)
    # In one read, whichever came first.
    hub._read_now(unknown_state, *hub._jobs)
    await eventually(lambda: not hub._to_read.is_set())
    assert odd.events == []
    with engine.begin() as connection:
        connection.execute(text("UPDATE job_runs SET state = 'queued' WHERE state = 'paused'"))
    hub._read_now(unknown_state)
    await odd.reaches(1)
    for stream in odd, good:
        await stream.leave()


async def test_a_client_from_another_past_begins_anew(
    hub: EventHub, worker: Worker, caller: Caller
) -> None:
    seq = worker.claim()
    stream = Stream(hub, worker.job_id, caller, after=seq + 1000)
    await stream.reaches(seq)
    end = worker.succeed()
    assert [event.seq for event in await stream.ended()] == [seq, end]


async def test_a_lost_message_is_noticed(
    polling_hub: EventHub, worker: Worker, caller: Caller
) -> None:
    worker.claim()
    stream = Stream(polling_hub, worker.job_id, caller)
    await stream.reaches(worker.progress(0.5, announce=False))
    worker.fail(announce=False)
    ended = (await stream.ended())[-1]
    assert ended.state == "failed"
    assert ended.error is not None
    assert (ended.error.code, ended.error.detail) == ("bad", "d")


async def test_a_message_from_before_changes_nothing(
    hub: EventHub, worker: Worker, caller: Caller
) -> None:
    worker.claim()
    stream = Stream(hub, worker.job_id, caller)
    latest = worker.progress(0.5, announce=False)
    await stream.reaches(2)
    worker._announce(JobEvent(job_id=worker.job_id, seq=1, state="queued", attempt=0))
    worker._redis.publish(f"heavylift:job:{worker.job_id}", b"not one of ours")
    end = worker.succeed()
    seqs = [event.seq for event in await stream.ended()]
    assert seqs == sorted(set(seqs))
    assert seqs[-1] == end
    assert latest in seqs or latest < end


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGSTOP])
async def test_without_redis_it_polls(
    polling_hub: EventHub,
    worker: Worker,
    caller: Caller,
    own_redis: EmbeddedRedis,
    sig: signal.Signals,
) -> None:
    stream = Stream(polling_hub, worker.job_id, caller)
    await stream.reaches(1)
    own_redis.process.signal(sig)
    try:
        worker.claim()
        await stream.reaches(worker.progress(0.5, announce=False))
        late = Stream(polling_hub, worker.job_id, caller)
        await late.reaches(3)
        end = worker.succeed(announce=False)
        assert (await stream.ended())[-1].seq == end
        assert (await late.ended())[-1].seq == end
    finally:
        own_redis.process.signal(signal.SIGCONT)


async def test_redis_comes_back(
    hub: EventHub, worker: Worker, caller: Caller, own_redis: EmbeddedRedis
) -> None:
    """What happened meanwhile is read as soon as the subscription is there again."""
    stream = Stream(hub, worker.job_id, caller)
    await stream.reaches(1)
    own_redis.process.kill()
    worker.claim()
    meanwhile = worker.progress(0.5, announce=False)
    own_redis.start()
    await stream.reaches(meanwhile)
    await stream.reaches(worker.progress(0.6))
    worker.succeed()
    await stream.ended()


async def test_a_silent_redis_is_asked_and_kept(
    polling_hub: EventHub, worker: Worker, caller: Caller, statements: list[str]
) -> None:
    def connections() -> list[str]:
        return [client["id"] for client in worker._redis.client_list() if int(client["sub"]) > 0]

    stream = Stream(polling_hub, worker.job_id, caller)
    await stream.reaches(1)
    before = connections()
    statements.clear()
    # Polls go by, and silence would have been taken for death after two of them.
    await eventually(lambda: len(statements) > 20)
    assert connections() == before
    await stream.leave()


async def test_a_frozen_redis_holds_up_no_new_stream(
    hub: EventHub, make_worker: Callable[[], Worker], caller: Caller, own_redis: EmbeddedRedis
) -> None:
    """Its subscription is sent, and not answered."""
    workers = make_worker(), make_worker()
    stream = Stream(hub, workers[0].job_id, caller)
    await stream.reaches(1)
    own_redis.process.signal(signal.SIGSTOP)
    try:
        other = Stream(hub, workers[1].job_id, caller)
        await other.reaches(1)
        await other.leave()
        await stream.leave()
    finally:
        own_redis.process.signal(signal.SIGCONT)


async def test_an_idle_hub_holds_no_database_connection(
    hub: EventHub, worker: Worker, caller: Caller, async_engine: AsyncEngine
) -> None:
    stream = Stream(hub, worker.job_id, caller)
    await stream.reaches(1)
    # Its reading transaction may just be ending; then nothing is held any more.
    await eventually(lambda: async_engine.pool.checkedout() == 0)  # type: ignore[attr-defined]
    await stream.leave()


async def test_many_jobs_are_read_in_one_statement(
    polling_hub: EventHub,
    make_worker: Callable[[], Worker],
    caller: Caller,
    async_engine: AsyncEngine,
    statements: list[str],
) -> None:
    workers = [make_worker() for _ in range(20)]
    streams = [Stream(polling_hub, worker.job_id, caller) for worker in workers]
    for stream in streams:
        await stream.reaches(1)
    statements.clear()
    for worker in workers:
        worker.claim()
    for stream in streams:
        await stream.reaches(2)
    reads = [statement for statement in statements if "FROM jobs LEFT" in statement]
    turns = [statement for statement in statements if "FROM sessions" in statement]
    assert turns
    assert abs(len(reads) - len(turns)) <= 1
    for stream in streams:
        await stream.leave()


async def test_a_stream_ends_with_its_token(hub: EventHub, worker: Worker, caller: Caller) -> None:
    until = datetime.now(UTC) + timedelta(seconds=0.5)
    stream = Stream(hub, worker.job_id, replace(caller, until=until))
    events = await stream.refused(Unauthorized)
    assert datetime.now(UTC) >= until
    assert [event.state for event in events] == ["queued"]


async def test_a_stream_ends_with_its_user(
    polling_hub: EventHub,
    worker: Worker,
    caller: Caller,
    make_owner: Callable[..., UUID],
    open_session: Callable[[UUID], Caller],
    engine: Engine,
) -> None:
    other = Stream(polling_hub, worker.job_id, open_session(make_owner()))
    stream = Stream(polling_hub, worker.job_id, caller)
    await stream.reaches(1)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE users SET is_active = false WHERE id = :u"), {"u": caller.id}
        )
    await stream.refused(Unauthorized)
    await other.reaches(1)
    await other.leave()


@pytest.mark.parametrize("end", ["DELETE FROM sessions", "UPDATE sessions SET expires_at = now()"])
async def test_a_stream_ends_with_its_session(
    polling_hub: EventHub,
    worker: Worker,
    caller: Caller,
    open_session: Callable[[UUID], Caller],
    engine: Engine,
    end: str,
) -> None:
    other = Stream(polling_hub, worker.job_id, open_session(caller.id))
    stream = Stream(polling_hub, worker.job_id, caller)
    await stream.reaches(1)
    with engine.begin() as connection:
        connection.execute(text(f"{end} WHERE id = :id"), {"id": caller.credential})
    await stream.refused(Unauthorized)
    await other.reaches(1)
    await other.leave()


@pytest.mark.parametrize("end", ["DELETE FROM api_keys", "UPDATE api_keys SET expires_at = now()"])
async def test_a_stream_ends_with_its_api_key(
    polling_hub: EventHub, worker: Worker, caller: Caller, engine: Engine, end: str
) -> None:
    with engine.begin() as connection:
        key: UUID = connection.execute(
            text(
                "INSERT INTO api_keys (user_id, name, prefix, digest)"
                " VALUES (:user, 'n', 'p', '') RETURNING id"
            ),
            {"user": caller.id},
        ).scalar_one()
    stream = Stream(polling_hub, worker.job_id, Caller(caller.id, key, None, by_api_key=True))
    await stream.reaches(1)
    with engine.begin() as connection:
        connection.execute(text(end))
    await stream.refused(Unauthorized)


async def test_a_stream_ends_with_its_job(
    polling_hub: EventHub, worker: Worker, caller: Caller, engine: Engine
) -> None:
    stream = Stream(polling_hub, worker.job_id, caller)
    await stream.reaches(1)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM jobs"))
    await stream.refused(NotFound)


async def test_closing_ends_all_streams_and_lets_no_more_in(
    hub: EventHub, worker: Worker, caller: Caller
) -> None:
    streams = [Stream(hub, worker.job_id, caller) for _ in range(3)]
    for stream in streams:
        await stream.reaches(1)
    hub.close()
    for stream in streams:
        await stream.refused(Unavailable)
    assert await Stream(hub, worker.job_id, caller).refused(Unavailable) == []


async def test_a_slow_watcher_gets_the_newest_and_holds_up_nobody(
    hub: EventHub, worker: Worker, caller: Caller
) -> None:
    worker.claim()
    slow = hub.watch(worker.job_id, caller)
    first = await anext(slow)
    fast = Stream(hub, worker.job_id, caller)
    await fast.reaches(first.seq)
    for step in range(1, 10):
        await fast.reaches(worker.progress(step / 10))
    assert len(fast.events) == 10
    assert (await anext(slow)).progress == 0.9
    await slow.aclose()
    worker.succeed()
    await fast.ended()


async def test_a_database_that_is_away_is_waited_for(
    polling_hub: EventHub,
    worker: Worker,
    caller: Caller,
    statements: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = Stream(polling_hub, worker.job_id, caller)
    await stream.reaches(1)
    with monkeypatch.context() as broken:
        broken.setattr(events, "JOB_SNAPSHOT", text("SELECT 1 / 0"))
        await eventually(lambda: statements.count("SELECT 1 / 0") > 2)
    worker.claim()
    await stream.reaches(2)
    await stream.leave()
