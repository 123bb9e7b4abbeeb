"""The Celery application: it carries messages and keeps child processes, and decides nothing.

What Celery has for schedules, retries, time limits, revokes and results stays off: PostgreSQL is
the truth of all of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery
from celery.bootsteps import StartStopStep
from kombu.entity import Exchange, Queue

from app.core import redis_url
from app.core.config import Settings
from worker.messages import KEY_PREFIX
from worker.transport import Dropped, transport

# It routes by name alone: no binding that a flush of Redis would lose.
ANONYMOUS = Exchange("", type="direct")  # type: ignore[no-untyped-call]


def queue(name: str) -> Queue:
    return Queue(name, ANONYMOUS, routing_key=name)  # type: ignore[no-untyped-call]


def create_celery(
    settings: Settings, queues: Sequence[str], dropped: Dropped = lambda *_: None
) -> Celery:
    """An application that consumes `queues`; `dropped` is called for foreign elements."""
    url = redis_url.parse(settings.redis.url.get_secret_value())
    app = Celery("heavylift", set_as_current=False)
    app.conf.update(
        # Only for log lines: the transport connects by the whole URL.
        broker_url=url.address,
        broker_transport=transport(settings.redis, dropped),
        broker_transport_options={"global_keyprefix": KEY_PREFIX},
        broker_connection_timeout=settings.redis.timeout,
        # The default gives up for good after 100 attempts.
        broker_connection_max_retries=None,
        # If Redis refuses a command, the consumer reconnects; by default the worker would end.
        broker_channel_error_retry=True,
        broker_connection_retry_on_startup=True,
        task_queues=[queue(name) for name in queues],
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        # The ledger keeps results.
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # Acknowledged when a child takes it: the lease recovers a lost job, a redelivery by
        # Redis would only come late and double.
        task_acks_late=False,
        # A message waits in Redis, where any worker may take it, not in a busy one's memory.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Children share the parent's memory map, and die with it.
        worker_pool_start_method="fork",
        # Double the worker's CPU, and tell nothing that the ledger does not know.
        worker_send_task_events=False,
        task_send_sent_event=False,
        worker_enable_remote_control=False,
        # Logs are ours.
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


def watch_broker(app: Celery, tell: Callable[[bool], None]) -> None:
    """Tell whenever the app's worker has reached the broker, and whenever it has lost it."""

    class Contact(StartStopStep):  # type: ignore[misc]
        # After all that a lost connection starts anew.
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, _: Any) -> None:
            tell(True)

        def stop(self, _: Any) -> None:
            tell(False)

    app.steps["consumer"].add(Contact)
