from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.config import Settings
from tests.load.runs import make_admin
from tests.processes import Parts, parts


@pytest.fixture
def running(settings: Settings, clean: None, tmp_path: Path) -> Iterator[Parts]:
    with parts(settings, tmp_path) as running:
        running.controller()
        running.worker(concurrency=2)
        make_admin(settings)
        yield running
