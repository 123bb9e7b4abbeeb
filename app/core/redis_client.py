"""Makes clients of Redis, all from the same parsed URL."""

import re
from collections.abc import Mapping
from typing import Any

import redis
from redis import asyncio as aio
from redis.asyncio import connection as aio_connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from typing_extensions import override

from app.core import config, redis_url
from app.core.validity import show_certificate

# After a failover a connection may lead to a server that no longer takes writes, while the name in
# the URL leads to another one. Redis 6 wraps a script's error in another error.
_LEFT_BEHIND = re.compile(r"READONLY|MASTERDOWN|UNBLOCKED")

_WRONG_TYPE = re.compile(r"WRONGTYPE|is not an integer|would overflow")

# A write that changes nothing, as the key does not exist: a server that takes no messages refuses
# it as well. A server that is out of memory refuses SET, and accepts DEL.
WRITE_PROBE = ("SET", "heavylift:probe", "", "XX", "PX", "1")


def is_wrong_type(error: Exception) -> bool:
    """Whether a key has a value that its command can't work with."""
    return _WRONG_TYPE.search(str(error)) is not None


def _left_behind(error: ResponseError) -> bool:
    return _LEFT_BEHIND.search(f"{error.status_code} {error}") is not None


class _Leaving(redis.connection.AbstractConnection):
    """A connection that ends when its server is not, or no longer, a primary."""

    @override
    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)
        except ResponseError as error:
            if not _left_behind(error):
                raise
            self.disconnect()  # type: ignore[no-untyped-call]
            raise RedisConnectionError(f"not a primary: {error}") from error


class _AsyncLeaving(aio_connection.AbstractConnection):
    """The same for asyncio."""

    @override
    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except ResponseError as error:
            if not _left_behind(error):
                raise
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"not a primary: {error}") from error


class _Tcp(_Leaving, redis.Connection):
    pass


class _Tls(_Leaving, redis.SSLConnection):
    @override
    def _connect(self) -> Any:
        wire = super()._connect()  # type: ignore[no-untyped-call]
        show_certificate("redis", wire.getpeercert())
        return wire


class _Unix(_Leaving, redis.UnixDomainSocketConnection):
    pass


class _AsyncTcp(_AsyncLeaving, aio.Connection):
    pass


class _AsyncTls(_AsyncLeaving, aio.SSLConnection):
    @override
    async def _connect(self) -> None:
        await super()._connect()  # type: ignore[no-untyped-call]
        if self._writer is not None:
            show_certificate("redis", self._writer.get_extra_info("peercert"))


class _AsyncUnix(_AsyncLeaving, aio.UnixDomainSocketConnection):
    pass


CONNECTIONS: Mapping[str, type[Any]] = {
    "redis": _Tcp,
    "rediss": _Tls,
    "unix": _Unix,
}
ASYNC_CONNECTIONS: Mapping[str, type[Any]] = {
    "redis": _AsyncTcp,
    "rediss": _AsyncTls,
    "unix": _AsyncUnix,
}


def pool_arguments(
    settings: config.Redis, connections: Mapping[str, type[Any]], *, timeout: float | None = None
) -> dict[str, Any]:
    """A connection pool's arguments; `timeout` (seconds) overrides the setting's."""
    url = redis_url.parse(settings.url.get_secret_value())
    timeout = settings.timeout if timeout is None else timeout
    return {
        **url.options,
        "connection_class": connections[url.scheme],
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
    }


def client(settings: config.Redis, *, timeout: float | None = None) -> redis.Redis:
    """A client that tries each command once."""
    arguments = pool_arguments(settings, CONNECTIONS, timeout=timeout)
    return redis.Redis.from_pool(redis.ConnectionPool(**arguments))


def async_client(settings: config.Redis, *, max_connections: int | None = None) -> aio.Redis:
    """A client that tries each command once."""
    arguments = pool_arguments(settings, ASYNC_CONNECTIONS)
    return aio.Redis.from_pool(aio.ConnectionPool(max_connections=max_connections, **arguments))
