"""A Redis that asks for a password, on a Unix socket and in a database of its number."""

from collections.abc import Iterator
from urllib.parse import quote
from uuid import uuid4

import pytest
import redis

from app.core.config import Settings
from app.services.ledger import Message
from tests.servers import redis_server
from worker.celery import create_celery
from worker.controller.publisher import Publisher

PASSWORD = "p@ss/w:rd?#%"
WRITTEN = quote(PASSWORD, safe="")


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """The path of its socket."""
    with redis_server() as server:
        with redis.Redis.from_url(server.url()) as client:
            client.config_set("requirepass", PASSWORD)
        yield server.url().removeprefix("unix://").partition("?")[0]


@pytest.fixture(
    params=[
        f"unix://:{WRITTEN}@{{path}}?db=3",
        f"unix://default:{WRITTEN}@{{path}}?db=3",
        f"unix://{{path}}?db=3&password={WRITTEN}",
        f"unix://{{path}}?username=default&password={WRITTEN}&db=3",
    ]
)
def settings_of(request: pytest.FixtureRequest, guarded: str) -> Settings:
    return Settings.model_validate({"redis": {"url": request.param.format(path=guarded)}})


def test_the_broker_is_where_every_other_client_is(settings_of: Settings) -> None:
    message = Message(uuid4(), attempt=1, publishes=1, pool="cpu")
    publisher = Publisher(settings_of)
    publisher.publish([message])
    # Written by Celery, and read by the client that everything else has.
    assert message.task_id in publisher.queued("cpu", [])
    publisher.close()


def test_no_log_shows_the_password(settings_of: Settings) -> None:
    with create_celery(settings_of, []).connection_for_read() as connection:
        shown = connection.as_uri()
    assert WRITTEN not in shown
    assert PASSWORD not in shown
