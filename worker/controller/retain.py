"""Removes what has had its time: files, jobs, idempotency keys, sessions, unconfirmed addresses,
lost workers, orphans.

Level-triggered, in small transactions: each turn looks at what is there, and finishes what a crash
left half-done. Controllers may do it side by side: what one has locked, the others skip, and
removing an object twice removes it once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import obstore
import structlog
from obstore.store import ObjectStore
from sqlalchemy import Connection, Engine, TextClause, text

from app.core.config import Settings
from app.core.storage import PREFIXES, STORE_ERRORS, remove_all, staged_uploads

log = structlog.get_logger()

# Rows of one transaction, and transactions of one turn for one purpose: what is left waits for
# the next turn.
BATCH = 200
BATCHES = 50

# An expired job is a 410 for this long, a 404 after it. The row of a user who has left, which says
# nothing of them any more, stays as long: some request may yet name it, and an upload takes hours.
TOMBSTONE = timedelta(days=1)

# A worker whose row expired may come back after an outage; after this, it is another one.
LOST_WORKER = timedelta(hours=1)

# Rows come before their bytes, so a key that none names is nobody's at once; a day is for the
# clocks, and for whoever wants to know what happened.
ORPHAN_AGE = timedelta(days=1)
ORPHANS_EVERY = timedelta(hours=1)
# Keys of one page of a listing: what S3 gives at a time.
PAGE = 1000
# Its time, by the store's own clock, is that of the last sweep for orphans.
MARKER = "heavylift-swept"
# Any number, as long as nobody else takes it for an advisory lock in this database.
ORPHANS_LOCK = 4_115_101_101


@dataclass(frozen=True, slots=True)
class RetainReport:
    """How much of each a turn has removed."""

    files: int = 0
    jobs: int = 0
    idempotency_keys: int = 0
    workers: int = 0
    sessions: int = 0
    users: int = 0
    subscriptions: int = 0
    orphans: int = 0


# --- files --------------------------------------------------------------------------------------

# What an unfinished job needs, and what a running attempt has written, doesn't expire.
HELD = """(
    EXISTS (SELECT FROM job_files WHERE job_files.file_id = files.id)
    OR state = 'pending' AND EXISTS (
        SELECT FROM job_runs
        WHERE job_runs.job_id = files.job_id AND job_runs.attempt = files.attempt
          AND job_runs.state = 'running'
    )
)"""

LOCK_EXPIRED = text(
    f"""
    SELECT id FROM files
    WHERE state <> 'deleting' AND expires_at <= clock_timestamp() AND NOT {HELD}
    ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
    """  # noqa: S608
)

# In a statement of its own: a job that was being accepted while the first one ran holds the file
# in this one's snapshot.
CONDEMN = text(
    f"""
    UPDATE files SET state = 'deleting' WHERE id = ANY(CAST(:ids AS uuid[])) AND NOT {HELD}
    """  # noqa: S608
)

CONDEMNED = text(
    """
    SELECT id, key FROM files WHERE state = 'deleting' AND expires_at <= clock_timestamp()
    ORDER BY expires_at LIMIT :limit
    """
)

FORGET = text("DELETE FROM files WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'deleting'")


def condemn(connection: Connection, limit: int) -> int:
    """Make expired files invisible, for good."""
    ids = connection.execute(LOCK_EXPIRED, {"limit": limit}).scalars().all()
    if ids:
        connection.execute(CONDEMN, {"ids": ids})
    return len(ids)


def _remove_condemned(engine: Engine, store: ObjectStore) -> int:
    """The bytes first, the row last: a crash in between leaves what the next turn finds."""
    removed = 0
    for _ in range(BATCHES):
        with engine.begin() as connection:
            files = connection.execute(CONDEMNED, {"limit": BATCH}).all()
        if not files:
            break
        remove_all(store, [file.key for file in files])
        with engine.begin() as connection:
            removed += connection.execute(FORGET, {"ids": [file.id for file in files]}).rowcount
    return removed


# --- rows ---------------------------------------------------------------------------------------

DELETE_JOBS = text(
    """
    DELETE FROM jobs WHERE id = ANY(ARRAY(
        SELECT id FROM jobs WHERE expires_at < clock_timestamp() - :age
        ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ))
    """
)

CLEAR_IDEMPOTENCY_KEYS = text(
    """
    UPDATE jobs SET idempotency_key = NULL, fingerprint = NULL WHERE id = ANY(ARRAY(
        SELECT id FROM jobs
        WHERE idempotency_key IS NOT NULL AND created_at < clock_timestamp() - :age
        ORDER BY created_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ))
    """
)

DELETE_WORKERS = text(
    """
    DELETE FROM workers WHERE id = ANY(ARRAY(
        SELECT id FROM workers WHERE expires_at < clock_timestamp() - :age
        LIMIT :limit FOR UPDATE SKIP LOCKED
    ))
    """
)

# Nobody has confirmed, and the link to do it is good no longer.
DELETE_SUBSCRIPTIONS = text(
    """
    DELETE FROM newsletter_subscriptions WHERE id = ANY(ARRAY(
        SELECT id FROM newsletter_subscriptions
        WHERE confirmed_at IS NULL AND mailed_at < clock_timestamp() - :age
        ORDER BY mailed_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ))
    """
)


DELETE_SESSIONS = text(
    """
    DELETE FROM sessions WHERE id = ANY(ARRAY(
        SELECT id FROM sessions WHERE expires_at < clock_timestamp() - :age
        ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ))
    """
)

# Once all that was theirs is gone; what refers to a user otherwise goes with them.
DELETE_USERS = text(
    """
    DELETE FROM users WHERE id = ANY(ARRAY(
        SELECT user_id FROM erasures
        WHERE requested_at < clock_timestamp() - :age
          AND (SELECT true FROM jobs WHERE owner_id = erasures.user_id LIMIT 1) IS NULL
          AND (SELECT true FROM files WHERE owner_id = erasures.user_id LIMIT 1) IS NULL
        LIMIT :limit FOR UPDATE SKIP LOCKED
    ))
    """
)


def _older(statement: TextClause, age: timedelta) -> Callable[[Connection, int], int]:
    def change(connection: Connection, limit: int) -> int:
        return connection.execute(statement, {"age": age, "limit": limit}).rowcount

    return change


def _in_batches(engine: Engine, change: Callable[[Connection, int], int]) -> int:
    changed = 0
    for _ in range(BATCHES):
        with engine.begin() as connection:
            batch = change(connection, BATCH)
        changed += batch
        if batch < BATCH:
            break
    return changed


# --- orphans ------------------------------------------------------------------------------------

# Nobody waits for this lock: its transaction, unlike all others, may wait for a slow store.
TRY_LOCK = text(
    """
    SELECT pg_try_advisory_xact_lock(:lock),
           set_config('idle_in_transaction_session_timeout', '1h', true)
    """
)
NAMED = text("SELECT key FROM files WHERE key = ANY(CAST(:keys AS text[]))")


def _last_modified(store: ObjectStore, key: str) -> datetime | None:
    try:
        return obstore.head(store, key)["last_modified"]
    except FileNotFoundError:
        return None


def _begin_sweep(engine: Engine, store: ObjectStore) -> datetime | None:
    """The store's own time; None if it is too soon, or another controller's turn."""
    with engine.begin() as connection:
        if not connection.execute(TRY_LOCK, {"lock": ORPHANS_LOCK}).scalar_one():
            return None
        last = _last_modified(store, MARKER)
        if last is not None and datetime.now(UTC) - last < ORPHANS_EVERY:
            return None
        obstore.put(store, MARKER, b"")
        return _last_modified(store, MARKER)


def _old_keys(store: ObjectStore, before: datetime) -> Iterator[list[str]]:
    for prefix in PREFIXES:
        for page in obstore.list(store, prefix, chunk_size=PAGE):
            yield [found["path"] for found in page if found["last_modified"] < before]


def _unnamed(engine: Engine, keys: Sequence[str]) -> list[str]:
    with engine.begin() as connection:
        named = set(connection.execute(NAMED, {"keys": keys}).scalars())
    return [key for key in keys if key not in named]


def _remove_orphans(engine: Engine, store: ObjectStore) -> int:
    """What no row names: a late zombie's output, an upload whose end nobody saw."""
    now = _begin_sweep(engine, store)
    if now is None:
        return 0
    removed = 0
    for keys in _old_keys(store, now - ORPHAN_AGE):
        orphans = _unnamed(engine, keys) if keys else []
        remove_all(store, orphans)
        removed += len(orphans)
    for path, modified in staged_uploads(store):
        if modified < now - ORPHAN_AGE:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


# --- a turn -------------------------------------------------------------------------------------


def _while_store_answers(removal: Callable[[], int]) -> int:
    """A store that is away holds up nothing but objects: they are found again."""
    try:
        return removal()
    except STORE_ERRORS as error:
        log.warning("the file store is away, objects stay for now", error=str(error))
        return 0


def retain(engine: Engine, store: ObjectStore, settings: Settings) -> RetainReport:
    """One turn: as much as there is, up to `BATCHES` of each."""
    idempotency_ttl = timedelta(seconds=settings.jobs.idempotency_ttl)
    confirm_ttl = timedelta(seconds=settings.newsletter.confirm_ttl)
    _in_batches(engine, condemn)
    report = RetainReport(
        jobs=_in_batches(engine, _older(DELETE_JOBS, TOMBSTONE)),
        idempotency_keys=_in_batches(engine, _older(CLEAR_IDEMPOTENCY_KEYS, idempotency_ttl)),
        workers=_in_batches(engine, _older(DELETE_WORKERS, LOST_WORKER)),
        sessions=_in_batches(engine, _older(DELETE_SESSIONS, timedelta())),
        subscriptions=_in_batches(engine, _older(DELETE_SUBSCRIPTIONS, confirm_ttl)),
        files=_while_store_answers(lambda: _remove_condemned(engine, store)),
        orphans=_while_store_answers(lambda: _remove_orphans(engine, store)),
        users=_in_batches(engine, _older(DELETE_USERS, TOMBSTONE)),
    )
    if report != RetainReport():
        log.info("removed", **asdict(report))
    return report
