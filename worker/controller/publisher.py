"""Messages into Redis, and what is in there: the controller's alone, never on an event loop."""

import json
from collections.abc import Sequence

import redis
import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from app.core.config import Settings
from app.services.ledger import Message
from worker.celery import TASK, create_celery, queue, queue_key, queue_name

log = structlog.get_logger()


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

    def publish(self, messages: list[Message]) -> None:
        """Send all, or stop at the first that fails: redispatch finds what is missing."""
        with self._celery.producer_pool.acquire(block=True) as producer:
            for message in messages:
                try:
                    self._celery.send_task(
                        TASK,
                        args=[str(message.job_id)],
                        task_id=message.task_id,
                        queue=queue(queue_name(message.pool, message.build)),
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
