"""What has to be there before users come: accounts, items to browse in, a picture to transform.

Made through the API when a test starts, by each Locust process for itself; a second run finds the
first one's. Of these requests nothing is in the statistics.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from urllib.parse import urlsplit
from uuid import UUID

from locust.contrib.fasthttp import FastHttpSession
from locust.event import EventHook
from pydantic import JsonValue

from loadtests._answers import File, Item, Page
from loadtests._failures import Failure, Limited, ProblemAnswer
from loadtests._pictures import png
from loadtests._session import Account, Session
from loadtests._settings import BadSetup, LoadSettings

TAG = "seeded"
PICTURE = "loadtest.png"

# Of files that are looked through for the picture, newest first: outputs are among them.
PAGES = 5

# Good for this machine only, and public.
LOOPBACK_PASSWORD = "only-for-loopback"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Seeded:
    """An account with all that its users need."""

    account: Account
    picture: UUID


def seed(host: str, settings: LoadSettings, worker: int) -> list[Seeded]:
    """The accounts of the Locust process with this index. Raises `BadSetup`."""
    password = _password(host, settings)
    return [
        _seed_one(
            host,
            settings,
            Account(
                f"{settings.account_prefix}-{worker}-{number}@{settings.account_domain}", password
            ),
        )
        for number in range(settings.accounts)
    ]


def _password(host: str, settings: LoadSettings) -> str:
    if settings.password is not None:
        return settings.password.get_secret_value()
    name = urlsplit(host).hostname or ""
    try:
        here = ip_address(name).is_loopback
    except ValueError:
        here = name == "localhost"
    if not here:
        raise BadSetup(f"LOADTEST_PASSWORD: set one, accounts on {name} are not for everybody")
    return LOOPBACK_PASSWORD


def _seed_one(host: str, settings: LoadSettings, account: Account) -> Seeded:
    client = FastHttpSession(
        host,
        EventHook(),
        None,
        network_timeout=settings.timeout,
        connection_timeout=settings.timeout,
    )
    session = Session(client, scenario="seeding")
    doing = "logging in"
    try:
        try:
            headers = session.bearer(account)
        except ProblemAnswer as unknown:
            if "invalid-credentials" not in str(unknown):
                raise
            doing = "registering"
            _register(session, account)
            headers = session.bearer(account)
        doing = "making items"
        _make_items(session, headers, settings.items)
        doing = "uploading the picture"
        picture = png(settings.picture_width, settings.picture_height)
        return Seeded(account, _find_or_upload(session, headers, picture))
    except Limited as failure:
        raise BadSetup(
            f"{doing} as {account.email}: {failure}; fewer accounts (LOADTEST_ACCOUNTS), or higher "
            "limits of the server (HEAVYLIFT_AUTH_LOGINS_PER_ADDRESS, "
            "HEAVYLIFT_AUTH_REGISTRATIONS_PER_ADDRESS)"
        ) from None
    except Failure as failure:
        raise BadSetup(f"{doing} as {account.email} on {host}: {failure}") from None


def _register(session: Session, account: Account) -> None:
    body: JsonValue = {"email": account.email, "password": account.password}
    try:
        with session.ask("POST", "/users", status=201, json=body):
            pass
    except ProblemAnswer as failure:
        # With another password than ours, most likely.
        if "email-taken" in str(failure):
            raise BadSetup(
                f"{account.email} is there with another password: set LOADTEST_PASSWORD to it, or "
                "another LOADTEST_ACCOUNT_PREFIX"
            ) from None
        raise


def _make_items(session: Session, headers: dict[str, str], count: int) -> None:
    there = 0
    cursor: str | None = ""
    while cursor is not None and there < count:
        query = f"?tag={TAG}&limit=100" + (f"&cursor={cursor}" if cursor else "")
        with session.ask("GET", "/items", query=query, headers=headers) as answer:
            page = answer.read(Page[Item])
            there += len(page.items)
            cursor = page.next_cursor
    for number in range(there, count):
        new: JsonValue = {
            "title": f"Crate {number}",
            "description": f"Seeded for load tests. {'A heavy thing to lift. ' * 10}",
            "tags": [TAG, f"shelf-{number % 5}"],
        }
        with session.ask("POST", "/items", status=201, json=new, headers=headers):
            pass


def _find_or_upload(session: Session, headers: dict[str, str], picture: bytes) -> UUID:
    digest = sha256(picture).hexdigest()
    cursor: str | None = ""
    for _ in range(PAGES):
        query = "?limit=100" + (f"&cursor={cursor}" if cursor else "")
        with session.ask("GET", "/files", query=query, headers=headers) as answer:
            page = answer.read(Page[File])
        for file in page.items:
            # For the longest of runs.
            lasting = file.expires_at - datetime.now(UTC) > timedelta(days=1)
            if file.name == PICTURE and file.sha256 == digest and lasting:
                return file.id
        cursor = page.next_cursor
        if cursor is None:
            break
    with session.ask(
        "POST", "/files", status=201, query=f"?name={PICTURE}", body=picture, headers=headers
    ) as answer:
        return answer.read(File).id
