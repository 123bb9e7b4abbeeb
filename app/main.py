"""The API process: the only place where its parts are wired together."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import TypedDict

import structlog
from fastapi import Depends, FastAPI
from sqlalchemy.ext.asyncio import async_sessionmaker

from app.api import health, pages, problems
from app.api.cors import allow_origins
from app.api.docs import add_docs
from app.api.forwarded import ForwardedMiddleware
from app.api.gauges import Sampler
from app.api.health import Lifecycle
from app.api.middleware import RequestMiddleware
from app.api.openapi import Application
from app.api.state import State
from app.api.strict import refuse_unknown_query, refuse_unstorable
from app.api.v1.router import api_router
from app.core.breaker import Breaker
from app.core.config import PREFIX, ConfigurationError, Settings, load_settings
from app.core.db import async_engine, pool_of
from app.core.logging import configure_logging
from app.core.mail import open_mailer
from app.core.masking import masked
from app.core.security import PasswordHashing
from app.core.storage import open_store
from app.core.telemetry import configure_tracing, stop_tracing, trace_statements
from app.core.turns import Turns
from app.core.validity import show_keys
from app.jobs import KindRegistry, load_kinds
from app.services.api_keys import ApiKeyUses
from app.services.database_watch import DatabaseWatch
from app.services.dependencies import DependencyWatch
from app.services.dispatch_hint import DispatchHint, hint_client
from app.services.events import EventHub
from app.services.rate_limits import RateLimiter

log = structlog.get_logger(__name__)

# One, so that a flood of password checks takes at most one core from log-ins. A few checks of one
# user may wait for it (some 30 ms each).
CHECKING_THREADS = 1
CHECKS_WAITING = 4


def require_usable(settings: Settings) -> None:
    """Check the settings: make the clients that the lifespan makes, and drop them.

    Raises `ConfigurationError` with one line that names the variable.
    """
    open_store(settings.storage)
    opened: Mapping[str, Callable[[], object]] = {
        "DATABASE_URL": partial(async_engine, settings.database),
        "REDIS_URL": partial(hint_client, settings.redis),
    }
    for name, open_it in opened.items():
        try:
            open_it()
        except Exception as error:
            # Each driver raises its own types; a message may repeat the URL.
            reason = masked(str(error).partition("\n")[0])
            raise ConfigurationError(f"{PREFIX}{name}: {reason}") from None


class LifespanState(TypedDict):
    """Copied into every request's `state` by the server."""

    heavylift: State


def create_app(settings: Settings | None = None, kinds: KindRegistry | None = None) -> FastAPI:
    """Raises `ConfigurationError`."""
    settings = settings or load_settings()
    kinds = load_kinds() if kinds is None else kinds
    configure_logging(settings.log)
    configure_tracing("api")
    try:
        kinds.require_pools(settings.jobs.pools)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[LifespanState]:
        lifecycle: Lifecycle = app.state.lifecycle
        async with AsyncExitStack() as stack:
            stack.callback(stop_tracing)
            show_keys(list(settings.auth.keys))
            breaker = Breaker()
            engine = async_engine(settings.database, breaker)
            trace_statements(engine.sync_engine)
            stack.push_async_callback(engine.dispose)
            sessions = async_sessionmaker(engine, expire_on_commit=False)
            redis = hint_client(settings.redis)
            stack.push_async_callback(redis.aclose)
            store = open_store(settings.storage)
            hint = await stack.enter_async_context(DispatchHint(redis))
            database = DatabaseWatch(settings.database, breaker, pool_of(engine))
            dependencies = DependencyWatch(database.dependency, hint, store)
            for watch in (database, dependencies, Sampler(pool_of(engine), dependencies)):
                await stack.enter_async_context(watch)
            state = State(
                settings=settings,
                kinds=kinds,
                engine=engine,
                sessions=sessions,
                store=store,
                redis=redis,
                events=await stack.enter_async_context(EventHub(engine, settings.redis)),
                passwords=stack.enter_context(PasswordHashing(settings.auth.hashing_threads)),
                checks=stack.enter_context(PasswordHashing(CHECKING_THREADS)),
                check_turns=Turns(waiting=CHECKS_WAITING),
                hint=hint,
                limits=await stack.enter_async_context(
                    RateLimiter(settings.redis, settings.api.processes)
                ),
                api_key_uses=await stack.enter_async_context(ApiKeyUses(sessions)),
                database=database,
                dependencies=dependencies,
                mailer=open_mailer(settings),
            )
            if state.mailer is None:
                log.warning("no mail is sent: HEAVYLIFT_MAIL_URL is not set")
            # And one to watch it with.
            log.info("started", database_connections=settings.database.pool_size + 1)
            lifecycle.started = True
            yield {"heavylift": state}
            lifecycle.draining = True

    app = Application(
        max_upload=settings.files.max_bytes,
        title="Heavylift",
        version=version("heavylift"),
        description="Takes heavy work off the request path: typed jobs, run elsewhere.",
        lifespan=lifespan,
        dependencies=[Depends(refuse_unknown_query), Depends(refuse_unstorable)],
        # What a generated client's functions are called; FastAPI's default has method and path too.
        generate_unique_id_function=lambda route: route.name,
        docs_url=None,
        # Ours are in the middleware, at half the cost.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        redoc_url=None,
    )
    app.state.lifecycle = Lifecycle()
    app.add_middleware(RequestMiddleware)
    if settings.api.cors_origins:
        app.add_middleware(allow_origins, origins=settings.api.cors_origins)
    app.add_middleware(ForwardedMiddleware, proxies=settings.api.proxies)
    problems.register(app)
    app.include_router(health.router)
    app.include_router(pages.router)
    app.include_router(api_router(kinds))
    add_docs(app)
    return app
