"""The ledger's statements, one by one, on a real PostgreSQL."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, text

from app.models.job import JobState
from app.services import ledger
from app.services.ledger import Beat, Lease, Submission
from tests.ledger_view import KEEP

WORKER = uuid4()


def submission(owner: UUID, **changes: object) -> Submission:
    return Submission(
        **{"owner_id": owner, "kind": "a.b", "pool": "cpu", "max_tries": 3, "spec": "{}", **changes}  # type: ignore[arg-type]
    )


def submit(connection: Connection, owner: UUID, **changes: object) -> UUID:
    job = ledger.accept(connection, submission(owner, **changes))
    assert job is not None
    return job


def claim(connection: Connection, job: UUID, version: str = "1") -> ledger.Claim:
    claimed = ledger.claim(connection, job, worker_id=WORKER, kinds=["a.b"], version=version)
    assert claimed is not None
    return claimed


def run(connection: Connection, job: UUID) -> dict[str, object]:
    query = text("SELECT * FROM job_runs WHERE job_id = :job")
    return dict(connection.execute(query, {"job": job}).one()._mapping)


def outcome(connection: Connection, job: UUID) -> dict[str, object]:
    query = text("SELECT * FROM jobs WHERE id = :job")
    return dict(connection.execute(query, {"job": job}).one()._mapping)


@pytest.fixture
def owner(make_owner: Callable[..., UUID]) -> UUID:
    return make_owner()


def expire(connection: Connection, job: UUID) -> None:
    connection.execute(
        text(
            "UPDATE job_runs SET lease_expires_at = clock_timestamp() - interval '1 s'"
            " WHERE job_id = :j"
        ),
        {"j": job},
    )


def test_an_accepted_job_runs_and_succeeds(connection: Connection, owner: UUID) -> None:
    job = submit(connection, owner, spec='{"n": 1}')
    claimed = claim(connection, job)
    assert (claimed.attempt, claimed.spec, claimed.owner_id) == (1, '{"n": 1}', owner)
    assert ledger.progress(connection, job, 1, fraction=0.5, message="half") == (3, False)
    change = ledger.succeed(connection, job, 1, result='{"m": 2}', keep=KEEP)
    assert change is not None
    assert (change.state, change.attempt, change.seq) == (JobState.SUCCEEDED, 1, 4)
    ended = outcome(connection, job)
    assert (ended["outcome"], ended["result"], ended["error_code"]) == ("succeeded", {"m": 2}, None)
    assert connection.execute(text("SELECT count(*) FROM job_runs")).scalar_one() == 0


def test_a_second_message_claims_nothing(connection: Connection, owner: UUID) -> None:
    job = submit(connection, owner)
    claim(connection, job)
    assert ledger.claim(connection, job, worker_id=WORKER, kinds=["a.b"], version="1") is None
    assert run(connection, job)["attempt"] == 1


def test_nothing_of_an_earlier_attempt_is_taken(connection: Connection, owner: UUID) -> None:
    job = submit(connection, owner)
    claim(connection, job)
    ledger.release(connection, job, 1, keep=KEEP)
    assert claim(connection, job).attempt == 2
    assert ledger.progress(connection, job, 1, fraction=1, message="late") is None
    assert ledger.succeed(connection, job, 1, result="{}", keep=KEEP) is None
    assert ledger.release(connection, job, 1, keep=KEEP) is None
    assert not ledger.forfeit(connection, job, 1)
    failed = ledger.fail(connection, job, 1, code="c", detail="d", retryable=True, keep=KEEP)
    assert failed is None
    reserve = {"key": "k", "name": "n", "content_type": "text/plain", "size": 1, "sha256": b"x"}
    assert ledger.reserve_output(connection, job, 1, **reserve, pending_ttl=timedelta(1)) is None  # type: ignore[arg-type]
    assert run(connection, job)["state"] == "running"


def test_a_release_counts_nothing(connection: Connection, owner: UUID) -> None:
    job = submit(connection, owner)
    claim(connection, job)
    change = ledger.release(connection, job, 1, keep=KEEP)
    assert change is not None
    assert change.state == JobState.QUEUED
    row = run(connection, job)
    assert (row["tries"], row["losses"], row["releases"], row["attempt"]) == (0, 0, 1, 1)


def test_tries_are_spent_by_failures_and_the_last_one_is_a_dead_letter(
    connection: Connection, owner: UUID
) -> None:
    job = submit(connection, owner, max_tries=2)
    claim(connection, job)
    change = ledger.fail(connection, job, 1, code="boom", detail="1", retryable=True, keep=KEEP)
    assert change is not None
    assert change.state == JobState.SCHEDULED
    connection.execute(text("UPDATE job_runs SET due_at = clock_timestamp()"))
    assert [change.job_id for change in ledger.promote(connection, limit=10)] == [job]
    claim(connection, job)
    change = ledger.fail(connection, job, 2, code="boom", detail="2", retryable=True, keep=KEEP)
    assert change is not None
    assert change.state == JobState.FAILED
    ended = outcome(connection, job)
    assert (ended["dead"], ended["error_code"], ended["error_detail"]) == (True, "boom", "2")
    assert ended["tries"] == 2


def test_a_refused_input_fails_at_once_and_is_no_dead_letter(
    connection: Connection, owner: UUID
) -> None:
    job = submit(connection, owner)
    claim(connection, job)
    ledger.fail(connection, job, 1, code="bad-file", detail="x", retryable=False, keep=KEEP)
    ended = outcome(connection, job)
    assert (ended["outcome"], ended["dead"], ended["tries"]) == ("failed", False, 1)


@pytest.mark.parametrize("later", [False, True])
def test_cancelling_what_waits_ends_it(connection: Connection, owner: UUID, later: bool) -> None:
    job = submit(connection, owner)
    if later:
        connection.execute(
            text(
                "UPDATE job_runs"
                " SET state = 'scheduled', due_at = clock_timestamp() + interval '1 h'"
            )
        )
    change = ledger.cancel(connection, job, keep=KEEP)
    assert change is not None
    assert change.state == JobState.CANCELLED
    assert ledger.cancel(connection, job, keep=KEEP) is None
    assert ledger.claim(connection, job, worker_id=WORKER, kinds=["a.b"], version="1") is None


@pytest.mark.parametrize("leave", ["release", "fail", "rescue"])
def test_cancel_wins_over_every_way_back(connection: Connection, owner: UUID, leave: str) -> None:
    job = submit(connection, owner)
    claim(connection, job)
    change = ledger.cancel(connection, job, keep=KEEP)
    assert change is not None
    assert change.state == JobState.RUNNING
    if leave == "release":
        ledger.release(connection, job, 1, keep=KEEP)
    elif leave == "fail":
        ledger.fail(connection, job, 1, code="c", detail="d", retryable=True, keep=KEEP)
    else:
        expire(connection, job)
        ledger.rescue(connection, asked_at=ledger.now(connection), limit=10, keep=KEEP)
    ended = outcome(connection, job)
    assert (ended["outcome"], ended["error_code"], ended["dead"]) == ("cancelled", None, False)


def test_a_heartbeat_renews_what_is_held_and_says_what_is_not(
    connection: Connection, owner: UUID
) -> None:
    kept, cancelled, lost = (submit(connection, owner) for _ in range(3))
    for job in (kept, cancelled, lost):
        claim(connection, job)
    ledger.cancel(connection, cancelled, keep=KEEP)
    ledger.release(connection, lost, 1, keep=KEEP)
    assert claim(connection, lost).attempt == 2
    expire(connection, kept)
    beat = Beat(
        WORKER, "cpu", "host", "1", "b1", ["a.b"], 4, False, [(kept, 1), (cancelled, 1), (lost, 1)]
    )
    assert ledger.heartbeat(connection, beat) == {
        (kept, 1): Lease.RENEWED,
        (cancelled, 1): Lease.CANCELLED,
        (lost, 1): Lease.LOST,
    }
    assert ledger.rescue(connection, asked_at=ledger.now(connection), limit=10, keep=KEEP) == []
    row = connection.execute(text("SELECT busy, slots FROM workers")).one()
    assert tuple(row) == (3, 4)


def test_a_heartbeat_waits_for_no_row_and_says_which_it_did_not_see(
    engine: Engine, clean: None, owner: UUID
) -> None:
    """Locked rows are neither renewed nor lost, whatever their transactions make of them."""
    with engine.begin() as connection:
        free, slow, ending, gone = jobs = [submit(connection, owner) for _ in range(4)]
        for job in jobs:
            claim(connection, job)
            expire(connection, job)
        ledger.release(connection, gone, 1, keep=KEEP)
    held = [(job, 1) for job in jobs]
    beat = Beat(WORKER, "cpu", "host", "1", "b1", ["a.b"], 4, False, held)

    def leases() -> list[Lease]:
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            found = ledger.heartbeat(connection, beat)
        assert set(found) == set(held)
        return [found[job, 1] for job in jobs]

    def live() -> set[UUID]:
        query = text("SELECT job_id FROM job_runs WHERE lease_expires_at > clock_timestamp()")
        with engine.begin() as connection:
            return set(connection.execute(query).scalars())

    with engine.begin() as progressing, engine.begin() as finishing:
        ledger.progress(progressing, slow, 1, fraction=0.5, message="")
        ledger.succeed(finishing, ending, 1, result="{}", keep=KEEP)
        assert leases() == [Lease.RENEWED, Lease.UNKNOWN, Lease.UNKNOWN, Lease.LOST]
        assert live() == {free}
    assert leases() == [Lease.RENEWED, Lease.RENEWED, Lease.LOST, Lease.LOST]
    assert live() == {free, slow}


def test_rescue_counts_losses_and_ends_with_a_dead_letter(
    connection: Connection, owner: UUID
) -> None:
    job = submit(connection, owner)
    changes = []
    for attempt in range(1, ledger.MAX_LOSSES + 1):
        assert claim(connection, job).attempt == attempt
        expire(connection, job)
        changes += ledger.rescue(connection, asked_at=ledger.now(connection), limit=10, keep=KEEP)
    assert [change.state for change in changes] == [*["queued"] * 4, "failed"]
    ended = outcome(connection, job)
    assert (ended["dead"], ended["error_code"], ended["tries"]) == (True, "worker-lost", 0)


def test_a_rescue_that_was_held_up_takes_nothing(connection: Connection, owner: UUID) -> None:
    job = submit(connection, owner)
    claim(connection, job)
    asked_at = ledger.now(connection) - timedelta(seconds=3)
    expire(connection, job)
    assert ledger.rescue(connection, asked_at=asked_at, limit=10, keep=KEEP) == []


def test_an_idempotency_key_is_taken_once(connection: Connection, owner: UUID) -> None:
    submit(connection, owner, idempotency_key="k", fingerprint=b"1")
    again = submission(owner, idempotency_key="k", fingerprint=b"1")
    assert ledger.accept(connection, again) is None
    assert connection.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 1


def make_file(connection: Connection, owner: UUID, state: str = "ready") -> UUID:
    file: UUID = connection.execute(
        text(
            "INSERT INTO files (owner_id, state, key, name, content_type, size, sha256, expires_at)"
            " VALUES (:owner, :state, gen_random_uuid()::text, 'n', 'text/plain', 1, 'x',"
            " clock_timestamp() + interval '1 h') RETURNING id"
        ),
        {"owner": owner, "state": state},
    ).scalar_one()
    return file


def test_a_job_takes_only_its_owners_ready_files(
    connection: Connection, owner: UUID, make_owner: Callable[..., UUID]
) -> None:
    own, pending = make_file(connection, owner), make_file(connection, owner, "pending")
    foreign = make_file(connection, make_owner())
    for files in ([pending], [foreign], [own, foreign], [uuid4()]):
        assert ledger.accept(connection, submission(owner, files=files)) is None
    job = submit(connection, owner, files=[own, own])
    held = text("SELECT job_id, file_id FROM job_files")
    assert [tuple(row) for row in connection.execute(held)] == [(job, own)]
    ledger.cancel(connection, job, keep=KEEP)
    assert connection.execute(held).all() == []


def test_an_output_that_is_reserved_again_is_the_same_one(
    connection: Connection, owner: UUID
) -> None:
    """The answer to its commit was lost: nobody knows whether it is there."""
    job = submit(connection, owner)
    claim(connection, job)

    def reserve(key: str) -> UUID | None:
        return ledger.reserve_output(
            connection,
            job,
            1,
            key=key,
            name="n",
            content_type="text/plain",
            size=1,
            sha256=b"x",
            pending_ttl=timedelta(1),
        )

    first = reserve("outputs/1")
    assert first is not None
    assert reserve("outputs/1") == first
    assert reserve("outputs/2") not in (None, first)
    ledger.release(connection, job, 1, keep=KEEP)
    assert reserve("outputs/1") is None


def test_only_the_winning_attempts_outputs_become_the_owners(
    connection: Connection, owner: UUID
) -> None:
    job = submit(connection, owner)
    reserve = {"name": "n", "content_type": "text/plain", "size": 1, "sha256": b"x"}
    files = []
    for attempt in (1, 2):
        claim(connection, job)
        files.append(
            ledger.reserve_output(
                connection,
                job,
                attempt,
                key=str(attempt),
                pending_ttl=timedelta(1),
                **reserve,  # type: ignore[arg-type]
            )
        )
        if attempt == 1:
            ledger.release(connection, job, 1, keep=KEEP)
    ledger.succeed(connection, job, 2, result="{}", keep=KEEP)
    query = text(
        "SELECT id, state, expires_at < clock_timestamp() AS due FROM files ORDER BY attempt"
    )
    assert [tuple(row) for row in connection.execute(query)] == [
        (files[0], "pending", True),
        (files[1], "ready", False),
    ]


def test_a_worker_that_does_not_know_the_kind_gives_the_message_back(
    connection: Connection, owner: UUID
) -> None:
    job = submit(connection, owner)
    assert ledger.claim(connection, job, worker_id=WORKER, kinds=["c.d"], version="1") is None
    row = run(connection, job)
    assert (row["state"], row["attempt"], row["tries"]) == ("scheduled", 0, 0)
    assert row["seq"] == 2, "who watches sees it change"


def test_a_version_that_could_not_read_a_job_is_not_given_it_again(
    connection: Connection, owner: UUID
) -> None:
    job = submit(connection, owner)
    claim(connection, job, version="1")
    ledger.release(connection, job, 1, keep=KEEP, refused_by="1")
    connection.execute(text("UPDATE job_runs SET due_at = clock_timestamp()"))
    ledger.promote(connection, limit=1)
    assert ledger.claim(connection, job, worker_id=WORKER, kinds=["a.b"], version="1") is None
    connection.execute(text("UPDATE job_runs SET due_at = clock_timestamp()"))
    ledger.promote(connection, limit=1)
    assert claim(connection, job, version="2").attempt == 2


def test_ids_are_ordered_by_age_and_of_version_7(engine: Engine) -> None:
    with engine.connect() as connection:
        ids = [
            connection.execute(text("SELECT heavylift_uuid7()")).scalar_one() for _ in range(200)
        ]
    assert all(made.version == 7 for made in ids)
    # Within one unit of the sub-millisecond clock (0.24 us) order is random: a call takes longer.
    assert ids == sorted(ids)


def test_beats_and_progress_touch_no_index(engine: Engine, owner: UUID) -> None:
    """Heap-only updates: what a running job writes every second leaves no index entry to vacuum."""
    counted = text(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'job_runs'"
    )
    with engine.begin() as connection:
        job = submit(connection, owner)
        attempt = claim(connection, job).attempt
        before = connection.execute(counted).one()
        worker = Beat(WORKER, "cpu", "h", "1", "b1", ["a.b"], 1, False, held=[(job, attempt)])
        for n in range(5):
            assert ledger.heartbeat(connection, worker)
            assert ledger.progress(connection, job, attempt, fraction=n / 5, message="on")
        after = connection.execute(counted).one()
    assert after.n_tup_upd - before.n_tup_upd == 10
    assert after.n_tup_hot_upd - before.n_tup_hot_upd == 10
