"""The API's own port, of one process and of several: /metrics adds up, whoever dies."""

import http.client
import os
import re
import signal
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import httpx2
import psutil
import pytest

from app.server import scratch_folder
from tests.integration.cli.conftest import is_one_line, run_process
from tests.integration.cli.test_api import LIMIT, Api, await_refusal, running
from tests.processes import until

pytestmark = [pytest.mark.usefixtures("clean"), pytest.mark.slow]

OPEN_METRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}

LOOP_SAMPLES = "heavylift_event_loop_delay_seconds_count"
CONNECTIONS_MAX = 'db_client_connection_max{db_client_connection_pool_name="api"}'


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as found:
        port: int = found.getsockname()[1]
        return port


def scrape(port: int) -> dict[str, float]:
    answer = httpx2.get(f"http://127.0.0.1:{port}/metrics", headers=OPEN_METRICS, timeout=LIMIT)
    assert answer.status_code == 200
    lines = (line for line in answer.text.splitlines() if not line.startswith("#"))
    return {
        name: float(value.split()[0]) for name, _, value in (line.partition(" ") for line in lines)
    }


def folders() -> set[Path]:
    return set(Path(scratch_folder()).glob("heavylift-metrics-*"))


def test_one_process_serves_its_own_and_so_does_its_successor(
    variables: Mapping[str, str],
) -> None:
    port = free_port()
    with running(variables, HEAVYLIFT_SIGNALS_PORT=str(port)) as api:
        up = 'heavylift_dependency_up{dependency="%s"}'
        names = [up % name for name in ("postgresql", "redis", "storage")]
        until(lambda: all(scrape(port).get(name) == 1 for name in names), seconds=LIMIT, what="up")
        found = scrape(port)
        assert found[CONNECTIONS_MAX] == 10
        assert found["process_open_fds"] > 0
        assert found[LOOP_SAMPLES] > 0
        (worker,) = api.workers()
        worker.kill()
        until(lambda: len(api.workers()) == 1 and api.ready(), seconds=LIMIT, what="another")
        assert scrape(port)[CONNECTIONS_MAX] == 10
        api.process.terminate()
        assert api.process.wait(LIMIT) == 0


def test_several_processes_add_up_and_outlive_one(variables: Mapping[str, str]) -> None:
    port, before = free_port(), folders()
    more = {"HEAVYLIFT_API_PROCESSES": "2", "HEAVYLIFT_SIGNALS_PORT": str(port)}
    with running(variables, **more) as api:
        until(lambda: scrape(port).get(CONNECTIONS_MAX) == 20, seconds=LIMIT, what="both count")
        assert len(folders() - before) == 1
        counted = scrape(port)[LOOP_SAMPLES]
        api.workers()[0].send_signal(signal.SIGKILL)
        # What the dead one counted still counts; what it had, nobody has.
        until(lambda: scrape(port)[CONNECTIONS_MAX] == 10, seconds=LIMIT, what="it is forgotten")
        assert scrape(port)[LOOP_SAMPLES] >= counted
        until(lambda: scrape(port)[CONNECTIONS_MAX] == 20, seconds=LIMIT, what="it is replaced")
        assert scrape(port)[LOOP_SAMPLES] > counted
        api.process.terminate()
        assert api.process.wait(LIMIT) == 0
    assert folders() == before


def answer(api: Api, connection: http.client.HTTPConnection) -> tuple[int, str | None]:
    connection.request("GET", "/livez")
    response = connection.getresponse()
    response.read()
    return response.status, response.headers["Connection"]


def test_kept_connections_are_told_to_go_elsewhere(variables: Mapping[str, str]) -> None:
    with (
        running(variables, HEAVYLIFT_API_SHUTDOWN_DELAY="600") as api,
        closing(api.connect()) as kept,
    ):
        assert answer(api, kept) == (200, None)
        api.process.terminate()
        until(lambda: not api.ready(), seconds=LIMIT, what="it is unready")
        assert answer(api, kept) == (200, "close")
        with closing(api.connect()) as new:
            assert answer(api, new) == (200, "close")


def test_a_second_sigterm_hurries(variables: Mapping[str, str]) -> None:
    with running(variables, HEAVYLIFT_API_SHUTDOWN_DELAY="600") as api:
        api.process.terminate()
        until(lambda: not api.ready(), seconds=LIMIT, what="it is unready")
        api.process.terminate()
        assert api.process.wait(LIMIT) == 0


def test_a_group_that_gets_one_sigterm_is_not_hurried(variables: Mapping[str, str]) -> None:
    """As by a service manager: the workers get theirs twice."""
    with running(variables, HEAVYLIFT_API_SHUTDOWN_DELAY="600") as api:
        os.killpg(api.process.pid, signal.SIGTERM)
        until(lambda: not api.ready(), seconds=LIMIT, what="it is unready")
        with pytest.raises(psutil.TimeoutExpired):
            psutil.Process(api.process.pid).wait(1)
        assert not api.ready()


def test_open_requests_end_a_hurried_shutdown_no_later(variables: Mapping[str, str]) -> None:
    with running(variables) as api, closing(api.connect()) as connection:
        connection.putrequest("POST", "/api/v1/users")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", "10")
        connection.endheaders()
        connection.send(b"{")
        with closing(api.connect()) as second:  # answered: the first has been read, too
            assert answer(api, second)[0] == 200
        api.process.terminate()
        await_refusal(api.port)
        api.process.terminate()
        assert api.process.wait(LIMIT) == 0


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEAVYLIFT_API_TERMINATION_GRACE", "30"),
        ("HEAVYLIFT_API_GRACE", "25"),
        ("HEAVYLIFT_API_SHUTDOWN_DELAY", "15"),
    ],
)
def test_limits_that_do_not_fit_are_one_line(
    variables: Mapping[str, str], variable: str, value: str
) -> None:
    outcome = run_process("api", **variables, **{variable: value})
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert re.search(r"HEAVYLIFT_API_TERMINATION_GRACE: .* make it \d+ or more", outcome.err)
