"""The certificate of a PostgreSQL that speaks TLS, which the embedded one does not."""

import os
import pwd
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.core.config import Database
from app.core.database_url import render
from app.core.db import certificate, connect
from app.embedded.stack import free_port
from tests import system_postgres, tls_redis
from tests.servers import scratch_folder
from tests.system_postgres import SystemPostgres

ROLE = {"user": system_postgres.ROLE, "dbname": "postgres"}

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.postgres15]


@dataclass
class TlsPostgres:
    port: int
    authority: Path
    """The certificate, which signs itself."""

    def database(self, **options: str) -> Database:
        host = {"host": "127.0.0.1", "port": str(self.port)}
        return Database.model_validate({"url": render({**host, **ROLE, **options})})


@pytest.fixture(scope="module")
def server(postgres_15: Path) -> Iterator[TlsPostgres]:
    with scratch_folder() as folder:
        tls_redis.certificate(folder, "server", "-addext", "subjectAltName=IP:127.0.0.1")
        certified, key = folder / "server.pem", folder / "server.key"
        if os.geteuid() == 0:
            # The server does not run as root.
            shutil.chown(key, pwd.getpwnam("nobody").pw_uid)
        port = free_port()
        tls = {"ssl": "on", "ssl_cert_file": str(certified), "ssl_key_file": str(key)}
        address = {"listen_addresses": "127.0.0.1", "port": str(port)}
        postgres = SystemPostgres(postgres_15, folder / "pg", **address, **tls)
        try:
            postgres.start()
            yield TlsPostgres(port, certified)
        finally:
            postgres.stop()


def ends(certified: Path) -> float:
    """In seconds since 1970, as openssl says."""
    command = ["openssl", "x509", "-noout", "-enddate", "-in", str(certified)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return ssl.cert_time_to_seconds(said.strip().removeprefix("notAfter="))


async def test_a_certificate_that_was_verified_is_known(server: TlsPostgres) -> None:
    verified = {"sslmode": "verify-full", "sslrootcert": str(server.authority)}
    connection = await connect(server.database(**verified), within=10)
    try:
        found = certificate(connection)
        assert found
        assert ssl.cert_time_to_seconds(found["notAfter"]) == ends(server.authority)
    finally:
        await connection.close()


@pytest.mark.parametrize("mode", ["require", "disable"])
async def test_of_others_nothing_is_known(server: TlsPostgres, mode: str) -> None:
    connection = await connect(server.database(sslmode=mode), within=10)
    try:
        assert not certificate(connection)
    finally:
        await connection.close()
