"""Kombu's Redis transport, for a Redis that others write to and that fails over.

It differs from kombu's own:

- it connects by the same arguments as every other client;
- a connection counts as made once Redis takes writes, so that Celery's own backoff waits for a
  server that can't serve a consumer, such as a replica;
- an element of a queue that is not a message is dropped: kombu would end the worker with it;
- messages are not kept in Redis until they are acknowledged: the ledger finds a lost one sooner.
"""

from collections.abc import Callable
from queue import Empty
from typing import Any

import redis
from kombu.transport import redis as kombu_redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError
from typing_extensions import override

from app.core import config
from app.core.redis_client import CONNECTIONS, WRITE_PROBE, is_wrong_type, pool_arguments
from worker.messages import DROP_UNLESS_LIST, KEY_PREFIX, read

# Called for each dropped element or key, with the queue and `element` or `key`.
Dropped = Callable[[str, str], None]


class _Client(kombu_redis.PrefixedStrictRedis):
    """Kombu's client, whose BRPOP answers with messages only."""

    def __init__(self, *args: Any, dropped: Dropped, **options: Any) -> None:
        options["global_keyprefix"] = KEY_PREFIX
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        self._dropped = dropped

    @override
    def ping(self, **_: Any) -> bool:
        """Whether Redis gives messages: a replica answers a PING, but gives none."""
        command, key, *arguments = WRITE_PROBE
        try:
            self.execute_command(  # type: ignore[no-untyped-call]
                command, key.removeprefix(KEY_PREFIX), *arguments
            )
        except OutOfMemoryError:
            # It gives the messages that it has, which frees memory.
            return True
        except ResponseError as error:
            raise RedisConnectionError(f"takes no messages: {error}") from error
        return True

    @override
    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        answer = super().parse_response(  # type: ignore[no-untyped-call]
            connection, command_name, **options
        )
        if command_name != "BRPOP" or not answer:
            return answer
        key, element = answer
        queue = key.decode()
        message = read(element)
        if message is None:
            self._dropped(queue, "element")
            return None
        return key, message.for_kombu(queue)


class Channel(kombu_redis.Channel):
    ack_emulation = False
    do_restore = False
    # All messages have the same priority: one key for each queue.
    priority_steps = [0]  # noqa: RUF012

    # Set by `transport` for its class.
    settings: config.Redis
    dropped: Dropped

    @override
    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        arguments = pool_arguments(self.settings, CONNECTIONS)
        arguments.setdefault("health_check_interval", self.health_check_interval)
        if asynchronous:
            arguments["connection_class"] = _watched(arguments["connection_class"], self)
        return {"max_connections": self.max_connections, **arguments}

    @override
    def _get_client(self) -> Callable[..., redis.Redis]:
        def client(**options: Any) -> redis.Redis:
            return _Client(dropped=type(self).dropped, **options)

        return client

    @override
    def _brpop_read(self, **options: Any) -> bool:
        try:
            return bool(super()._brpop_read(**options))  # type: ignore[no-untyped-call]
        except ResponseError as error:
            # A key of another type also blocks the queues behind it in the same BRPOP.
            if not (is_wrong_type(error) and self._drop_wrong_types()):
                raise
            raise Empty from None

    @override
    def _size(self, queue: str) -> int:
        # Kombu asks in a transaction, which a server that is out of memory refuses.
        with self.conn_or_acquire() as client:
            return int(client.llen(queue))

    def _drop_wrong_types(self) -> bool:
        with self.conn_or_acquire() as client:
            drop = client.register_script(DROP_UNLESS_LIST)
            wrong = [queue for queue in self.active_queues if drop(keys=[queue])]
        for queue in wrong:
            type(self).dropped(queue, "key")
        return bool(wrong)


def _watched(connection_class: type[Any], channel: Channel) -> type[Any]:
    """Add kombu's own hook to the class: the event loop forgets a connection that has ended."""

    class Watched(connection_class):  # type: ignore[misc]
        def disconnect(self, *args: Any, **options: Any) -> None:
            super().disconnect(*args, **options)
            if channel._registered:
                channel._on_connection_disconnect(self)  # type: ignore[no-untyped-call]

    return Watched


class Transport(kombu_redis.Transport):
    # With this, kombu takes no options from the URL, and returns it unchanged for log lines.
    can_parse_url = True

    @override
    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        return uri


def transport(settings: config.Redis, dropped: Dropped) -> type[Any]:
    """Make a transport's class with these settings: kombu passes none to its classes."""
    attributes = {"settings": settings, "dropped": staticmethod(dropped)}
    channel = type("Channel", (Channel,), attributes)
    return type("Transport", (Transport,), {"Channel": channel})
