"""Up and down, on the newest PostgreSQL and on the oldest supported one."""

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from app import migrations
from app.core.config import Database
from app.core.db import direct_engine
from app.models import Base
from app.services import demand, tallies
from tests.catalog import catalog

ROOT = Path(__file__).parents[2]
SQUAWK = Path(sys.executable).parent / "squawk"

CONFIG = migrations.configuration(direct_engine(Database()))
# Oldest first, each with the one that it builds on.
REVISIONS = [
    (str(script.down_revision or "base"), script.revision)
    for script in reversed(list(ScriptDirectory.from_config(CONFIG).walk_revisions()))
]


@pytest.fixture
def empty(make_database: Callable[[str], Database]) -> Database:
    return make_database("migrations")


def schema(database: Database) -> dict[tuple[str, str], str]:
    with direct_engine(database).connect() as connection:
        return catalog(connection)


@pytest.mark.slow
def test_each_revision_goes_up_down_and_up_again(empty: Database) -> None:
    command.ensure_version(migrations.configuration(direct_engine(empty)))
    for below, revision in REVISIONS:
        before = schema(empty)
        migrations.upgrade(empty, revision)
        after = schema(empty)
        migrations.downgrade(empty, below)
        assert schema(empty) == before
        migrations.upgrade(empty, revision)
        assert schema(empty) == after


def test_down_to_base_leaves_nothing(empty: Database) -> None:
    migrations.upgrade(empty)
    migrations.downgrade(empty, "base")
    left = {name for _, name in schema(empty)}
    assert {name.partition(".")[0] for name in left} == {"alembic_version", "alembic_version_pkc"}


def test_autogenerate_finds_nothing_to_do(empty: Database) -> None:
    migrations.upgrade(empty)
    command.check(migrations.configuration(direct_engine(empty)))


def test_models_and_migrations_make_the_same_schema(
    empty: Database, make_database: Callable[[str], Database]
) -> None:
    """Autogenerate compares no index's predicate, no check and no storage parameter; this does."""
    migrations.upgrade(empty)
    migrated = {
        entry: definition
        for entry, definition in schema(empty).items()
        if not entry[1].startswith("alembic_version")
    }
    functions = [definition for (sort, _), definition in migrated.items() if sort == "function"]
    modelled = make_database("models")
    with direct_engine(modelled).begin() as connection:
        for function in functions:
            connection.exec_driver_sql(function.replace("%", "%%"))
        Base.metadata.create_all(connection)
    assert schema(modelled) == migrated


BACKLOG = """
    WITH owner AS (
        INSERT INTO users (email, password_hash) VALUES ('o@example.com', '!') RETURNING id
    ), job AS (
        INSERT INTO jobs (owner_id, kind, spec, priority)
        SELECT id, 'a.b', '{}', 0 FROM owner, generate_series(1, 5) RETURNING id, owner_id
    ), numbered AS (
        SELECT job.*, row_number() OVER () AS n FROM job
    )
    INSERT INTO job_runs (job_id, owner_id, kind, pool, priority, max_tries, state, due_at)
    SELECT id, owner_id, 'a.b', 'cpu', 0, 3, CASE WHEN n = 1 THEN 'scheduled' ELSE 'queued' END,
           CASE WHEN n = 1 THEN now() END
    FROM numbered
"""


def test_what_was_there_before_the_tallies_is_counted(empty: Database) -> None:
    migrations.upgrade(empty, "0004")
    with direct_engine(empty).begin() as connection:
        connection.execute(text(BACKLOG))
    migrations.upgrade(empty)
    with direct_engine(empty).begin() as connection:
        assert tallies.count(connection, limit=10) == 2
        counted = {total.to_state: total.n for total in tallies.totals(connection)}
        assert counted == {"scheduled": 1, "queued": 4}
        (pool,) = demand.load(connection, ["cpu"], limit=10)
        assert pool.waiting == 4
        assert pool.oldest < 60
        # The version before goes on for a while, and names no column that is new.
        connection.execute(text("DELETE FROM job_runs"))
        connection.execute(text(BACKLOG.replace("o@", "p@")))


# --- under load -------------------------------------------------------------------------------

# Alembic's own table, at the start of the first revision.
VERSION_TABLE = re.compile(r"CREATE TABLE alembic_version \(.*?\);", re.DOTALL)


def sql(engine: Engine, below: str, revision: str) -> str:
    config: Config = migrations.configuration(engine)
    config.output_buffer = io.StringIO()
    command.upgrade(config, f"{below}:{revision}", sql=True)
    return VERSION_TABLE.sub("", config.output_buffer.getvalue())


def squawk(script: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(SQUAWK), "--config", str(ROOT / ".squawk.toml"), "--reporter", "gcc"],
        input=script,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def offline() -> Engine:
    """Nobody listens there: SQL is written without a connection."""
    return direct_engine(Database())


@pytest.mark.parametrize(("below", "revision"), REVISIONS)
def test_a_migration_is_safe_under_load(offline: Engine, below: str, revision: str) -> None:
    script = sql(offline, below, revision)
    assert "alembic_version" in script
    checked = squawk(script)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("CREATE INDEX jobs_kind_idx ON jobs (kind)", "require-concurrent-index-creation"),
        ("ALTER TABLE jobs ADD CONSTRAINT c CHECK (priority < 9)", "constraint-missing-not-valid"),
        ("ALTER TABLE jobs ALTER COLUMN kind TYPE varchar(9)", "changing-column-type"),
        ("ALTER TABLE jobs DROP COLUMN kind", "ban-drop-column"),
    ],
)
def test_a_migration_that_blocks_a_live_table_is_found(
    offline: Engine, statement: str, rule: str
) -> None:
    """The check above can fail."""
    below, revision = REVISIONS[-1]
    # As a next migration: what is new in this one may be locked by it.
    timeouts = sql(offline, below, revision).partition("-- Running upgrade")[0]
    checked = squawk(f"{timeouts}\n{statement};\nCOMMIT;")
    assert checked.returncode != 0
    assert rule in checked.stdout


def test_a_migration_gives_way_to_a_lock(offline: Engine) -> None:
    """Without the timeouts that the configuration sets, squawk refuses every one of them."""
    script = sql(offline, *REVISIONS[0])
    checked = squawk(script.replace("SET LOCAL lock_timeout", "-- "))
    assert checked.returncode != 0
    assert "require-lock-timeout" in checked.stdout
