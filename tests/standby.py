"""A streaming standby of an embedded PostgreSQL, as a highly available database has one."""

import shutil
import subprocess
from pathlib import Path

import psutil
import psycopg

from app.embedded import EmbeddedPostgres
from tests.processes import until


def start_standby(primary: EmbeddedPostgres, folder: Path) -> EmbeddedPostgres:
    """Copy the primary into `folder` and follow it; what it commits from then on is on both."""
    server = psutil.Process(primary.process.pid)
    folder.mkdir(mode=0o700)
    shutil.chown(folder, server.username())
    subprocess.run(
        [
            *(Path(server.exe()).with_name("pg_basebackup"), "--host", primary.folder),
            *("--username", "postgres", "--pgdata", folder),
            *("--write-recovery-conf", "--checkpoint", "fast", "--no-sync"),
        ],
        check=True,
        capture_output=True,
        user=server.username(),
        cwd=folder,
        timeout=60,
    )
    # The primary's socket is in its folder, and this came with the copy.
    (folder / ".s.PGSQL.5432.lock").unlink()
    standby = EmbeddedPostgres(folder)
    standby.start()
    with psycopg.connect(primary.url(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")

        def follows() -> bool:
            states = connection.execute("SELECT sync_state FROM pg_stat_replication").fetchall()
            return states == [("sync",)]

        until(follows, seconds=30, what="the standby follows")
    return standby


def promote(standby: EmbeddedPostgres) -> None:
    with psycopg.connect(standby.url(), autocommit=True) as connection:
        assert connection.execute("SELECT pg_promote(true, 30)").fetchone() == (True,)
