"""A Redis that answers and refuses: after a failover, while it is full, with other rights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.chaos.test_worker_signals import up
from tests.chaos.working import Working
from tests.processes import Part, until

Change = Callable[[redis.Redis], object]


def command(client: redis.Redis, *arguments: str) -> object:
    return client.execute_command(*arguments)  # type: ignore[no-untyped-call]


def demote(client: redis.Redis) -> None:
    """Nobody is at that port: it keeps what it has, and takes no writes."""
    client.replicaof("127.0.0.1", "1")


def demote_and_be_silent(client: redis.Redis) -> None:
    client.config_set("replica-serve-stale-data", "no")
    demote(client)


def promote(client: redis.Redis) -> None:
    client.replicaof("NO", "ONE")
    client.config_set("replica-serve-stale-data", "yes")


def fail_to_save(client: redis.Redis) -> None:
    """A folder is where the dump would be written."""
    folder = Path(str(client.config_get("dir")["dir"])) / "a-folder.rdb"
    (folder / "full").mkdir(parents=True, exist_ok=True)
    client.config_set("dbfilename", folder.name)
    client.config_set("save", "3600 1")
    client.bgsave()
    until(
        lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err",
        seconds=30,
        what="it could not be saved",
    )


def save(client: redis.Redis) -> None:
    client.config_set("save", "")


def ask_for_a_password(client: redis.Redis) -> None:
    client.config_set("requirepass", "rotated")
    command(client, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


FAULTS: dict[str, tuple[Change, Change]] = {
    "READONLY": (demote, promote),
    "MASTERDOWN": (demote_and_be_silent, promote),
    "MISCONF": (fail_to_save, save),
    "NOAUTH": (ask_for_a_password, lambda client: client.config_set("requirepass", "")),
    "NOPERM": (
        lambda client: command(client, "ACL", "SETUSER", "default", "-@write"),
        lambda client: command(client, "ACL", "SETUSER", "default", "+@all"),
    ),
    "maxclients": (
        lambda client: (
            client.config_set("maxclients", "1"),
            command(client, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
            command(client, "CLIENT", "KILL", "TYPE", "pubsub"),
        ),
        lambda client: client.config_set("maxclients", "1000"),
    ),
}


def knows(part: Part, *, is_up: bool) -> bool:
    return up(part.signals(), "redis") is is_up


@pytest.mark.parametrize("fault", FAULTS)
def test_a_redis_that_refuses_is_waited_for(working: Working, fault: str) -> None:
    """Each part says so, none ends, and the work goes on when Redis takes it again."""
    refuse, accept = FAULTS[fault]
    logged = {part: len(part.output) for part in (working.controller, working.worker)}
    with working.administrator() as client:
        refuse(client)
        try:
            jobs = [working.ledger.submit() for _ in range(3)]
            for part in (working.worker, working.controller):
                until(
                    lambda part=part: knows(part, is_up=False),  # type: ignore[misc]
                    seconds=60,
                    what=f"{fault}: {part.log.name} notices",
                )
            until(
                lambda: working.redis_of_the_api() == "down",
                seconds=60,
                what=f"{fault}: the API notices",
            )
        finally:
            accept(client)
    until(lambda: working.ledger.succeeded(*jobs), seconds=90, what=f"{fault}: jobs run again")
    until(lambda: working.redis_of_the_api() == "up", seconds=60, what="the API has Redis again")
    for part in (working.worker, working.controller):
        assert part.process.poll() is None
        until(
            lambda part=part: knows(part, is_up=True),  # type: ignore[misc]
            seconds=60,
            what=f"{fault}: {part.log.name} has Redis again",
        )
    said = working.worker.output[logged[working.worker] :]
    assert "Traceback" not in said, said
    assert len(said.splitlines()) < 40, said
    assert working.ledger.count("jobs WHERE attempt <> 1") == 0


def test_a_full_redis_delays_jobs_and_loses_none(working: Working) -> None:
    """It takes no new message, and gives those that it has."""
    with working.administrator() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        try:
            jobs = [working.ledger.submit() for _ in range(3)]
            until(
                lambda: "redis takes no messages" in working.controller.output,
                seconds=60,
                what="the controller notices",
            )
        finally:
            client.config_set("maxmemory", "0")
    until(lambda: working.ledger.succeeded(*jobs), seconds=90, what="jobs run again")
    assert working.worker.process.poll() is None
    assert working.controller.process.poll() is None
