"""A distribution's PostgreSQL, for the oldest version that is supported."""

import os
import pwd
import signal
import subprocess
from pathlib import Path

import psycopg

from app.core.database_url import render
from app.embedded.process import ChildProcess

# Where Debian's package postgresql-15 has its binaries.
POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")

ROLE = "heavylift"


class SystemPostgres:
    """A throw-away cluster in `folder`, run by `binaries`; by default on a Unix socket only."""

    def __init__(self, binaries: Path, folder: Path, **options: str) -> None:
        self._binaries = binaries
        self._folder = folder
        # PostgreSQL refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        self._options = options
        self._process: ChildProcess | None = None

    def url(self, database: str = "postgres") -> str:
        place = {"host": str(self._folder), "port": self._options.get("port", "5432")}
        return render({"user": ROLE, "dbname": database, **place})

    def _ready(self) -> bool:
        try:
            with psycopg.connect(self.url(), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def start(self) -> None:
        self._folder.mkdir()
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        data = self._folder / "data"
        subprocess.run(
            [
                *(self._binaries / "initdb", "--pgdata", data, "--username", ROLE),
                *("--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            user=self._user,
            cwd=self._folder,
        )
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._folder),
            "max_connections": "100",
            "shared_buffers": "64MB",
            "fsync": "off",
            "timezone": "UTC",
            **self._options,
        }
        self._process = ChildProcess(
            [
                *(str(self._binaries / "postgres"), "-D", str(data)),
                *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
            ],
            output=self._folder / "postgres.log",
            stop=[(signal.SIGINT, 10)],
            orphaned=signal.SIGINT,
            user=self._user,
        )
        self._process.wait_until(self._ready, seconds=60)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None
