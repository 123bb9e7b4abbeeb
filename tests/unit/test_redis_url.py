"""One reading of Redis's URL: what every client takes, and what is refused by its name."""

from urllib.parse import quote

import pytest
from redis.asyncio import connection as aio_connection
from redis.connection import AbstractConnection

from app.core import config, redis_url
from app.core.config import ConfigurationError
from app.core.redis_client import ASYNC_CONNECTIONS, CONNECTIONS, pool_arguments
from worker.transport import Channel, transport

ODD = "p@ss/w:rd?#% +&=;é"
WRITTEN = quote(ODD, safe="")


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://", {"host": "localhost", "port": 6379}),
        ("redis://h?db=3", {"host": "h", "port": 6379, "db": 3}),
        ("redis://h:7/2", {"host": "h", "port": 7, "db": 2}),
        ("redis://h:7/2/", {"host": "h", "port": 7, "db": 2}),
        ("redis://h:7/2?db=3", {"host": "h", "port": 7, "db": 3}),
        ("redis://h/?virtual_host=3", {"host": "h", "port": 6379, "db": 3}),
        ("redis://[::1]:7/0", {"host": "::1", "port": 7, "db": 0}),
        (
            f"redis://{WRITTEN}:{WRITTEN}@h",
            {"host": "h", "port": 6379, "username": ODD, "password": ODD},
        ),
        (f"redis://:{WRITTEN}@h", {"host": "h", "port": 6379, "password": ODD}),
        (f"redis://h?password={WRITTEN}", {"host": "h", "port": 6379, "password": ODD}),
        (
            "redis://h?health_check_interval=5&protocol=3&client_name=a&socket_keepalive=no",
            {
                "host": "h",
                "port": 6379,
                "health_check_interval": 5,
                "protocol": 3,
                "client_name": "a",
                "socket_keepalive": False,
            },
        ),
        (
            f"unix://u:{WRITTEN}@/run/a%20b/redis.sock?virtual_host=4",
            {"username": "u", "password": ODD, "path": "/run/a b/redis.sock", "db": 4},
        ),
        (
            (
                "rediss://h?ssl_ca_certs=/ca&ssl_certfile=/c&ssl_keyfile=/k&ssl_password=p"
                "&ssl_cert_reqs=CERT_NONE&ssl_check_hostname=false&ssl_min_version=1.3&ssl_ca_path=/d"
            ),
            {
                "host": "h",
                "port": 6379,
                "ssl_ca_certs": "/ca",
                "ssl_certfile": "/c",
                "ssl_keyfile": "/k",
                "ssl_password": "p",
                "ssl_cert_reqs": "none",
                "ssl_check_hostname": False,
                "ssl_min_version": 772,
                "ssl_ca_path": "/d",
            },
        ),
    ],
)
def test_options_reach_every_client(url: str, options: dict[str, object]) -> None:
    settings = config.Redis.model_validate({"url": url, "timeout": 1.5})
    for connections in (CONNECTIONS, ASYNC_CONNECTIONS):
        arguments = pool_arguments(settings, connections)
        connection_class = arguments.pop("connection_class")
        timeouts = {"socket_timeout": 1.5, "socket_connect_timeout": 1.5}
        assert arguments == {**options, **timeouts}
        # Each of them is one that the connection takes.
        made = connection_class(**arguments)
        assert isinstance(made, AbstractConnection | aio_connection.AbstractConnection)


def test_kombu_connects_as_every_client_does() -> None:
    url = f"rediss://u:{WRITTEN}@h:7?db=3&protocol=3&ssl_ca_certs=/ca"
    settings = config.Redis.model_validate({"url": url, "timeout": 1.5})
    channel: Channel = object.__new__(transport(settings, lambda *_: None).Channel)
    arguments = channel._connparams()
    for name, value in pool_arguments(settings, CONNECTIONS).items():
        assert arguments[name] == value, name
    # Verified, where the URL does not say otherwise.
    assert "ssl_cert_reqs" not in arguments
    assert arguments["connection_class"](host="h").check_hostname
    # What kombu's event loop needs is a class of the same kind.
    watched = channel._connparams(asynchronous=True)["connection_class"]
    assert issubclass(watched, arguments["connection_class"])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h?dbb=3", "unknown option 'dbb'"),
        ("redis://h?socket_timeout=3", "unknown option 'socket_timeout'"),
        ("redis://h?decode_responses=true", "unknown option 'decode_responses'"),
        ("redis://h?retry_on_timeout=true", "unknown option 'retry_on_timeout'"),
        ("redis://h?max_connections=1", "unknown option 'max_connections'"),
        ("redis://h?ssl=true", "unknown option 'ssl'"),
        ("redis://h?DB=3", "unknown option 'DB'"),
        ("redis://h?=3", "unknown option ''"),
        ("rediss://h?ssl_validate_ocsp=true", "unknown option 'ssl_validate_ocsp'"),
        ("redis://h?ssl_ca_certs=/ca", "'ssl_ca_certs' needs rediss://"),
        ("unix:///a?ssl_cert_reqs=none", "'ssl_cert_reqs' needs rediss://"),
        ("redis://h?db=1&db=2", "'db' is set twice"),
        ("redis://h?db=1&virtual_host=2", "'virtual_host' is set twice"),
        ("redis://h?db=", "'db' has no valid value"),
        ("redis://h?db=x", "'db' has no valid value"),
        ("redis://h?db=-1", "'db' has no valid value"),
        ("redis://h?db=1.5", "'db' has no valid value"),
        ("redis://h?protocol=4", "'protocol' has no valid value"),
        ("redis://h?protocol=x", "'protocol' has no valid value"),
        ("redis://h?health_check_interval=often", "'health_check_interval' has no valid value"),
        ("redis://h?client_name=a%20b", "'client_name' has no valid value"),
        ("rediss://h?ssl_cert_reqs=maybe", "'ssl_cert_reqs' has no valid value"),
        ("rediss://h?ssl_check_hostname=perhaps", "'ssl_check_hostname' has no valid value"),
        ("rediss://h?ssl_ca_certs=", "'ssl_ca_certs' has no valid value"),
        ("redis://h/zero", "the database in its path has no valid value"),
        ("redis://h/0/1", "the database in its path has no valid value"),
        ("unix://run/redis.sock", "write it as unix:///path"),
        ("unix://", "write it as unix:///path"),
        ("http://h", "write it as redis://"),
        ("h:6379", "write it as redis://"),
        ("", "write it as redis://"),
        ("redis://:a/b@h", "write it as redis://"),
        ("redis://:a#b@h/0", "write it as redis://"),
        ("redis://h:0", "write it as redis://"),
        ("redis://h:65536", "write it as redis://"),
        ("redis://[::1/0", "write it as redis://"),
        ("redis://%ff@h", "write it as redis://"),
        ("redis://h/0#1", "write it as redis://"),
    ],
)
def test_a_fault_is_named(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        redis_url.parse(url)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [f"redis://u:{WRITTEN}@h/zero", f"redis://h?password={WRITTEN}&x=1", "redis://:hunter/2@h"],
)
def test_a_fault_shows_no_password(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        redis_url.parse(url)
    assert not any(secret in str(raised.value) for secret in (ODD, WRITTEN, "hunter"))


def test_an_address_shows_neither_user_nor_password() -> None:
    assert redis_url.parse("redis://u:p@[::1]:7?db=3&password=q").address == "redis://[::1]:7/3"
    assert redis_url.parse("unix://u:p@/a%20b/c?password=q").address == "unix:///a%20b/c"


def test_a_file_that_can_not_be_read_is_named(tmp_path: object) -> None:
    redis = config.Redis.model_validate({"url": f"rediss://h?ssl_ca_certs={tmp_path}/none.pem"})
    with pytest.raises(ConfigurationError, match=r"HEAVYLIFT_REDIS_URL: can't read ssl_ca_certs, "):
        redis.require_files()
