"""Who leaves is erased: jobs are cancelled, and all that was theirs goes once nobody has it."""

from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import obstore
import pytest
from obstore.store import LocalStore, ObjectStore
from sqlalchemy import Connection, Engine, event, text

from app.core.config import Settings
from app.models import Base
from app.models.job import JobState
from app.services import ledger
from app.services.ledger import Beat, Change, Lease
from tests.ledger_view import KEEP, View
from worker.controller import erase
from worker.controller.erase import Erase
from worker.controller.retain import RetainReport, retain


class Leaver:
    """A user and their things; each committed."""

    def __init__(self, engine: Engine, store: ObjectStore, user: UUID) -> None:
        self.engine = engine
        self.store = store
        self.id = user
        self.ledger = View(engine, user)

    def file(self) -> UUID:
        key = f"files/{self.id}/{uuid4().hex}"
        obstore.put(self.store, key, b"bytes")
        with self.engine.begin() as connection:
            file: UUID = connection.execute(
                text(
                    "INSERT INTO files"
                    " (owner_id, state, key, name, content_type, size, sha256, expires_at)"
                    " VALUES (:user, 'ready', :key, 'n', 't', 5, 'x',"
                    " clock_timestamp() + interval '1 day') RETURNING id"
                ),
                {"user": self.id, "key": key},
            ).scalar_one()
        return file

    def claim(self, job: UUID) -> int:
        with self.engine.begin() as connection:
            claim = ledger.claim(
                connection, job, worker_id=uuid4(), kinds=["test.nap"], version="1"
            )
        assert claim is not None
        return claim.attempt

    def hold(self, job: UUID, file: UUID) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                text("INSERT INTO job_files VALUES (:job, :file)"), {"job": job, "file": file}
            )

    def finish(self, job: UUID, attempt: int) -> None:
        with self.engine.begin() as connection:
            change = ledger.succeed(connection, job, attempt, result="{}", keep=KEEP)
        assert change is not None

    def other_things(self) -> None:
        with self.engine.begin() as connection:
            for n in range(3):
                connection.execute(
                    text(
                        "INSERT INTO api_keys (user_id, name, prefix, digest)"
                        " VALUES (:user, 'n', :prefix, '')"
                    ),
                    {"user": self.id, "prefix": f"{self.id}{n}"},
                )
                connection.execute(
                    text("INSERT INTO items (owner_id, title) VALUES (:user, 't')"),
                    {"user": self.id},
                )
                connection.execute(
                    text(
                        "INSERT INTO sessions"
                        " (user_id, generation, kid, digest, expires_at, ends_at) VALUES"
                        " (:user, 1, 'k', '', clock_timestamp() + '1 day', clock_timestamp())"
                    ),
                    {"user": self.id},
                )

    def leave(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                text("INSERT INTO erasures (user_id) VALUES (:user)"), {"user": self.id}
            )

    def has(self) -> dict[str, int]:
        """How many rows of each table refer to the user, but for their own and the erasure's."""
        counts = {}
        with self.engine.connect() as connection:
            for table in Base.metadata.sorted_tables:
                for key in table.foreign_keys:
                    if key.column.table.name == "users" and table.name != "erasures":
                        column = key.parent.name
                        counts[table.name] = connection.execute(
                            text(f"SELECT count(*) FROM {table.name} WHERE {column} = :user"),
                            {"user": self.id},
                        ).scalar_one()
        return counts


@pytest.fixture
def store(tmp_path: object) -> ObjectStore:
    return LocalStore(str(tmp_path), automatic_cleanup=True, mkdir=True)


@pytest.fixture
def make_leaver(
    engine: Engine, store: ObjectStore, make_owner: Callable[..., UUID]
) -> Callable[[], Leaver]:
    return lambda: Leaver(engine, store, make_owner())


@pytest.fixture
def told() -> list[Change]:
    """What watchers were told."""
    return []


@pytest.fixture
def turn(engine: Engine, told: list[Change]) -> Callable[[], None]:
    return Erase(engine, KEEP, told.append).turn


@pytest.fixture
def sweep(engine: Engine, store: ObjectStore, settings: Settings) -> Callable[[], RetainReport]:
    retain(engine, store, settings)
    return lambda: retain(engine, store, settings)


def objects(store: ObjectStore) -> int:
    return sum(len(page) for page in obstore.list(store, "files"))


def test_what_waits_is_cancelled_and_what_runs_is_asked(
    make_leaver: Callable[[], Leaver], turn: Callable[[], None], told: list[Change]
) -> None:
    leaver, other = make_leaver(), make_leaver()
    queued, running = leaver.ledger.submit(), leaver.ledger.submit()
    leaver.claim(running)
    others = other.ledger.submit()
    leaver.leave()
    turn()
    assert {(change.job_id, change.state) for change in told} == {
        (queued, JobState.CANCELLED),
        (running, JobState.RUNNING),
    }
    assert other.ledger.state(others) == "queued"
    beat = Beat(uuid4(), "cpu", "h", "1", "b", ["test.nap"], 1, False, [(running, 1)])
    with leaver.engine.begin() as connection:
        assert ledger.heartbeat(connection, beat) == {(running, 1): Lease.CANCELLED}
    # Asked once: a further turn changes nothing.
    told.clear()
    turn()
    assert told == []


def test_all_goes_when_no_worker_has_any_of_it(
    make_leaver: Callable[[], Leaver],
    turn: Callable[[], None],
    sweep: Callable[[], RetainReport],
    store: ObjectStore,
) -> None:
    leaver, other = make_leaver(), make_leaver()
    for each in (leaver, other):
        each.other_things()
        each.file()
        done = each.ledger.submit()
        each.finish(done, each.claim(done))
    before = other.has()
    assert min(before.values()) > 0
    held, job = leaver.file(), leaver.ledger.submit()
    leaver.hold(job, held)
    attempt = leaver.claim(job)
    leaver.leave()
    turn()
    sweep()
    # The job that runs, and the file that it reads.
    assert leaver.has() == dict.fromkeys(before, 0) | {"jobs": 1, "files": 1}
    assert leaver.ledger.state(job) == "running"
    assert objects(store) == 2
    # It may well succeed before it notices.
    leaver.finish(job, attempt)
    turn()
    sweep()
    assert leaver.has() == dict.fromkeys(before, 0)
    assert objects(store) == 1
    assert other.has() == before


def test_what_a_request_under_way_adds_goes_too(
    make_leaver: Callable[[], Leaver], turn: Callable[[], None], sweep: Callable[[], RetainReport]
) -> None:
    leaver = make_leaver()
    leaver.leave()
    turn()
    job = leaver.ledger.submit()
    leaver.file()
    leaver.other_things()
    turn()
    sweep()
    assert set(leaver.has().values()) == {0}
    assert leaver.ledger.count(f"jobs WHERE id = '{job}'") == 0


def test_the_row_goes_last_and_late(
    make_leaver: Callable[[], Leaver], turn: Callable[[], None], sweep: Callable[[], RetainReport]
) -> None:
    leaver, other = make_leaver(), make_leaver()
    job = leaver.ledger.submit()
    leaver.claim(job)
    leaver.leave()
    turn()
    assert sweep().users == 0
    assert leaver.ledger.count("users") == 2
    with leaver.engine.begin() as connection:
        connection.execute(
            text("UPDATE erasures SET requested_at = requested_at - '1 day'::interval")
        )
    # Not while anything is theirs.
    assert sweep().users == 0
    leaver.finish(job, 1)
    turn()
    assert sweep() == RetainReport(users=1)
    assert leaver.ledger.count(f"users WHERE id = '{other.id}'") == 1
    assert leaver.ledger.count("users") == 1
    assert leaver.ledger.count("erasures") == 0


def test_more_than_a_batch(
    make_leaver: Callable[[], Leaver],
    turn: Callable[[], None],
    sweep: Callable[[], RetainReport],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(erase, "BATCH", 2)
    leaver = make_leaver()
    for _ in range(7):
        leaver.ledger.submit()
        leaver.file()
    leaver.other_things()
    leaver.leave()
    turn()
    assert leaver.has() == dict.fromkeys(leaver.has(), 0) | {"files": 7}
    assert sweep().files == 7


def test_one_who_can_not_go_yet_holds_up_nobody(
    make_leaver: Callable[[], Leaver], turn: Callable[[], None]
) -> None:
    first, second = make_leaver(), make_leaver()
    first.claim(first.ledger.submit())
    second.ledger.submit()
    first.leave()
    second.leave()
    turn()
    assert first.has()["jobs"] == 1
    assert second.has()["jobs"] == 0


def test_two_controllers_at_once(
    make_leaver: Callable[[], Leaver], turn: Callable[[], None], engine: Engine
) -> None:
    """What another one has locked is left to it."""
    leaver = make_leaver()
    job = leaver.ledger.submit()
    leaver.finish(job, leaver.claim(job))
    leaver.file()
    leaver.other_things()
    leaver.leave()
    with engine.begin() as another:
        for table in ("jobs", "files", "api_keys", "sessions"):
            another.execute(text(f"SELECT FROM {table} FOR UPDATE"))
        turn()
        assert leaver.has()["jobs"] == 1
    turn()
    assert leaver.has() == dict.fromkeys(leaver.has(), 0) | {"files": 1}


@pytest.fixture
def sent(engine: Engine) -> Iterator[list[str]]:
    """Statements."""
    statements: list[str] = []

    def note(connection: Connection, cursor: object, statement: str, *rest: object) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


def test_who_has_nothing_left_costs_one_statement(
    make_leaver: Callable[[], Leaver], turn: Callable[[], None], sent: list[str]
) -> None:
    leaver = make_leaver()
    leaver.leave()
    sent.clear()
    turn()
    assert len([statement for statement in sent if not statement.startswith("BEGIN")]) == 1


def test_a_table_that_belongs_to_users_is_erased_without_being_told() -> None:
    assert {table.name for table, _ in erase.OWNED} >= {"api_keys", "sessions"}
    assert not {table.name for table, _ in erase.OWNED} & erase.APART


def test_sessions_that_have_expired_are_swept(
    make_leaver: Callable[[], Leaver], sweep: Callable[[], RetainReport]
) -> None:
    user = make_leaver()
    user.other_things()
    with user.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE sessions SET expires_at = clock_timestamp() - interval '1 s'"
                " WHERE id IN (SELECT id FROM sessions LIMIT 2)"
            )
        )
    assert sweep() == RetainReport(sessions=2)
    assert user.has()["sessions"] == 1
