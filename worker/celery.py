"""The Celery application: it carries messages and keeps child processes, and decides nothing.

What Celery has for schedules, retries, time limits, revokes and results stays off: PostgreSQL is
the truth of all of them.
"""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from celery import Celery
from celery.bootsteps import StartStopStep
from kombu.entity import Exchange, Queue

from app.core.config import Settings

TASK = "heavylift.run"

# Of a message: the span that sent it, as W3C Trace Context writes it.
HEADER = "traceparent"

# Of every key in Redis that Celery makes; other applications may share the database.
KEY_PREFIX = "heavylift:"


def _broker_url(url: str) -> str:
    """Kombu's spelling of a Redis URL: it has a scheme of its own for sockets."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
    # redis-py takes both from the query as well, and from there first.
    user = quote(asked["username"], safe="") if "username" in asked else parts.username or ""
    password = quote(asked["password"], safe="") if "password" in asked else parts.password or ""
    login = f"{user}:{password}@" if user or password else ""
    return f"redis+socket://{login}{parts.path}?virtual_host={asked.get('db', '0')}"


def queue_name(pool: str, build: str | None = None) -> str:
    """A pool's queue, or that of the pool's workers of one build."""
    return pool if build is None else f"{pool}.{build}"


def queue_key(queue: str) -> str:
    """The Redis list that holds a queue's messages."""
    return f"{KEY_PREFIX}{queue}"


# It routes by name alone: no binding that a flush of Redis would lose.
ANONYMOUS = Exchange("", type="direct")  # type: ignore[no-untyped-call]


def queue(name: str) -> Queue:
    return Queue(name, ANONYMOUS, routing_key=name)  # type: ignore[no-untyped-call]


def create_celery(settings: Settings, queues: Sequence[str]) -> Celery:
    """`queues` are those that it consumes."""
    app = Celery("heavylift", set_as_current=False)
    app.conf.update(
        broker_url=_broker_url(settings.redis.url.get_secret_value()),
        broker_transport_options={
            # A frozen Redis costs a publish this long, not for ever.
            "socket_timeout": settings.redis.timeout,
            "socket_connect_timeout": settings.redis.timeout,
            "global_keyprefix": KEY_PREFIX,
        },
        broker_connection_timeout=settings.redis.timeout,
        # The default gives up for good after 100 attempts.
        broker_connection_max_retries=None,
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
