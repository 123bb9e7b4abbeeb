"""What stands in queues, as a worker's transport and a controller's publisher read it."""

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
import structlog

from app.core.config import Settings
from app.core.redis_client import WRITE_PROBE
from app.models.job import JobState
from app.schemas.job import JobEvent
from app.services.dispatch_hint import DispatchHint, hint_client
from app.services.ledger import Message
from tests.strangers import strange
from worker.announce import Announcer
from worker.celery import create_celery, queue
from worker.controller.measure import PingRedis
from worker.controller.metrics import LedgerMetrics
from worker.controller.publisher import Publisher
from worker.messages import MAX_BYTES, QueuedMessage, queue_key, read

CPU = queue_key("cpu")

WRONG = pytest.mark.parametrize(
    "put",
    [
        lambda client: client.set(CPU, "text"),
        lambda client: client.hset(CPU, "a", "b"),
        lambda client: client.sadd(CPU, "a"),
        lambda client: client.zadd(CPU, {"a": 1}),
        lambda client: client.xadd(CPU, {"a": "b"}),
    ],
    ids=["string", "hash", "set", "sorted set", "stream"],
)
Put = Callable[[redis.Redis], object]


@pytest.fixture
def client(settings: Settings, clean: None) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.redis.url.get_secret_value()) as connected:
        yield connected


@pytest.fixture
def publisher(settings: Settings) -> Iterator[Publisher]:
    publisher = Publisher(settings)
    yield publisher
    publisher.close()


class Consumed:
    """What a worker's consumer takes from its queues."""

    def __init__(self, connection: Any, dropped: Counter[tuple[str, str]]) -> None:
        self.dropped = dropped
        self.jobs: list[UUID] = []
        self.headers: list[dict[str, Any]] = []
        self._connection = connection
        queues = [queue(name) for name in ("cpu", "cpu.build")]
        self._consumer = connection.Consumer(queues, on_message=self._take)
        self._consumer.consume()

    def _take(self, message: Any) -> None:
        [[job], _, _] = message.payload
        self.jobs.append(UUID(job))
        self.headers.append(message.headers)
        message.ack()

    def until(self, done: Callable[["Consumed"], object]) -> None:
        for _ in range(200):
            if done(self):
                return
            try:
                self._connection.drain_events(timeout=0.05)
            except TimeoutError:
                continue
        pytest.fail(f"not in 200 turns: {self.jobs} {self.dropped}")


@contextmanager
def consuming(settings: Settings) -> Iterator[Consumed]:
    dropped: Counter[tuple[str, str]] = Counter()

    def drop(queue: str, what: str) -> None:
        dropped[queue, what] += 1

    with create_celery(settings, ["cpu"], drop).connection_for_read() as connection:
        yield Consumed(connection, dropped)


def message() -> Message:
    return Message(uuid4(), attempt=1, publishes=1, pool="cpu")


def test_a_consumer_gets_messages_and_nothing_else(
    settings: Settings, client: redis.Redis, publisher: Publisher
) -> None:
    elements = strange()
    first, last = message(), message()
    publisher.publish([first])
    for element in elements:
        client.lpush(CPU, element)
    publisher.publish([last])
    with consuming(settings) as consumed:
        consumed.until(lambda consumed: len(consumed.jobs) == 2)
        assert consumed.jobs == [first.job_id, last.job_id]
        assert consumed.dropped == {("cpu", "element"): len(elements)}
        # Nothing of a message is used but these.
        assert all(
            set(headers) <= {"lang", "task", "id", "traceparent"} for headers in consumed.headers
        )


@WRONG
def test_a_probe_works_whatever_is_at_its_key(
    settings: Settings, client: redis.Redis, publisher: Publisher, put: Put
) -> None:
    put(client)
    client.rename(CPU, WRITE_PROBE[1])
    sent = message()
    publisher.publish([sent])
    with consuming(settings) as consumed:
        consumed.until(lambda consumed: consumed.jobs == [sent.job_id])


def test_a_consumer_leaves_nothing_in_redis(
    settings: Settings, client: redis.Redis, publisher: Publisher
) -> None:
    publisher.publish([message()])
    with consuming(settings) as consumed:
        consumed.until(lambda consumed: consumed.jobs)
        assert client.keys("*") == []


@WRONG
def test_a_consumer_drops_a_key_of_another_type(
    settings: Settings, client: redis.Redis, publisher: Publisher, put: Put
) -> None:
    with consuming(settings) as consumed:
        put(client)
        consumed.until(lambda consumed: consumed.dropped)
        assert consumed.dropped == {("cpu", "key"): 1}
        sent = message()
        publisher.publish([sent])
        consumed.until(lambda consumed: consumed.jobs == [sent.job_id])


@WRONG
def test_a_publisher_drops_a_key_of_another_type(
    client: redis.Redis, publisher: Publisher, put: Put
) -> None:
    put(client)
    assert publisher.lengths("cpu", []) == {None: 0}
    assert not client.exists(CPU)
    put(client)
    assert publisher.queued("cpu", []) == set()
    assert not client.exists(CPU)
    sent = message()
    publisher.publish([sent])
    assert publisher.queued("cpu", []) == {sent.task_id}


def test_redispatch_sees_its_messages_among_foreign_elements(
    client: redis.Redis, publisher: Publisher
) -> None:
    sent = [message() for _ in range(3)]
    for one in sent:
        publisher.publish([one])
        for element in strange():
            client.lpush(CPU, element)
    assert publisher.queued("cpu", []) == {one.task_id for one in sent}


def test_a_worker_does_not_connect_to_a_redis_that_takes_no_writes(
    settings: Settings, client: redis.Redis
) -> None:
    client.replicaof("127.0.0.1", "1")
    try:
        celery = create_celery(settings, ["cpu"])
        with celery.connection_for_read() as connection:
            with pytest.raises(redis.ConnectionError, match="not a primary"):
                connection.transport.establish_connection()
            assert issubclass(redis.ConnectionError, connection.recoverable_connection_errors)
    finally:
        client.replicaof("NO", "ONE")


def test_an_unblocked_consumer_connects_again(
    settings: Settings, client: redis.Redis, publisher: Publisher
) -> None:
    """`UNBLOCKED force unblock from blocking operation, instance state changed`."""
    with consuming(settings) as consumed:
        with pytest.raises(socket.timeout):
            consumed._connection.drain_events(timeout=0.05)
        client.replicaof("127.0.0.1", "1")
        try:
            with pytest.raises(consumed._connection.connection_errors, match="UNBLOCKED"):
                consumed.until(lambda _: False)
        finally:
            client.replicaof("NO", "ONE")
        sent = message()
        publisher.publish([sent])
        consumed.until(lambda consumed: consumed.jobs == [sent.job_id])


@pytest.fixture
def full(client: redis.Redis) -> Iterator[None]:
    """A Redis that is out of memory."""
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    yield
    client.config_set("maxmemory", "0")


def test_a_controller_measures_a_full_redis_as_down(settings: Settings, full: None) -> None:
    metrics = LedgerMetrics([], window_per_slot=2, demand_limit=10)
    ping = PingRedis(settings, metrics)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        ping.turn()
    ping.close()
    assert metrics._up["redis"] is False


@pytest.mark.anyio
async def test_the_api_reports_a_full_redis_as_unreachable(settings: Settings, full: None) -> None:
    connected = hint_client(settings.redis)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        await DispatchHint(connected)._tell({"cpu"}, [])
    await connected.aclose()


def test_an_announcer_notices_a_full_redis(settings: Settings, full: None) -> None:
    with structlog.testing.capture_logs() as logs:
        Announcer(settings).event(JobEvent(job_id=uuid4(), seq=1, state=JobState.QUEUED, attempt=0))
    (said,) = logs
    assert "used memory" in said["error"]


def test_a_worker_takes_messages_from_a_full_redis(
    settings: Settings, client: redis.Redis, publisher: Publisher
) -> None:
    sent = message()
    publisher.publish([sent])
    client.config_set("maxmemory", "1")
    try:
        with consuming(settings) as consumed:
            consumed.until(lambda consumed: consumed.jobs == [sent.job_id])
    finally:
        client.config_set("maxmemory", "0")


@pytest.mark.parametrize("rules", [["-@write"], ["resetkeys"]], ids=["commands", "keys"])
def test_a_probe_is_refused_to_a_user_without_the_right_to_write(
    client: redis.Redis, rules: list[str]
) -> None:
    client.acl_setuser("reader", enabled=True, nopass=True, keys=["*"], categories=["+@all"])
    client.execute_command("ACL", "SETUSER", "reader", *rules)  # type: ignore[no-untyped-call]
    arguments = {**client.connection_pool.connection_kwargs, "username": "reader", "password": ""}
    try:
        with (
            redis.Redis.from_pool(
                redis.ConnectionPool(client.connection_pool.connection_class, **arguments)
            ) as reader,
            pytest.raises(redis.exceptions.NoPermissionError),
        ):
            reader.execute_command(*WRITE_PROBE)
    finally:
        client.acl_deluser("reader")


def test_a_message_of_this_version_is_read(client: redis.Redis, publisher: Publisher) -> None:
    sent = message()
    publisher.publish([sent])
    element = client.rpop(CPU)
    assert isinstance(element, bytes)
    assert len(element) < MAX_BYTES / 4
    found = read(element)
    assert found is not None
    assert (found.task_id, found.job_id, found.traceparent) == (sent.task_id, sent.job_id, None)
    # A transport hands on what it can read again.
    assert read(found.for_kombu("cpu")) == found


@pytest.mark.parametrize(
    "traceparent",
    [
        "é" * 28,
        "x" * 55,
        "00-" + "A" * 32 + "-" + "b" * 16 + "-01",
        "ff-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "00-" + "0" * 32 + "-" + "b" * 16 + "-01",
        "00-" + "a" * 32 + "-" + "0" * 16 + "-01",
        "00-" + "a" * 32 + "-" + "b" * 16 + "-01\n",
        "",
    ],
)
def test_a_message_with_an_invalid_traceparent_is_read_without_it(traceparent: str) -> None:
    job = uuid4()
    found = read(QueuedMessage(f"{job}.1.1", job, traceparent).for_kombu("cpu"))
    assert found == QueuedMessage(f"{job}.1.1", job, None)


def test_a_valid_traceparent_is_kept() -> None:
    job, traceparent = uuid4(), "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    sent = QueuedMessage(f"{job}.1.1", job, traceparent)
    assert read(sent.for_kombu("cpu")) == sent


def test_a_publisher_that_is_refused_says_so_once(
    client: redis.Redis, publisher: Publisher
) -> None:
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    try:
        with structlog.testing.capture_logs() as logs:
            for _ in range(5):
                publisher.publish([message()])
    finally:
        client.config_set("maxmemory", "0")
    said = [line["event"] for line in logs]
    assert said.count("redis takes no messages, jobs wait") == 1
    assert publisher.lengths("cpu", []) == {None: 0}
    sent = message()
    publisher.publish([sent])
    assert publisher.queued("cpu", []) == {sent.task_id}
