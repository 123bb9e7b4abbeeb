"""Passwords and tokens, without HTTP."""

import threading
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import anyio
import jwt
import pytest

from app.core import security
from app.core.config import Auth
from app.core.errors import Unauthorized, Unavailable
from app.core.security import PasswordHashing, sign_access_token, verify_access_token

OLD = "old:" + "o" * 32
NEW = "new:" + "n" * 32
USER, SESSION = uuid4(), uuid4()


def auth(*keys: str) -> Auth:
    return Auth.model_validate({"signing_keys": ",".join(keys)})


def test_keys_rotate_with_an_overlap() -> None:
    token = sign_access_token(auth(OLD), USER, SESSION, ttl=900)
    assert verify_access_token(auth(NEW, OLD), token).user_id == USER
    with pytest.raises(Unauthorized):
        verify_access_token(auth(NEW), token)
    signed_anew = sign_access_token(auth(NEW, OLD), USER, SESSION, ttl=900)
    assert jwt.get_unverified_header(signed_anew)["kid"] == "new"


def test_a_token_of_a_process_whose_clock_is_ahead_is_good() -> None:
    now = datetime.now(UTC)
    claims = {"iat": now + timedelta(seconds=5), "exp": now + timedelta(seconds=900)}
    token = jwt.encode(
        {"sub": str(USER), "sid": str(SESSION), **claims}, "n" * 32, headers={"kid": "new"}
    )
    assert verify_access_token(auth(NEW), token).user_id == USER


def test_a_kid_does_not_open_with_another_keys_secret() -> None:
    claims = {"sub": str(USER), "sid": str(SESSION), "iat": 0, "exp": 2**33}
    token = jwt.encode(claims, "o" * 32, headers={"kid": "new"})
    with pytest.raises(Unauthorized):
        verify_access_token(auth(NEW, OLD), token)


def test_passwords_are_hashed_as_owasp_has_it() -> None:
    assert security.ARGON2ID.hash("x").startswith("$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.anyio
async def test_a_storm_of_hashes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "BACKLOG_PER_THREAD", 1)
    held, running, most, lock = threading.Event(), 0, 0, threading.Lock()

    def slow(self: object, password: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        held.wait(10)
        with lock:
            running -= 1
        return password

    refused = 0

    async def hash_one(passwords: PasswordHashing) -> None:
        nonlocal refused
        try:
            await passwords.hash("x")
        except Unavailable:
            refused += 1
            # Two run, two wait: those that come on top are told so, and nobody waits for them.
            if refused == 3:
                held.set()

    with PasswordHashing(threads=2) as passwords:
        monkeypatch.setattr(type(security.ARGON2ID), "hash", slow)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                for _ in range(7):
                    tasks.start_soon(hash_one, passwords)
        assert (refused, most) == (3, 2)
        # And there is room again.
        assert await passwords.hash("y") == "y"
