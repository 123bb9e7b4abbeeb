"""Measurements that change slowly: dead letters, sizes of the ledger, and PostgreSQL's sessions."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

# Dead letters that are read, the oldest of them.
LETTERS = 10_000

# The tables of the ledger.
TABLES = ("jobs", "job_runs", "job_files", "job_tallies", "job_totals", "workers")


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Dead letters of one kind that are still kept; the oldest `LETTERS` of all kinds count."""

    kind: str
    count: int
    oldest: float
    """Seconds since the first of them ended."""
    expires: float
    """Seconds until the first of them is removed."""


# The index is in the order in which the jobs were accepted.
DEAD_LETTERS = text(
    """
    SELECT kind, count(*) AS count,
           CAST(greatest(0, extract(epoch FROM clock_timestamp() - min(finished_at)))
                AS double precision) AS oldest,
           CAST(greatest(0, extract(epoch FROM min(expires_at) - clock_timestamp()))
                AS double precision) AS expires
    FROM (
        SELECT kind, finished_at, expires_at FROM jobs WHERE dead ORDER BY id LIMIT :limit
    ) AS dead
    GROUP BY kind
    """
)


def dead_letters(connection: Connection) -> list[DeadLetters]:
    rows = connection.execute(DEAD_LETTERS, {"limit": LETTERS})
    return [DeadLetters(**row._mapping) for row in rows]


@dataclass(frozen=True, slots=True)
class Relation:
    """A table (`index` is empty) or one of its indexes."""

    table: str
    index: str
    bytes: int
    dead_rows: int
    """Row versions that vacuum has not yet removed; 0 of an index."""


RELATIONS = text(
    """
    WITH ledger AS (
        SELECT relname, oid FROM pg_class
        WHERE relkind = 'r' AND oid = ANY(
            SELECT to_regclass(quote_ident(name)) FROM unnest(CAST(:tables AS text[])) AS name
        )
    )
    SELECT relname AS table, '' AS index, pg_table_size(oid) AS bytes,
           pg_stat_get_dead_tuples(oid) AS dead_rows
    FROM ledger
    UNION ALL
    SELECT ledger.relname, index.relname, pg_relation_size(index.oid), 0
    FROM ledger JOIN pg_index ON indrelid = ledger.oid
                JOIN pg_class AS index ON index.oid = indexrelid
    """
)


def relations(connection: Connection) -> list[Relation]:
    rows = connection.execute(RELATIONS, {"tables": list(TABLES)})
    return [Relation(**row._mapping) for row in rows]


@dataclass(frozen=True, slots=True)
class Server:
    """PostgreSQL's sessions; only members of `pg_monitor` see the times of other roles' own."""

    connections: int
    connections_max: int
    """The most sessions that roles other than superusers may open."""
    oldest_transaction: float
    """Seconds; 0 if none is open but this one."""


# Clients alone: a walsender is not one, and autovacuum's transactions end by themselves.
SERVER = text(
    """
    SELECT count(*) AS connections,
           current_setting('max_connections')::integer
               - current_setting('superuser_reserved_connections')::integer AS connections_max,
           CAST(coalesce(extract(epoch FROM clock_timestamp() - least(
                    min(xact_start) FILTER (WHERE pid <> pg_backend_pid()
                                              AND datname = current_database()),
                    (SELECT min(prepared) FROM pg_prepared_xacts
                     WHERE database = current_database()))), 0) AS double precision)
               AS oldest_transaction
    FROM pg_stat_activity WHERE backend_type = 'client backend'
    """
)


def server(connection: Connection) -> Server:
    return Server(**connection.execute(SERVER).one()._mapping)


@dataclass(frozen=True, slots=True)
class Survey:
    dead_letters: Sequence[DeadLetters]
    relations: Sequence[Relation]
    server: Server


def survey(connection: Connection) -> Survey:
    return Survey(dead_letters(connection), relations(connection), server(connection))
