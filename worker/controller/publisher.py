"""Messages into Redis, and what is in there: the controller's alone, never on an event loop."""

import json

import redis
import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from app.core.config import Settings
from app.services.ledger import Message
from worker.celery import TASK, create_celery, queue_key

log = structlog.get_logger()


class Publisher:
    """One loop's. Raises `redis.RedisError` or kombu's `OperationalError` when Redis is away."""

    def __init__(self, settings: Settings) -> None:
        self._celery: Celery = create_celery(settings)
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
                        queue=message.pool,
                        producer=producer,
                        retry=False,
                    )
                except (OperationalError, redis.RedisError, OSError) as error:
                    log.warning("redis is away, messages wait", error=str(error))
                    return

    def length(self, pool: str) -> int:
        length: int = self._redis.llen(queue_key(pool))  # type: ignore[assignment]
        return length

    def queued(self, pool: str) -> set[str]:
        """The task ids that are in the queue: a short list, by design."""
        found: list[bytes] = self._redis.lrange(queue_key(pool), 0, -1)  # type: ignore[assignment]
        return {json.loads(message)["headers"]["id"] for message in found}

    def close(self) -> None:
        self._redis.close()
        self._celery.close()
