"""What has had its time goes, and nothing else."""

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import obstore
import pytest
from obstore.exceptions import GenericError
from obstore.store import LocalStore, ObjectStore
from sqlalchemy import Engine, text

from app.core import db
from app.core.config import Settings
from app.models.job import JobState
from app.services import ledger
from app.services.ledger import Outcome, Retention, Submission
from tests.processes import until
from worker.controller import retain as retaining
from worker.controller.retain import RetainReport, retain

NOTHING = RetainReport()
KEEP = Retention(result=timedelta(days=7), files=timedelta(days=7))
DAY = 86400


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return LocalStore(tmp_path, automatic_cleanup=True, mkdir=True)


@pytest.fixture
def turn(engine: Engine, store: ObjectStore, settings: Settings) -> Callable[[], RetainReport]:
    """A turn, after the first one has begun the hour's sweep for orphans."""
    assert retain(engine, store, settings) == NOTHING
    return lambda: retain(engine, store, settings)


@pytest.fixture
def owner(make_owner: Callable[..., UUID]) -> UUID:
    return make_owner()


class Ledger:
    """Rows and objects, as others would have left them; each committed."""

    def __init__(self, engine: Engine, store: ObjectStore, owner: UUID) -> None:
        self._engine = engine
        self._store = store
        self._owner = owner

    def execute(self, statement: str, **parameters: object) -> Any:
        with self._engine.begin() as connection:
            result = connection.execute(text(statement), parameters)
            return result.all() if result.returns_rows else result.rowcount

    def file(self, *, state: str = "ready", expires: str = "-1 s", key: str | None = None) -> UUID:
        key = key or f"files/{self._owner}/{uuid4().hex}"
        obstore.put(self._store, key, b"bytes")
        [(file,)] = self.execute(
            "INSERT INTO files (owner_id, state, key, name, content_type, size, sha256, expires_at)"
            " VALUES (:owner, :state, :key, 'n', 't', 5, 'x',"
            " clock_timestamp() + CAST(:expires AS interval)) RETURNING id",
            owner=self._owner,
            state=state,
            key=key,
            expires=expires,
        )
        found: UUID = file
        return found

    def job(self, *files: UUID, key: str | None = None) -> UUID:
        with self._engine.begin() as connection:
            job = ledger.accept(
                connection,
                Submission(
                    owner_id=self._owner,
                    kind="a.b",
                    pool="cpu",
                    max_tries=3,
                    spec="{}",
                    files=files,
                    idempotency_key=key,
                    fingerprint=None if key is None else b"f",
                ),
            )
        assert job is not None
        return job

    def claim(self, job: UUID) -> int:
        with self._engine.begin() as connection:
            claim = ledger.claim(connection, job, worker_id=uuid4(), kinds=["a.b"], version="1")
        assert claim is not None
        return claim.attempt

    def output(self, job: UUID, attempt: int) -> str:
        key = f"outputs/{job}/{attempt}-{uuid4().hex}"
        with self._engine.begin() as connection:
            file = ledger.reserve_output(
                connection,
                job,
                attempt,
                key=key,
                name="n",
                content_type="t",
                size=5,
                sha256=b"x",
                pending_ttl=timedelta(hours=6),
            )
        assert file is not None
        obstore.put(self._store, key, b"bytes")
        return key

    def finish(self, job: UUID, state: JobState, attempt: int | None = None) -> None:
        with self._engine.begin() as connection:
            change = ledger.finish(
                connection,
                job,
                Outcome(state),
                attempt=attempt,
                from_states=[JobState.QUEUED, JobState.RUNNING],
                keep=KEEP,
            )
        assert change is not None

    def files(self) -> set[UUID]:
        return {row.id for row in self.execute("SELECT id FROM files")}

    def keys(self) -> set[str]:
        found = obstore.list(self._store).collect()
        return {entry["path"] for entry in found} - {retaining.MARKER}


@pytest.fixture
def rows(engine: Engine, store: ObjectStore, owner: UUID) -> Ledger:
    return Ledger(engine, store, owner)


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["pending", "ready", "deleting"])
def test_an_expired_file_goes_with_its_bytes(
    turn: Callable[[], RetainReport], rows: Ledger, state: str
) -> None:
    """Also one that another turn, or a delete, left half-way."""
    rows.file(state=state)
    kept = rows.file(expires="1 h")
    assert turn() == RetainReport(files=1)
    assert rows.files() == {kept}
    assert len(rows.keys()) == 1
    assert turn() == NOTHING


def test_a_live_file_is_never_touched(turn: Callable[[], RetainReport], rows: Ledger) -> None:
    files = {rows.file(expires="1 min"), rows.file(state="pending", expires="1 min")}
    keys = rows.keys()
    assert turn() == NOTHING
    assert (rows.files(), rows.keys()) == (files, keys)


def test_more_than_a_batch(
    turn: Callable[[], RetainReport], rows: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retaining, "BATCH", 2)
    for _ in range(5):
        rows.file()
    assert turn() == RetainReport(files=5)
    assert rows.files() == set()


def test_bytes_that_are_gone_already(
    turn: Callable[[], RetainReport], rows: Ledger, store: ObjectStore
) -> None:
    """A crash came between the bytes and the row; the others of the batch go all the same."""
    for number in range(60):
        rows.file(key=f"files/a/{number}")
    for number in range(30):
        obstore.delete(store, f"files/a/{number}")
    assert turn() == RetainReport(files=60)
    assert rows.keys() == set()


def test_what_an_unfinished_job_needs_does_not_expire(
    turn: Callable[[], RetainReport], rows: Ledger
) -> None:
    file = rows.file(expires="1 h")
    job = rows.job(file)
    rows.execute("UPDATE files SET expires_at = clock_timestamp() - interval '1 h'")
    assert turn() == NOTHING
    assert rows.files() == {file}
    rows.finish(job, JobState.CANCELLED)
    assert turn() == RetainReport(files=1)


def test_a_job_accepted_meanwhile_keeps_its_file(
    engine: Engine, rows: Ledger, turn: Callable[[], RetainReport]
) -> None:
    """It commits between the two statements: the first one's snapshot is older."""
    file = rows.file()
    with engine.begin() as connection:
        locked = connection.execute(retaining.LOCK_EXPIRED, {"limit": 10}).scalars().all()
        assert locked == [file]
        # As an acceptance that was under way would have left it; the lock that it would wait for
        # is one for key share, which goes with ours only where nobody locks for update.
        rows.execute(
            "INSERT INTO jobs (owner_id, kind, spec, priority) SELECT owner_id, 'a.b', '{}', 0"
            " FROM files"
        )
        connection.execute(
            text(
                "INSERT INTO job_runs (job_id, owner_id, kind, pool, priority, state, max_tries)"
                " SELECT id, owner_id, kind, 'cpu', 0, 'queued', 3 FROM jobs"
            )
        )
        connection.execute(
            text(
                "INSERT INTO job_files (job_id, file_id) SELECT jobs.id, files.id FROM jobs, files"
            )
        )
        assert connection.execute(retaining.CONDEMN, {"ids": locked}).rowcount == 0
    assert turn() == NOTHING
    assert rows.files() == {file}


def test_what_another_controller_has_in_hand_is_skipped(
    engine: Engine, rows: Ledger, turn: Callable[[], RetainReport]
) -> None:
    rows.file()
    other = rows.file()
    with engine.begin() as connection:
        connection.execute(text("SELECT FROM files WHERE id = :id FOR UPDATE"), {"id": other})
        assert turn() == RetainReport(files=1)
    assert turn() == RetainReport(files=1)


def test_outputs_of_a_running_attempt_do_not_expire(
    turn: Callable[[], RetainReport], rows: Ledger
) -> None:
    job = rows.job()
    rows.output(job, rows.claim(job))
    rows.execute("UPDATE files SET expires_at = clock_timestamp()")
    assert turn() == NOTHING
    rows.finish(job, JobState.SUCCEEDED, attempt=1)
    assert turn() == NOTHING
    assert len(rows.keys()) == 1


def test_outputs_of_an_attempt_that_failed_go_at_once(
    turn: Callable[[], RetainReport], rows: Ledger
) -> None:
    job = rows.job()
    rows.output(job, rows.claim(job))
    rows.finish(job, JobState.FAILED, attempt=1)
    assert turn() == RetainReport(files=1)
    assert rows.keys() == set()


def test_outputs_of_an_earlier_attempt_go(turn: Callable[[], RetainReport], rows: Ledger) -> None:
    job = rows.job()
    first = rows.output(job, rows.claim(job))
    rows.execute("UPDATE job_runs SET state = 'queued', lease_expires_at = NULL")
    second = rows.output(job, rows.claim(job))
    rows.finish(job, JobState.SUCCEEDED, attempt=2)
    assert rows.keys() == {first, second}
    assert turn() == RetainReport(files=1)
    assert rows.keys() == {second}


def test_a_store_that_is_away_stops_nothing_else(
    turn: Callable[[], RetainReport], rows: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = rows.file()
    job = rows.job()
    rows.finish(job, JobState.CANCELLED)
    rows.execute("UPDATE jobs SET expires_at = clock_timestamp() - interval '2 d'")

    def away(*arguments: object) -> None:
        raise GenericError("no route to host")

    with monkeypatch.context() as broken:
        broken.setattr(obstore, "delete", away)
        assert turn() == RetainReport(jobs=1)
    # Nobody sees it, but its row says that its bytes are still to go.
    assert rows.files() == {file}
    assert rows.execute("SELECT state FROM files") == [("deleting",)]
    assert turn() == RetainReport(files=1)


def test_a_crash_between_bytes_and_row(
    turn: Callable[[], RetainReport], rows: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.file()
    with monkeypatch.context() as broken:
        broken.setattr(retaining, "FORGET", text("SELECT 1 / 0"))
        with pytest.raises(Exception, match="division by zero"):
            turn()
    assert rows.keys() == set()
    assert len(rows.files()) == 1
    assert turn() == RetainReport(files=1)
    assert rows.files() == set()


# --- rows ---------------------------------------------------------------------------------------


def test_an_expired_job_is_a_tombstone_for_a_day(
    turn: Callable[[], RetainReport], rows: Ledger
) -> None:
    unfinished, expired, old = rows.job(), rows.job(), rows.job()
    for job in expired, old:
        rows.finish(job, JobState.CANCELLED)
    move = "UPDATE jobs SET expires_at = clock_timestamp() - CAST(:age AS interval) WHERE id = :id"
    rows.execute(move, age="23 h", id=expired)
    rows.execute(move, age="25 h", id=old)
    assert turn() == RetainReport(jobs=1)
    assert {row.id for row in rows.execute("SELECT id FROM jobs")} == {unfinished, expired}


def test_an_output_outlives_its_job(turn: Callable[[], RetainReport], rows: Ledger) -> None:
    job = rows.job()
    key = rows.output(job, rows.claim(job))
    rows.finish(job, JobState.SUCCEEDED, attempt=1)
    rows.execute("UPDATE jobs SET expires_at = clock_timestamp() - interval '2 d'")
    assert turn() == RetainReport(jobs=1)
    assert rows.keys() == {key}
    assert rows.execute("SELECT state, job_id FROM files") == [("ready", None)]


def test_idempotency_keys_are_forgotten(
    turn: Callable[[], RetainReport], rows: Ledger, settings: Settings
) -> None:
    old, young = rows.job(key="a"), rows.job(key="b")
    rows.execute(
        "UPDATE jobs SET created_at = created_at - make_interval(secs => :ttl) WHERE id = :id",
        ttl=settings.jobs.idempotency_ttl,
        id=old,
    )
    assert turn() == RetainReport(idempotency_keys=1)
    kept = rows.execute("SELECT id, idempotency_key, fingerprint FROM jobs ORDER BY id")
    assert kept == [(old, None, None), (young, "b", b"f")]


def test_lost_workers_are_forgotten(turn: Callable[[], RetainReport], rows: Ledger) -> None:
    for expires in ("1 s", "-59 min", "-61 min"):
        rows.execute(
            "INSERT INTO workers"
            " (id, pool, hostname, version, build, kinds, slots, busy, expires_at)"
            " VALUES (gen_random_uuid(), 'cpu', 'h', '1', 'b', '{}', 1, 0,"
            " clock_timestamp() + CAST(:expires AS interval))",
            expires=expires,
        )
    assert turn() == RetainReport(workers=1)
    assert rows.execute("SELECT count(*) FROM workers") == [(2,)]


def test_an_address_that_nobody_confirmed_is_forgotten(
    turn: Callable[[], RetainReport], rows: Ledger
) -> None:
    for mailed, confirmed in (("-71 h", None), ("-73 h", None), ("-73 h", "-72 h")):
        rows.execute(
            "INSERT INTO newsletter_subscriptions (email, mailed_at, confirmed_at)"
            " VALUES (gen_random_uuid() || '@example.com',"
            " clock_timestamp() + CAST(:mailed AS interval),"
            " clock_timestamp() + CAST(:confirmed AS interval))",
            mailed=mailed,
            confirmed=confirmed,
        )
    assert turn() == RetainReport(subscriptions=1)
    assert rows.execute("SELECT count(*) FROM newsletter_subscriptions") == [(2,)]


# --- orphans ------------------------------------------------------------------------------------


def test_a_late_zombies_key_goes_after_a_day(
    engine: Engine, store: ObjectStore, settings: Settings, rows: Ledger, tmp_path: Path
) -> None:
    zombie, young = f"outputs/{uuid4()}/1-{uuid4().hex}", f"outputs/{uuid4()}/1-{uuid4().hex}"
    for key in zombie, young:
        obstore.put(store, key, b"late")
    rows.file(key="files/a/named", expires="1 h")
    foreign = "others/of/this/bucket"
    obstore.put(store, foreign, b"not ours")
    for key in zombie, "files/a/named", foreign:
        age(tmp_path / key, DAY + 60)
    age(tmp_path / young, DAY - 60)
    assert retain(engine, store, settings) == RetainReport(orphans=1)
    assert rows.keys() == {young, "files/a/named", foreign}


def test_what_a_killed_upload_left_in_a_local_store_goes(
    engine: Engine, store: ObjectStore, settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "files" / "a"
    folder.mkdir(parents=True)
    old, young, named = (folder / name for name in ("k#1", "k#2", "no#staging"))
    for path in old, young, named:
        path.touch()
    age(old, DAY + 60)
    assert retain(engine, store, settings) == RetainReport(orphans=1)
    assert {path.name for path in folder.iterdir()} == {"k#2", "no#staging"}


def test_orphans_are_looked_for_once_an_hour(
    engine: Engine, store: ObjectStore, settings: Settings, tmp_path: Path, clean: None
) -> None:
    assert retain(engine, store, settings) == NOTHING
    obstore.put(store, "files/a/orphan", b"")
    age(tmp_path / "files/a/orphan", 2 * DAY)
    assert retain(engine, store, settings) == NOTHING
    age(tmp_path / retaining.MARKER, 3601)
    assert retain(engine, store, settings) == RetainReport(orphans=1)


def test_one_controller_at_a_time_begins_to_look(
    engine: Engine, store: ObjectStore, settings: Settings, tmp_path: Path, clean: None
) -> None:
    obstore.put(store, "files/a/orphan", b"")
    age(tmp_path / "files/a/orphan", 2 * DAY)
    with engine.begin() as connection:
        lock = {"lock": retaining.ORPHANS_LOCK}
        assert connection.execute(retaining.TRY_LOCK, lock).scalar_one()
        assert retain(engine, store, settings) == NOTHING
    assert retain(engine, store, settings) == RetainReport(orphans=1)


@pytest.mark.slow
def test_a_slow_store_ends_no_sweep(
    store: ObjectStore,
    settings: Settings,
    tmp_path: Path,
    clean: None,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is asked in the middle of a transaction, the only one that may idle for so long."""
    obstore.put(store, "files/a/orphan", b"")
    age(tmp_path / "files/a/orphan", 2 * DAY)
    idles = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'idle in transaction' AND state_change < clock_timestamp() - interval '1 s'"
    )

    def has_idled() -> bool:
        with engine.begin() as connection:
            return bool(connection.execute(idles).scalar_one())

    def slow(*arguments: Any) -> None:
        until(has_idled, seconds=10, what="the transaction has been idle for a second")
        obstore_put(*arguments)

    obstore_put = obstore.put
    monkeypatch.setattr(obstore, "put", slow)
    monkeypatch.setattr(db, "IDLE_IN_TRANSACTION", 0.2)
    strict = db.sync_engine(settings.database)
    assert retain(strict, store, settings) == RetainReport(orphans=1)
    strict.dispose()


def test_four_controllers_at_once(
    engine: Engine, store: ObjectStore, settings: Settings, rows: Ledger
) -> None:
    for _ in range(60):
        rows.file()
    kept = {rows.file(expires="1 h") for _ in range(5)}
    failures: list[BaseException] = []

    def control() -> None:
        try:
            retain(engine, store, settings)
        except BaseException as error:
            failures.append(error)

    controllers = [threading.Thread(target=control) for _ in range(4)]
    for controller in controllers:
        controller.start()
    for controller in controllers:
        controller.join()
    assert failures == []
    assert rows.files() == kept
    assert len(rows.keys()) == 5
