"""How long a log-in takes does not say who is registered.

Paired: each round tries a registered address, another registered one, and one that is not, in an
order of chance, so that whatever else the machine does falls on all three alike. What two
registered ones differ by is noise; the unregistered one must not differ by more.
"""

import random
import time
from dataclasses import dataclass, field
from statistics import median, quantiles

import pytest
from httpx2 import AsyncClient

from app.core.security import PasswordHashing

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROUNDS = 80

KNOWN, ALSO_KNOWN, UNKNOWN = "ada@example.com", "bob@example.com", "nobody@example.com"


@dataclass
class Rounds:
    """Seconds by which a log-in took longer than that of `KNOWN` in the same round."""

    unknown: list[float] = field(default_factory=list)
    also_known: list[float] = field(default_factory=list)

    @property
    def noise(self) -> float:
        lower, _, upper = quantiles(self.also_known, n=4)
        return upper - lower

    @property
    def difference(self) -> float:
        return abs(median(self.unknown))


async def measure(client: AsyncClient) -> Rounds:
    for email in (KNOWN, ALSO_KNOWN):
        registered = await client.post(
            "/api/v1/users", json={"email": email, "password": "correct horse battery"}
        )
        assert registered.status_code == 201

    async def log_in(email: str) -> float:
        form = {"username": email, "password": "wrong horse battery"}
        begun = time.perf_counter()
        response = await client.post("/api/v1/auth/login", data=form)
        took = time.perf_counter() - begun
        assert response.status_code == 401
        return took

    rounds = Rounds()
    emails = [KNOWN, ALSO_KNOWN, UNKNOWN]
    for n in range(ROUNDS + 5):
        random.shuffle(emails)
        took = {email: await log_in(email) for email in emails}
        if n >= 5:  # the first ones open connections
            rounds.unknown.append(took[UNKNOWN] - took[KNOWN])
            rounds.also_known.append(took[ALSO_KNOWN] - took[KNOWN])
    return rounds


async def test_known_and_unknown_addresses_take_as_long(anonymous: AsyncClient) -> None:
    rounds = await measure(anonymous)
    assert rounds.difference < rounds.noise


async def test_a_log_in_that_says_it_is_noticed(
    anonymous: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is hashed for who is not there: what the test above is there for."""
    verify = PasswordHashing.verify

    async def quicker(self: PasswordHashing, password: str, password_hash: str | None) -> bool:
        return password_hash is not None and await verify(self, password, password_hash)

    monkeypatch.setattr(PasswordHashing, "verify", quicker)
    rounds = await measure(anonymous)
    assert rounds.difference > rounds.noise
