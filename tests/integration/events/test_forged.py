"""Messages that nobody of Heavylift has sent: the ledger's word replaces them."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core import channels, config
from app.schemas.job import JobEvent
from app.services.auth import Caller
from app.services.events import EventHub
from tests.integration.events.conftest import Worker
from tests.integration.events.test_hub import NEVER, Stream
from tests.integration.listening import eventually

pytestmark = pytest.mark.anyio

HUGE = 10**12


@pytest.fixture
async def hub(async_engine: AsyncEngine, redis_settings: config.Redis) -> AsyncIterator[EventHub]:
    """It never polls: what it shows was read because of a message, or is the message."""
    async with EventHub(async_engine, redis_settings, poll=NEVER) as hub:
        yield hub


def forge(worker: Worker, **changes: Any) -> None:
    event = JobEvent(job_id=worker.job_id, seq=HUGE, state="running", attempt=1)
    payload = {**event.model_dump(mode="json"), **changes}
    worker._redis.publish(channels.job(worker.job_id), json.dumps(payload))


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "succeeded", "progress": 1},
        {"state": "failed", "error": {"code": "forged", "detail": "d"}},
        {"state": "cancelled"},
        {"state": "queued"},
        {"attempt": 7},
        {"attempt": 0},
        {"error": {"code": "forged", "detail": "d"}},
        {"seq": 10**30},
    ],
    ids=str,
)
async def test_a_message_alone_moves_no_job(
    hub: EventHub, worker: Worker, caller: Caller, changes: dict[str, Any]
) -> None:
    claimed = worker.claim()
    stream = Stream(hub, worker.job_id, caller)
    await stream.reaches(claimed)
    forge(worker, **changes)
    # The message has been heard by then, and has changed nothing.
    progress = worker.progress(0.5)
    await stream.reaches(progress)
    end = worker.succeed()
    shown = await stream.ended()
    assert [event.seq for event in shown] == [claimed, progress, end]
    assert [event.state for event in shown] == ["running", "running", "succeeded"]
    assert {event.attempt for event in shown} == {1}
    assert all(event.error is None for event in shown)


@pytest.mark.parametrize("progress", [0.99, -1, 1e400, float("nan")], ids=str)
async def test_forged_progress_lasts_until_the_next_read(
    hub: EventHub, worker: Worker, caller: Caller, progress: float
) -> None:
    claimed = worker.claim()
    stream = Stream(hub, worker.job_id, caller)
    await stream.reaches(claimed)
    forge(worker, progress=progress, message="nearly there")
    await stream.reaches(HUGE)
    assert 0 <= stream.events[-1].progress <= 1
    hub._read_now(worker.job_id)
    await eventually(lambda: stream.events[-1].seq == claimed)
    assert stream.events[-1].progress == 0
    # Whoever comes now, or comes again, is told what is so.
    for after in (0, HUGE):
        other = Stream(hub, worker.job_id, caller, after=after)
        await other.reaches(claimed)
        assert other.events[0].seq == claimed
        await other.leave()
    true = worker.progress(0.5)
    await eventually(lambda: stream.events[-1].seq == true)
    end = worker.succeed()
    assert (await stream.ended())[-1].seq == end


async def test_forged_progress_hides_no_end(hub: EventHub, worker: Worker, caller: Caller) -> None:
    claimed = worker.claim()
    stream = Stream(hub, worker.job_id, caller)
    await stream.reaches(claimed)
    forge(worker, progress=0.99)
    await stream.reaches(HUGE)
    end = worker.succeed()
    ended = (await stream.ended())[-1]
    assert (ended.seq, ended.state) == (end, "succeeded")


async def test_forged_words_at_the_right_place_are_corrected(
    hub: EventHub, worker: Worker, caller: Caller
) -> None:
    claimed = worker.claim()
    stream = Stream(hub, worker.job_id, caller)
    await stream.reaches(claimed)
    forge(worker, seq=claimed + 1, progress=0.9, message="forged")
    await stream.reaches(claimed + 1)
    assert worker.progress(0.5, announce=False) == claimed + 1
    hub._read_now(worker.job_id)
    await eventually(lambda: stream.events[-1].progress == 0.5)
    assert stream.events[-1].message == "50%"
    await stream.leave()


async def test_a_message_of_another_job_is_no_message_of_this_one(
    hub: EventHub, make_worker: Callable[[], Worker], caller: Caller
) -> None:
    watched, other = make_worker(), make_worker()
    streams = [Stream(hub, worker.job_id, caller) for worker in (watched, other)]
    claimed = [worker.claim() for worker in (watched, other)]
    for worker in (watched, other):
        forge(worker, seq=claimed[0] + 1)
    for stream, seq in zip(streams, claimed, strict=True):
        await stream.reaches(seq)
    forge(other, job_id=str(watched.job_id), progress=0.9)
    progress = other.progress(0.5)
    await streams[1].reaches(progress)
    assert streams[0].events[-1].seq < HUGE
    for stream in streams:
        await stream.leave()


async def test_messages_of_any_shape_end_nothing_and_fill_no_log(
    hub: EventHub, worker: Worker, caller: Caller
) -> None:
    claimed = worker.claim()
    stream = Stream(hub, worker.job_id, caller)
    await stream.reaches(claimed)
    payloads = [
        *(b"", b"\xff\xfe", b"null", b"[]", b"{}", b"7", b"[" * 100_000, b"x" * 1_000_000),
        *(
            json.dumps({"job_id": str(worker.job_id), **changed}).encode()
            for changed in (
                {"seq": None},
                {"seq": "x", "state": "running", "attempt": 1},
                {"seq": HUGE, "state": "unknown", "attempt": 1},
                {"seq": HUGE, "state": "running", "attempt": 1, "progress": "half"},
                {"seq": HUGE, "state": "running", "attempt": 1, "message": {}},
                {"seq": HUGE, "state": "running", "attempt": 1, "message": "m" * 1_000_000},
            )
        ),
    ]
    with structlog.testing.capture_logs() as logs:
        for payload in payloads:
            worker._redis.publish(channels.job(worker.job_id), payload)
        progress = worker.progress(0.5)
        await stream.reaches(progress)
    assert [event.seq for event in stream.events] == [claimed, progress]
    [line] = [line for line in logs if line["event"] == "event not understood"]
    assert len(str(line)) < 1000
    await stream.leave()


async def test_what_was_read_before_takes_back_nothing_that_was_heard_since(
    hub: EventHub, worker: Worker, caller: Caller
) -> None:
    """A read that began before a change must not undo the change's message."""
    claimed = worker.claim()
    stream = Stream(hub, worker.job_id, caller)
    await stream.reaches(claimed)
    job = hub._jobs[worker.job_id]
    before = job.latest
    progress = worker.progress(0.5)
    await stream.reaches(progress)
    old = JobEvent(job_id=worker.job_id, seq=claimed, state="running", attempt=1)
    job.is_read(old, before=before)
    await stream.reaches(worker.progress(0.6))
    assert [event.seq for event in stream.events] == [claimed, progress, progress + 1]
    await stream.leave()
