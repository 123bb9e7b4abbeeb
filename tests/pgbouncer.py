"""Debian's PgBouncer, in transaction mode, in front of a test's own PostgreSQL."""

import os
import shutil
import signal
import socket
from pathlib import Path

import psutil
import psycopg
import pytest

from app.embedded import EmbeddedPostgres
from app.embedded.process import ChildProcess

# Not on everybody's PATH.
BINARY = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

# As it comes but for the pool: no start-up parameter is let pass, none of ours needs it.
CONFIGURATION = """
[databases]
* = host={sockets} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
"""


def require_pgbouncer() -> None:
    """Where tests must not be skipped (CI), it has to be there."""
    if BINARY is None:
        message = "no pgbouncer: apt-get install pgbouncer"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


class PgBouncer:
    """Transactions of all clients take turns on `size` connections of the server's."""

    def __init__(self, postgres: EmbeddedPostgres, folder: Path, *, size: int) -> None:
        self._postgres = postgres
        self._folder = folder
        self._size = size
        self._process: ChildProcess | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]

    @property
    def url(self) -> str:
        return f"postgresql://anyone@127.0.0.1:{self._port}/{EmbeddedPostgres.DATABASE}"

    def _ready(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def start(self) -> None:
        assert BINARY is not None
        self._folder.mkdir()
        configuration = self._folder / "pgbouncer.ini"
        sockets = self._postgres.folder
        configuration.write_text(
            CONFIGURATION.format(sockets=sockets, port=self._port, size=self._size)
        )
        # It refuses to be root, and PostgreSQL's socket is for its own user.
        user = psutil.Process(self._postgres.process.pid).username() if os.geteuid() == 0 else None
        self._process = ChildProcess(
            [BINARY, str(configuration)],
            output=self._folder / "pgbouncer.log",
            stop=[(signal.SIGTERM, 5)],
            orphaned=signal.SIGTERM,
            user=user,
        )
        self._process.wait_until(self._ready, seconds=20)

    @property
    def output(self) -> str:
        return (self._folder / "pgbouncer.log").read_text()

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
