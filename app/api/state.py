"""What one API process owns, from its lifespan's start to its end."""

from dataclasses import dataclass
from typing import cast

from obstore.store import ObjectStore
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import HTTPConnection

from app.core.config import Settings
from app.core.mail import Mailer
from app.core.security import PasswordHashing
from app.core.transaction import Sessions
from app.core.turns import Turns
from app.jobs import KindRegistry
from app.services.api_keys import ApiKeyUses
from app.services.database_watch import DatabaseWatch
from app.services.dependencies import DependencyWatch
from app.services.dispatch_hint import DispatchHint
from app.services.events import EventHub
from app.services.rate_limits import RateLimiter


@dataclass(frozen=True, slots=True)
class State:
    settings: Settings
    kinds: KindRegistry
    engine: AsyncEngine
    sessions: Sessions
    store: ObjectStore
    redis: Redis
    events: EventHub
    passwords: PasswordHashing
    # For users who are logged in, apart from `passwords`: log-ins do not wait for these hashes.
    checks: PasswordHashing
    check_turns: Turns
    hint: DispatchHint
    limits: RateLimiter
    api_key_uses: ApiKeyUses
    database: DatabaseWatch
    dependencies: DependencyWatch
    # None: this server sends no mail.
    mailer: Mailer | None


def state_of(connection: HTTPConnection) -> State:
    return cast("State", connection.state.heavylift)
