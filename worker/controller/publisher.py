"""Messages into Redis, and what is in there: the controller's alone, never on an event loop."""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from uuid import UUID

import redis
import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from app.core.config import Settings
from app.services.ledger import Message, Origin
from worker.celery import HEADER, TASK, create_celery, queue, queue_key, queue_name
from worker.tracing import sending

log = structlog.get_logger()

NO_ORIGINS: Mapping[UUID, Origin] = MappingProxyType({})


class Publisher:
    """One loop's. Raises `redis.RedisError` or kombu's `OperationalError` when Redis is away."""

    def __init__(self, settings: Settings) -> None:
        self._celery: Celery = create_celery(settings, settings.jobs.pools)
        self._redis = redis.Redis.from_url(
            settings.redis.url.get_secret_value(),
            socket_timeout=settings.redis.timeout,
            socket_connect_timeout=settings.redis.timeout,
            retry=None,
        )

    def publish(
        self, messages: Sequence[Message], origins: Mapping[UUID, Origin] = NO_ORIGINS
    ) -> None:
        """Send all, or stop at the first that fails: redispatch finds what is missing.

        `origins` has those jobs' whose messages are to have spans.
        """
        with self._celery.producer_pool.acquire(block=True) as producer:
            for message in messages:
                try:
                    with sending(message, origins.get(message.job_id)) as context:
                        self._celery.send_task(
                            TASK,
                            args=[str(message.job_id)],
                            task_id=message.task_id,
                            queue=queue(queue_name(message.pool, message.build)),
                            headers={} if context is None else {HEADER: context},
                            producer=producer,
                            retry=False,
                        )
                except (OperationalError, redis.RedisError, OSError) as error:
                    log.warning("redis is away, messages wait", error=str(error))
                    return

    def lengths(self, pool: str, builds: Sequence[str]) -> dict[str | None, int]:
        """How many messages wait in the pool's queues, by build; None is the one they share."""
        return {build: self._redis.llen(_key(pool, build)) for build in (None, *builds)}

    def queued(self, pool: str, builds: Sequence[str]) -> set[str]:
        """The task ids that are in the pool's queues: short lists, by design."""
        return {
            json.loads(message)["headers"]["id"]
            for build in (None, *builds)
            for message in self._redis.lrange(_key(pool, build), 0, -1)
        }

    def close(self) -> None:
        self._redis.close()
        self._celery.close()


def _key(pool: str, build: str | None) -> str:
    return queue_key(queue_name(pool, build))
