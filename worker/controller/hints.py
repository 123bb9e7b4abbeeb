"""Receives hints from the API and the workers that there is something to dispatch."""

from collections.abc import Callable

import redis
from redis.client import PubSub

from app.core import channels
from app.core.config import Settings
from app.core.redis_client import client


class Hints:
    """Wakes dispatch on each hint. Without Redis it polls, but has no queue to dispatch to."""

    def __init__(self, settings: Settings, wake: Callable[[], None]) -> None:
        self._settings = settings.redis
        self._wake = wake
        self._client: redis.Redis | None = None
        self._subscription: PubSub | None = None

    def turn(self) -> bool:
        """Wait for a hint, for half of Redis's timeout at most. Raises `redis.RedisError`."""
        try:
            subscription = self._subscription or self._subscribe()
            if subscription.get_message(timeout=self._settings.timeout / 2) is not None:
                self._wake()
        except BaseException:
            self.close()
            raise
        return True

    def _subscribe(self) -> PubSub:
        self._client = client(self._settings)
        self._subscription = self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._subscription.subscribe(channels.DISPATCH)
        # Hints may have been lost before the subscription.
        self._wake()
        return self._subscription

    def close(self) -> None:
        connected, self._client, self._subscription = self._client, None, None
        if connected is not None:
            connected.close()
