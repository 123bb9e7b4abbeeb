"""A turn of dispatch costs the same whatever waits: ten thousand rows, or a million."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import Connection, Engine, TextClause, text

from app.core import db
from app.core.config import Database
from app.core.metrics import JOB_BUCKETS
from app.services import demand, ledger, pools, survey, tallies
from app.services.ledger import Beat
from tests.servers import create_database
from worker.controller.dispatch import fill, register_pools

pytestmark = pytest.mark.slow

FEW, MANY = 10_000, 1_000_000

# What the only build there is runs, and what nobody does: a fifth of all rows.
KINDS = ("a.a", "a.b", "b.a", "b.b")
UNKNOWN = "a.c"
OWNERS = 16

# 1,001 owners, one of whom has 40 % of all rows.
BACKLOG = """
    WITH owner AS (
        INSERT INTO users (email, password_hash)
        SELECT 'owner' || n || '@example.com', '!' FROM generate_series(0, 1000) AS n RETURNING id
    ), numbered AS (
        SELECT id, row_number() OVER () - 1 AS n FROM owner
    ), job AS (
        INSERT INTO jobs (owner_id, kind, spec, priority)
        SELECT numbered.id, kinds[1 + i / 10 % cardinality(kinds)], '{}', 0
        FROM generate_series(1, :rows) AS i CROSS JOIN CAST(:kinds AS text[]) AS kinds
        JOIN numbered ON numbered.n = CASE WHEN i % 10 < 4 THEN 0 ELSE i % 1001 END
        RETURNING id, owner_id, kind
    )
    INSERT INTO job_runs (job_id, owner_id, kind, pool, priority, max_tries, state)
    SELECT id, owner_id, kind, 'cpu', 0, 3, 'queued' FROM job
"""


@pytest.fixture(scope="module")
def backlogs(test_worker: int) -> Iterator[dict[int, Engine]]:
    engines = {}
    for rows in (FEW, MANY):
        url = create_database(f"backlog_{rows}_{test_worker}")
        engines[rows] = db.sync_engine(Database.model_validate({"url": url}))
        register_pools(engines[rows], ["cpu"])
        with engines[rows].begin() as connection:
            # A million rows take longer than any statement of a worker's.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text(BACKLOG), {"rows": rows, "kinds": [*KINDS, UNKNOWN]})
            ledger.heartbeat(connection, Beat(uuid4(), "cpu", "h", "1", "b1", KINDS, 8, False))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
    yield engines
    for engine in engines.values():
        engine.dispose()


def buffers(
    connection: Connection,
    statement: TextClause,
    parameters: dict[str, object],
    *,
    table: str = "job_runs",
) -> int:
    """Pages that the statement touched, its triggers' included; the table must not be scanned."""
    explain = text(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement.text}")
    (plan,) = connection.execute(explain, parameters).scalar_one()
    root = plan["Plan"]
    nodes = [root]
    for node in nodes:
        nodes += node.get("Plans", [])
        scanned = (node["Node Type"], node.get("Relation Name"))
        assert scanned != ("Seq Scan", table), json.dumps(plan)
    touched: int = root["Shared Hit Blocks"] + root["Shared Read Blocks"]
    return touched


def turn(engine: Engine) -> dict[str, int]:
    """The pages of each statement of one turn; rolled back."""
    with engine.connect() as connection:
        every = ledger.needs(connection, "cpu")
        assert [need.kind for need in every] == sorted([*KINDS, UNKNOWN])
        needs = [need for need in every if need.kind in KINDS]
        owners = ledger.waiting_owners(connection, "cpu", needs, cursor=UUID(int=0), limit=OWNERS)
        assert len(owners) == OWNERS
        jobs = [
            job.job_id for job in ledger.pick(connection, "cpu", needs, dict.fromkeys(owners, 1))
        ]
        assert len(jobs) == OWNERS
        pool: dict[str, object] = {"pool": "cpu"}
        backlog = {**pool, "needs": json.dumps([asdict(need) for need in needs])}
        touched = {
            "lock": buffers(connection, ledger.LOCK_POOL, pool),
            "builds": buffers(connection, ledger.BUILDS, pool),
            "held": buffers(connection, ledger.HELD, pool),
            "needs": buffers(connection, ledger.NEEDS, pool),
            "owners": buffers(
                connection,
                ledger.WAITING_OWNERS,
                {**backlog, "cursor": UUID(int=0), "limit": OWNERS},
            ),
            "pick": buffers(
                connection, ledger.PICK, {**backlog, "owners": owners, "quotas": [1] * OWNERS}
            ),
            "dispatch": buffers(
                connection, ledger.DISPATCH, {"jobs": jobs, "builds": [None] * OWNERS}
            ),
            "unclaimed": buffers(
                connection, ledger.UNCLAIMED, {**pool, "after": timedelta(seconds=5)}
            ),
            "redispatch": buffers(
                connection, ledger.REDISPATCH, {"jobs": jobs, "publishes": [1] * OWNERS}
            ),
            "rescue": buffers(
                connection, ledger.EXPIRED, {"asked_at": ledger.now(connection), "limit": 100}
            ),
            "promote": buffers(connection, ledger.PROMOTE, {"limit": 100}),
        }
        connection.rollback()
    return touched


# How often each goes down an index from its root. With a hundred times the rows each may find it
# one level deeper, and what it finds on a page that vacuum has not yet called all-visible: two
# pages more. An update goes to its row, and into each of three indexes.
DESCENTS = {
    "needs": len(KINDS) + 2,
    "owners": len(KINDS) * (OWNERS + 1),
    "pick": OWNERS * (len(KINDS) + 1),
    "dispatch": OWNERS * 4,
    "redispatch": OWNERS * 4,
    # These read the rows that were just written, which share a page where there are few.
    "unclaimed": OWNERS,
    "rescue": OWNERS,
}


def test_a_turn_touches_no_more_pages_with_a_hundred_times_the_backlog(
    backlogs: dict[int, Engine],
) -> None:
    few, many = turn(backlogs[FEW]), turn(backlogs[MANY])
    for statement, pages in many.items():
        assert pages <= few[statement] + 2 * DESCENTS.get(statement, 0), (statement, few, many)
    assert sum(many.values()) < 2_000


def measured(engine: Engine) -> dict[str, int]:
    """The pages of each statement that stands behind a scrape; rolled back."""
    # In the backlog's first thousand, as a limit has it.
    limit = {"limit": 1_000}
    with engine.connect() as connection:
        tally = text(
            "INSERT INTO job_tallies (pool, kind, event, seconds)"
            " SELECT 'cpu', 'a.' || n % 4, 'claimed', 1 FROM generate_series(1, 1000) AS n"
        )
        connection.execute(tally)
        touched = {
            "count": buffers(connection, tallies.COUNT, {**limit, "buckets": list(JOB_BUCKETS)}),
            "totals": buffers(connection, tallies.TOTALS, {}),
            "load": buffers(connection, demand.LOAD, {**limit, "pools": ["cpu", "io"]}),
            "shares": buffers(
                connection,
                pools.SHARES,
                {**limit, "pools": ["cpu", "io"], "steps": pools.STEPS, "oldest": pools.OLDEST},
            ),
            "unrunnable": buffers(
                connection,
                pools.COUNT_NEED,
                {**limit, "pool": "cpu", "kind": UNKNOWN, "refused_by": []},
            ),
            "versions": buffers(connection, pools.VERSIONS, {"pools": ["cpu", "io"]}),
        }
        (cpu, _) = demand.load(connection, ["cpu", "io"], limit=1_000)
        assert cpu.waiting == 1_000
        connection.rollback()
    return touched


def test_a_measurement_touches_no_more_pages_with_a_hundred_times_the_rows(
    backlogs: dict[int, Engine],
) -> None:
    few, many = measured(backlogs[FEW]), measured(backlogs[MANY])
    # Each job that a load counts may lie on a page of its own: that is what its limit is for.
    assert many["load"] <= 1_000 + 100, (few, many)
    assert many["totals"] <= few["totals"] + 2
    assert many["count"] <= few["count"] + 1_000 / 100, (few, many)
    assert many["unrunnable"] <= 1_000 + 100, (few, many)
    assert many["versions"] <= few["versions"] + 2
    # A step of the skip scan finds its row one level deeper, each of the oldest is on its own page.
    assert many["shares"] <= few["shares"] + pools.STEPS + pools.OLDEST, (few, many)


def test_who_has_most_gets_an_equal_part(backlogs: dict[int, Engine]) -> None:
    served: dict[UUID, int] = {}
    with backlogs[MANY].connect() as connection:
        for _ in range(40):
            messages, _ = fill(connection, "cpu", window_per_slot=2, queued={})
            jobs = [message.job_id for message in messages]
            rows = connection.execute(
                text("DELETE FROM job_runs WHERE job_id = ANY(:jobs) RETURNING owner_id"),
                {"jobs": jobs},
            )
            for owner in rows.scalars():
                served[owner] = served.get(owner, 0) + 1
        connection.rollback()
    assert sum(served.values()) == 40 * 16
    assert max(served.values()) == 1


# --- what has ended ---------------------------------------------------------------------------

ENDED_FEW, ENDED_MANY = 10_000, 10_000_000

# One of a thousand is a dead letter. Ids that are made by a default would take most of the time.
ENDED = """
    WITH owner AS (
        INSERT INTO users (email, password_hash) VALUES ('ended@example.com', '!') RETURNING id
    )
    INSERT INTO jobs (id, owner_id, kind, spec, priority, outcome, dead, finished_at, expires_at)
    SELECT CAST('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0') AS uuid),
           owner.id, 'a.' || i % 4, '{}', 0,
           CASE WHEN i % 1000 = 0 THEN 'failed' ELSE 'succeeded' END, i % 1000 = 0,
           now(), now() + interval '7 days'
    FROM generate_series(1, :rows) AS i CROSS JOIN owner
"""

# No reading uses the others, and they would take minutes.
UNUSED = """
    SELECT indexname FROM pg_indexes JOIN pg_class ON pg_class.relname = indexname
    JOIN pg_index ON indexrelid = pg_class.oid
    WHERE tablename = 'jobs' AND NOT indisprimary AND indexname <> 'jobs_dead_idx'
"""


@pytest.fixture(scope="module")
def ledgers(test_worker: int) -> Iterator[dict[int, Engine]]:
    """By the number of jobs that have ended; in each, the same jobs wait."""
    engines = {}
    for rows in (ENDED_FEW, ENDED_MANY):
        url = create_database(f"ended_{rows}_{test_worker}")
        engines[rows] = db.sync_engine(Database.model_validate({"url": url}))
        with engines[rows].begin() as connection:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text(BACKLOG), {"rows": FEW, "kinds": [*KINDS, UNKNOWN]})
            for name in connection.execute(text(UNUSED)).scalars().all():
                connection.execute(text(f"DROP INDEX {name}"))
            # Neither foreign keys are checked, nor triggers called.
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(text(ENDED), {"rows": rows})
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
    yield engines
    for engine in engines.values():
        engine.dispose()


def read(engine: Engine) -> dict[str, int]:
    """The pages that each statement of a controller's reading touches."""
    limit = {"limit": 10_000}
    names: dict[str, object] = {"pools": ["cpu", "io"]}
    shares = {**limit, **names, "steps": pools.STEPS, "oldest": pools.OLDEST}
    statements: dict[str, tuple[TextClause, dict[str, object]]] = {
        "totals": (tallies.TOTALS, {}),
        "load": (demand.LOAD, {**limit, **names}),
        "shares": (pools.SHARES, shares),
        "versions": (pools.VERSIONS, names),
        "needs": (ledger.NEEDS, {"pool": "cpu"}),
        "letters": (survey.DEAD_LETTERS, {"limit": 1_000}),
        "relations": (survey.RELATIONS, {"tables": list(survey.TABLES)}),
        "server": (survey.SERVER, {}),
    }
    with engine.connect() as connection:
        return {
            name: buffers(connection, statement, parameters, table="jobs")
            for name, (statement, parameters) in statements.items()
        }


def test_a_reading_touches_no_more_pages_with_a_thousand_times_the_ended_jobs(
    ledgers: dict[int, Engine],
) -> None:
    few, many = read(ledgers[ENDED_FEW]), read(ledgers[ENDED_MANY])
    # Ten dead letters in the one, ten thousand in the other, each on a page of its own: a thousand
    # of them are read, and their index.
    assert many.pop("letters") <= few.pop("letters") + 1_000 + 20, (few, many)
    for statement, pages in many.items():
        assert pages <= few[statement] + 4, (statement, few, many)
