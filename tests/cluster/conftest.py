"""One release for most tests, in a namespace of restricted pods; a table when they have run."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.cluster import custom
from tests.cluster.images import make_images
from tests.cluster.release import Release
from tests.cluster.table import Table
from tests.cluster.users import User, register
from tests.processes import until

TABLE = Table()

# Seconds from `helm install` to the first job that is accepted, with the images on the nodes.
INSTALLED_WITHIN = 90


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE.rows:
        terminalreporter.section("on the cluster")
        for line in TABLE.lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def table() -> Table:
    return TABLE


@pytest.fixture(scope="session")
def images(table: Table) -> None:
    assert os.environ.get("KUBECONFIG"), "KUBECONFIG is not set: which cluster?"
    with table.row("images with the test kinds, and a next version") as row:
        make_images()
        row.saw("built and on the nodes")


@pytest.fixture(scope="session")
def custom_resources() -> Iterator[None]:
    """Definitions of the operators' resources, also where the cluster has no such operators."""
    created = custom.install_missing()
    yield
    if "KEEP" not in os.environ:
        custom.remove(created)


@pytest.fixture(scope="session")
def release(images: None, custom_resources: None, table: Table) -> Iterator[Release]:
    release = Release("heavylift-test")
    release.remove()
    try:
        with table.row("helm install, to the first 202 through ingress") as row:
            began = time.monotonic()
            release.install()
            url = release.ingress()
            until(lambda: accepts_a_job(release, url), seconds=INSTALLED_WITHIN, what="a 202")
            row.saw(f"{time.monotonic() - began:.0f} s of {INSTALLED_WITHIN}")
        release.wait_ready("controller", 2)
        release.wait_ready("api", 2)
        release.wait_ready("worker-io", 2)
        yield release
    finally:
        if "KEEP" not in os.environ:
            release.remove()


def accepts_a_job(release: Release, url: str) -> bool:
    try:
        register(release, url).submit("test.wait", seconds=0)
    except httpx2.HTTPError:
        return False
    return True


@pytest.fixture
def user(release: Release) -> User:
    return register(release, release.ingress())
