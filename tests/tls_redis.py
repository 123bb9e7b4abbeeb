"""A Redis that speaks TLS only, with certificates made for it."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest
import redis

from app.embedded.process import ChildProcess


def find_tls_server() -> str:
    """A server with TLS; the embedded one has none. Where tests must not be skipped (CI), it is."""
    for name in ("redis-server", "valkey-server", "redis-check-rdb"):
        if (found := shutil.which(name)) is not None:
            return found
    message = (
        "no Redis with TLS: apt-get install redis-tools, whose redis-check-rdb is a server, too"
    )
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)


def certificate(folder: Path, name: str, *options: str) -> None:
    """`name`.pem and `name`.key."""
    key = folder / f"{name}.key"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    files = ("-keyout", str(key), "-out", str(folder / f"{name}.pem"))
    _openssl("req", "-x509", *curve, *files, "-days", "2", "-subj", f"/CN={name}", *options)


@dataclass(frozen=True)
class TlsRedis:
    port: int
    folder: Path

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def url(self, *, host: str = "localhost", ca: str | None = "ca", **options: str) -> str:
        """Its URL; `ca` is `ca`, whose certificate it has, or `stranger`."""
        if ca is not None:
            options["ssl_ca_certs"] = self.file(f"{ca}.pem")
        return f"rediss://{host}:{self.port}/3?{urlencode(options)}"


@contextmanager
def tls_redis(folder: Path) -> Iterator[TlsRedis]:
    command = find_tls_server()
    certificate(folder, "ca")
    certificate(folder, "stranger")
    signed = ("-CA", str(folder / "ca.pem"), "-CAkey", str(folder / "ca.key"))
    leaf = ("-addext", "basicConstraints=critical,CA:FALSE")
    certificate(folder, "server", *signed, *leaf, "-addext", "subjectAltName=DNS:localhost")
    certificate(folder, "client", *signed, *leaf)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {
        "port": "0",
        "tls-port": str(port),
        "bind": "127.0.0.1",
        "tls-cert-file": str(folder / "server.pem"),
        "tls-key-file": str(folder / "server.key"),
        "tls-ca-cert-file": str(folder / "ca.pem"),
        "tls-auth-clients": "optional",
        "save": "",
        "dir": str(folder),
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    # Debian's package has one program with several names, and goes by the one it is called by.
    named = folder / "redis-server"
    named.symlink_to(command)
    process = ChildProcess(
        [str(named), *arguments],
        output=folder / "redis.log",
        stop=[(signal.SIGTERM, 5)],
        orphaned=signal.SIGKILL,
    )
    running = TlsRedis(port, folder)

    def ready() -> bool:
        try:
            with redis.Redis.from_url(running.url()) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    try:
        process.wait_until(ready, seconds=60)
        yield running
    finally:
        process.stop()
