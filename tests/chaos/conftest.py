"""Servers of a test's own, to be stopped and frozen, and real parts against them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.core.config import Settings
from app.core.db import sync_engine
from app.embedded import EmbeddedPostgres, EmbeddedRedis
from app.migrations import upgrade
from tests.chaos.working import Working, running_system
from tests.ledger_view import View
from tests.processes import Parts, parts
from tests.servers import scratch_folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.chaos)


@dataclass
class Stack:
    postgres: EmbeddedPostgres
    redis: EmbeddedRedis
    settings: Settings
    ledger: View
    parts: Parts


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Servers and a ledger, and no part yet."""
    with scratch_folder() as folder:
        postgres = EmbeddedPostgres(folder / "pg")
        redis = EmbeddedRedis(folder / "redis")
        try:
            postgres.start()
            redis.start()
            settings = Settings.model_validate(
                {
                    "database": {"url": postgres.url()},
                    "redis": {"url": redis.url()},
                    "storage": {"url": (folder / "files").as_uri()},
                }
            )
            upgrade(settings.database)
            engine = sync_engine(settings.database, connections=8)
            view = View(engine, View(engine, None).new_owner("first@example.com"))  # type: ignore[arg-type]
            with parts(settings, tmp_path) as running:
                yield Stack(postgres, redis, settings, view, running)
            engine.dispose()
        finally:
            redis.stop()
            postgres.stop()


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Working]:
    """A whole system for all tests of a file: each of them leaves it as it was."""
    with running_system(tmp_path_factory.mktemp("parts")) as working:
        yield working
