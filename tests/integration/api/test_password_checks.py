"""Password checks: they count even when right, wait for their own turn, and lock nobody out."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID

import anyio
import pytest
from httpx2 import ASGITransport, AsyncClient, Response
from starlette.types import ASGIApp

from app.core import security
from app.core.config import Settings
from app.main import create_app
from app.services import rate_limits
from tests.integration.api.conftest import PASSWORD, serving
from tests.integration.api.kinds import KINDS

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LOGIN = "/api/v1/auth/login"
ME = "/api/v1/users/me"

OWNER = "ada@example.com"
LIMIT = "3/hour"

Visit = Callable[[str], AbstractAsyncContextManager[AsyncClient]]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is not an unavailable Redis."""
    monkeypatch.setattr(rate_limits, "BUDGET", 0.5)


@asynccontextmanager
async def visit(served: ASGIApp, address: str) -> AsyncIterator[AsyncClient]:
    transport = ASGITransport(app=served, client=(address, 1))
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
async def limited(settings: Settings, make_user: Callable[..., UUID]) -> AsyncIterator[ASGIApp]:
    """An API that allows three tries, with a registered owner."""
    auth = settings.auth.model_copy(update={"logins_per_account": LIMIT})
    async with serving(create_app(settings.model_copy(update={"auth": auth}), KINDS)) as served:
        make_user(OWNER)
        yield served


async def log_in(client: AsyncClient, password: str = PASSWORD, email: str = OWNER) -> Response:
    return await client.post(LOGIN, data={"username": email, "password": password})


async def authorize(client: AsyncClient, email: str = OWNER) -> None:
    token = (await log_in(client, email=email)).json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"


async def check(client: AsyncClient, password: str = PASSWORD) -> Response:
    """Check the password, and change nothing."""
    return await client.patch(ME, json={"email": OWNER, "current_password": password})


# --- what a stranger can do -----------------------------------------------------------------------


async def test_wrong_passwords_of_a_stranger_do_not_lock_the_owner_out(limited: ASGIApp) -> None:
    async with visit(limited, "203.0.113.9") as stranger, visit(limited, "192.0.2.1") as owner:
        for _ in range(3):
            assert (await log_in(stranger, "wrong")).status_code == 401
        for _ in range(20):
            assert (await log_in(stranger, "wrong")).status_code == 429
        assert (await log_in(stranger)).status_code == 429
        assert (await log_in(owner)).status_code == 200


async def test_neighbours_in_one_ipv6_network_share_an_accounts_tries(limited: ASGIApp) -> None:
    for host in ("2001:db8::1", "2001:db8::2", "2001:db8::3"):
        async with visit(limited, host) as stranger:
            assert (await log_in(stranger, "wrong")).status_code == 401
    async with visit(limited, "2001:db8::4") as stranger:
        assert (await log_in(stranger, "wrong")).status_code == 429
    async with visit(limited, "2001:db8:0:1::1") as owner:
        assert (await log_in(owner)).status_code == 200


async def test_an_account_has_a_limit_over_all_networks(limited: ASGIApp) -> None:
    """Ten times that of one network: guesses spread over many networks end, too."""
    statuses = []
    for host in range(10):
        async with visit(limited, f"203.0.113.{host}") as stranger:
            statuses += [(await log_in(stranger, "wrong")).status_code for _ in range(3)]
    assert statuses == [401] * 30
    async with visit(limited, "192.0.2.1") as another:
        assert (await log_in(another, "wrong")).status_code == 429
        assert (await log_in(another, "wrong", email="bob@example.com")).status_code == 401


async def test_the_right_password_forgets_wrong_ones_of_its_own_network_only(
    limited: ASGIApp,
) -> None:
    async with visit(limited, "203.0.113.9") as stranger, visit(limited, "192.0.2.1") as owner:
        for _ in range(3):
            assert (await log_in(stranger, "wrong")).status_code == 401
        assert (await log_in(owner)).status_code == 200
        assert (await log_in(stranger, "wrong")).status_code == 429


# --- what a user with a token can do --------------------------------------------------------------


async def test_right_password_checks_count(limited: ASGIApp) -> None:
    async with visit(limited, "192.0.2.1") as owner:
        await authorize(owner)
        for _ in range(3):
            assert (await check(owner)).status_code == 200
        refused = await check(owner)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 3500
        # Whichever operation checks it.
        change = {"current_password": PASSWORD, "new_password": PASSWORD}
        assert (await owner.post(f"{ME}/password", json=change)).status_code == 429
        assert (await owner.request("DELETE", ME, json={"password": PASSWORD})).status_code == 429
        # A change that checks nothing goes on.
        assert (await owner.patch(ME, json={"full_name": "Ada"})).status_code == 200


async def test_a_stolen_token_does_not_keep_the_owner_from_changing_the_password(
    limited: ASGIApp,
) -> None:
    async with visit(limited, "203.0.113.9") as thief, visit(limited, "192.0.2.1") as owner:
        await authorize(owner)
        thief.headers["Authorization"] = owner.headers["Authorization"]
        for _ in range(3):
            assert (await check(thief, "wrong")).status_code == 403
        assert (await check(thief, "wrong")).status_code == 429
        change = {"current_password": PASSWORD, "new_password": f"{PASSWORD}!"}
        assert (await owner.post(f"{ME}/password", json=change)).status_code == 204


class Held:
    """Argon2 that waits until it is let go, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = threading.Event()
        self._lock = threading.Lock()
        self.running: list[str] = []
        self.most = 0
        kind = type(security.ARGON2ID)
        verify, make = kind.verify, kind.hash

        def held_verify(hasher: object, password: str, hashed: str) -> bool:
            self._hold(password)
            return verify(security.ARGON2ID, password, hashed)

        def held_hash(hasher: object, password: str) -> str:
            self._hold(password)
            return make(security.ARGON2ID, password)

        monkeypatch.setattr(kind, "verify", held_verify)
        monkeypatch.setattr(kind, "hash", held_hash)

    def _hold(self, password: str) -> None:
        if not password.startswith("held"):
            return
        with self._lock:
            self.running.append(password)
            self.most = max(self.most, len(self.running))
        self.free.wait(20)
        with self._lock:
            self.running.remove(password)


async def test_checks_of_one_user_go_one_at_a_time_and_no_log_in_waits_for_them(
    served: ASGIApp, make_user: Callable[..., UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_user(OWNER)
    statuses: list[int] = []

    async with visit(served, "192.0.2.1") as owner, visit(served, "192.0.2.2") as other:
        await authorize(owner)
        held = Held(monkeypatch)

        async def check_one() -> None:
            statuses.append((await check(owner, "held, and wrong")).status_code)

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                for _ in range(12):
                    tasks.start_soon(check_one)
                while not held.running:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
                try:
                    # More would wait than a user may have waiting: those are told at once.
                    while not statuses:  # noqa: ASYNC110
                        await anyio.sleep(0.01)
                    assert (await log_in(other)).status_code == 200
                    assert len(held.running) == 1
                finally:
                    held.free.set()
    assert held.most == 1
    assert set(statuses) == {403, 429}
    assert 1 <= statuses.count(403) < 12


async def test_checks_of_many_users_leave_log_ins_their_threads(
    served: ASGIApp, make_user: Callable[..., UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    """New hashes as well: more users change their passwords at once than there are threads."""
    async with visit(served, "192.0.2.2") as other:
        owners = [f"owner{n}@example.com" for n in range(6)]
        headers = []
        for email in (*owners, OWNER):
            make_user(email)
        for email in owners:
            async with visit(served, "192.0.2.1") as owner:
                await authorize(owner, email)
                headers.append({"Authorization": owner.headers["Authorization"]})
        held = Held(monkeypatch)
        statuses: list[int] = []

        async def change(mine: dict[str, str]) -> None:
            new = {"current_password": PASSWORD, "new_password": "held, but good"}
            response = await other.post(f"{ME}/password", json=new, headers=mine)
            statuses.append(response.status_code)

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                for mine in headers:
                    tasks.start_soon(change, mine)
                while not held.running:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
                try:
                    for _ in range(3):
                        assert (await log_in(other)).status_code == 200
                finally:
                    held.free.set()
    assert statuses == [204] * 6
