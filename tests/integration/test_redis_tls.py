"""A Redis behind TLS: verified by all that connect to it, whatever library they use."""

import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import pytest
import redis
from prometheus_client import REGISTRY
from redis.exceptions import RedisError
from sqlalchemy import Engine

from app.core import config
from app.core.config import Settings
from app.core.redis_client import async_client, client
from app.core.validity import CERTIFICATE_EXPIRY
from app.services.ledger import Message
from tests.ledger_view import View
from tests.processes import parts, until
from tests.servers import scratch_folder
from tests.tls_redis import TlsRedis, tls_redis
from worker.celery import create_celery
from worker.controller.publisher import Publisher

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


@pytest.fixture(scope="module")
def server() -> Iterator[TlsRedis]:
    with scratch_folder() as folder, tls_redis(folder) as running:
        yield running


async def sync(settings: Settings) -> None:
    with client(settings.redis) as connected:
        connected.ping()


async def asynchronous(settings: Settings) -> None:
    async with async_client(settings.redis) as connected:
        await connected.ping()


async def worker(settings: Settings) -> None:
    """As Celery's worker connects."""
    with create_celery(settings, ["cpu"]).connection_for_read() as connection:
        connection.connect()


async def publisher(settings: Settings) -> None:
    message = Message(uuid4(), attempt=1, publishes=1, pool="cpu")
    publisher = Publisher(settings)
    try:
        publisher.publish([message])
        assert message.task_id in publisher.queued("cpu", [])
    finally:
        publisher.close()


Connect = Callable[[Settings], Awaitable[None]]
everybody = pytest.mark.parametrize("connect", [sync, asynchronous, worker, publisher])


def at(url: str) -> Settings:
    return Settings.model_validate({"redis": {"url": url, "timeout": 5}})


@everybody
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ssl_cert_reqs": "required", "ssl_check_hostname": "true", "ssl_min_version": "1.3"},
        {"host": "127.0.0.1", "ssl_check_hostname": "false"},
        {"ca": None, "host": "127.0.0.1", "ssl_cert_reqs": "none"},
        {"protocol": "3", "health_check_interval": "5"},
        {"protocol": "2", "client_name": "heavylift"},
    ],
    ids=str,
)
async def test_the_right_certificate_is_accepted(
    server: TlsRedis, connect: Connect, options: dict[str, str | None]
) -> None:
    await connect(at(server.url(**options)))  # type: ignore[arg-type]


@pytest.mark.parametrize("connect", [sync, asynchronous])
async def test_it_is_known_when_the_certificate_ends(server: TlsRedis, connect: Connect) -> None:
    await connect(at(server.url()))
    name, labels = "heavylift_certificate_expiry_timestamp_seconds", {"dependency": "redis"}
    expiry = REGISTRY.get_sample_value(name, labels)
    asked = ["openssl", "x509", "-noout", "-enddate", "-in", server.file("server.pem")]
    printed = (await anyio.run_process(asked)).stdout.decode().strip()
    assert expiry == ssl.cert_time_to_seconds(printed.removeprefix("notAfter="))
    CERTIFICATE_EXPIRY.clear()
    await connect(at(server.url(ca=None, host="127.0.0.1", ssl_cert_reqs="none")))
    assert REGISTRY.get_sample_value(name, labels) is None


@everybody
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"ca": "stranger"}, "certificate verify failed"),
        ({"ca": None}, "certificate verify failed"),
        ({"host": "127.0.0.1"}, "certificate is not valid for '127.0.0.1'"),
        ({"ca": "stranger", "ssl_check_hostname": "false"}, "certificate verify failed"),
        ({"ca": "stranger", "ssl_cert_reqs": "optional"}, "certificate verify failed"),
    ],
    ids=str,
)
async def test_another_certificate_is_refused(
    server: TlsRedis, connect: Connect, options: dict[str, str | None], why: str
) -> None:
    with pytest.raises(RedisError, match=why):
        await connect(at(server.url(**options)))  # type: ignore[arg-type]


@everybody
async def test_a_certificate_of_the_client_reaches_the_server(
    server: TlsRedis, connect: Connect
) -> None:
    own = {"ssl_certfile": server.file("client.pem"), "ssl_keyfile": server.file("client.key")}
    with redis.Redis.from_url(server.url(**own)) as administrator:
        administrator.config_set("tls-auth-clients", "yes")
        try:
            with pytest.raises(RedisError):
                await connect(at(server.url()))
            await connect(at(server.url(**own)))
        finally:
            administrator.config_set("tls-auth-clients", "optional")


def test_jobs_run_behind_tls(
    server: TlsRedis,
    engine: Engine,
    settings: Settings,
    make_owner: Callable[..., UUID],
    tmp_path: Path,
) -> None:
    url = server.url(health_check_interval="5", protocol="3")
    secured = settings.model_copy(update={"redis": config.Redis.model_validate({"url": url})})
    view = View(engine, make_owner())
    with parts(secured, tmp_path) as running:
        job = view.submit()
        running.controller().ready()
        running.worker().ready()
        until(lambda: view.succeeded(job), seconds=60, what="it runs")
        # And one whose certificate nobody of ours knows gets nothing.
        other = running.start(
            *("worker", "--pool", "io", "--concurrency", "1"),
            HEAVYLIFT_REDIS_URL=server.url(ca="stranger"),
        )
        until(
            lambda: "certificate verify failed" in other.output,
            seconds=60,
            what=f"it is refused: {other.output}",
        )
        assert other.process.poll() is None
        assert " ready " not in other.output
    with redis.Redis.from_url(server.url()) as connected, suppress(redis.ResponseError):
        connected.flushdb()
