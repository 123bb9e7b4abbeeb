"""`heavylift api` as a process: what it does when told to stop, or when a part of it dies."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from uuid import uuid4

import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from app.embedded.stack import command
from tests.integration.cli.conftest import clean_environment, is_one_line, run_process
from tests.processes import until

# So long that a test whose process waits for an open stream or request ends at its own limit.
GRACE = {
    "HEAVYLIFT_API_GRACE": "600",
    "HEAVYLIFT_API_SHUTDOWN_DELAY": "0",
    "HEAVYLIFT_API_TERMINATION_GRACE": "2000",
}
LIMIT = 30

pytestmark = pytest.mark.usefixtures("clean")


@dataclass(frozen=True)
class Api:
    process: subprocess.Popen[str]
    port: int

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)

    def ready(self) -> bool:
        with closing(self.connect()) as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


@contextmanager
def running(variables: Mapping[str, str], **more: str) -> Iterator[Api]:
    process = subprocess.Popen(
        command("api"),
        env=clean_environment(**{**variables, **GRACE, **more}),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        with process.stdout:
            line = next(line for line in process.stdout if "listening" in line)
            found = re.search(r"\bport\W+(\d+)", line)
            assert found is not None
            api = Api(process, int(found[1]))
            until(api.ready, seconds=LIMIT, what="the API is ready")
            yield api
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def post(
    connection: http.client.HTTPConnection, path: str, body: object, **headers: str
) -> dict[str, str]:
    form = isinstance(body, str)
    kind = "application/x-www-form-urlencoded" if form else "application/json"
    sent = body if isinstance(body, str) else json.dumps(body)
    connection.request("POST", path, sent, {"Content-Type": kind, **headers})
    response = connection.getresponse()
    answer: dict[str, str] = json.loads(response.read())
    assert response.status < 300, answer
    return answer


@pytest.mark.slow
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_stops_at_a_signal(variables: Mapping[str, str], sig: signal.Signals) -> None:
    with running(variables) as api:
        workers = api.workers()
        assert len(workers) == 1
        api.process.send_signal(sig)
        assert api.process.wait(LIMIT) == 0
        assert not any(worker.is_running() for worker in workers)


@pytest.mark.slow
def test_finishes_the_request_that_is_open(variables: Mapping[str, str]) -> None:
    body = json.dumps({"email": f"{uuid4()}@example.com", "password": "correct horse battery"})
    with running(variables) as api, closing(api.connect()) as connection:
        connection.putrequest("POST", "/api/v1/users")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        connection.send(body[:10].encode())
        with closing(api.connect()) as second:  # answered: the first has been read, too
            second.request("GET", "/livez")
            second.getresponse().read()
        api.process.terminate()
        await_refusal(api.port)
        connection.send(body[10:].encode())
        assert connection.getresponse().status == 201
        connection.close()
        assert api.process.wait(LIMIT) == 0


def await_refusal(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=LIMIT).close()
        except OSError:
            return


@pytest.mark.slow
def test_ends_streams_at_once(variables: Mapping[str, str]) -> None:
    with running(variables) as api, closing(api.connect()) as connection:
        user = {"email": f"{uuid4()}@example.com", "password": "correct horse battery"}
        post(connection, "/api/v1/users", user)
        login = f"username={user['email'].replace('@', '%40')}&password=correct+horse+battery"
        token = post(connection, "/api/v1/auth/login", login)["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        file = post(connection, "/api/v1/files?name=a.csv", "a,b\n1,2\n", **headers)
        spec = {"source": file["id"]}
        job = post(connection, "/api/v1/jobs/text.extract", {"spec": spec}, **headers)
        path = f"/api/v1/jobs/{job['id']}/events"
        connection.request("GET", path, headers=headers)
        stream = connection.getresponse()
        assert stream.status == 200
        assert stream.readline()  # it is open, and its job waits: nothing runs it
        with connect(f"ws://127.0.0.1:{api.port}{path}", proxy=None) as watcher:
            watcher.send(json.dumps({"access_token": token}))
            assert json.loads(watcher.recv())["state"] == "queued"
            api.process.terminate()
            stream.read()  # to its end
            with pytest.raises(ConnectionClosed):
                watcher.recv(LIMIT)
            assert watcher.close_code == 1012
        assert api.process.wait(LIMIT) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("proxies", "statuses"),
    [
        # The default: a proxy on this very machine.
        (None, [401, 401, 401, 429]),
        ("127.0.0.0/8", [401, 401, 401, 429]),
        # We come from none of these: what we say of others is not believed.
        ("10.0.0.7,10.1.0.0/16", [401, 429, 429, 429]),
        # The last address is the nearest proxy's; the one before it is anybody's word.
        ("1", [401, 401, 401, 429]),
        ("*", [401, 401, 401, 429]),
        ("0", [401, 429, 429, 429]),
    ],
)
def test_a_request_comes_from_where_its_proxy_says(
    variables: Mapping[str, str], proxies: str | None, statuses: list[int]
) -> None:
    more = {} if proxies is None else {"HEAVYLIFT_API_FORWARDED_ALLOW_IPS": proxies}
    limit = {"HEAVYLIFT_AUTH_LOGINS_PER_ADDRESS": "1/hour"}
    found = []
    with running(variables, **limit, **more) as api, closing(api.connect()) as connection:
        for address in ("203.0.113.1", "203.0.113.2", "2001:db8::1", "2001:db8::2"):
            headers = {
                "Content-Type": "application/x-www-form-urlencoded",
                "X-Forwarded-For": f"192.0.2.1, {address}",
            }
            connection.request("POST", "/api/v1/auth/login", "username=a&password=b", headers)
            response = connection.getresponse()
            response.read()
            found.append(response.status)
    assert found == statuses


@pytest.mark.slow
def test_says_that_it_is_unready_while_it_still_accepts(variables: Mapping[str, str]) -> None:
    with running(variables, HEAVYLIFT_API_SHUTDOWN_DELAY="600") as api:
        api.process.terminate()
        until(lambda: not api.ready(), seconds=LIMIT, what="it is unready")
        with closing(api.connect()) as connection:
            connection.request("GET", "/livez")
            assert connection.getresponse().status == 200


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_none_outlives_the_arbiter(
    variables: Mapping[str, str],
) -> None:
    with running(variables) as api:
        (first,) = api.workers()
        first.kill()
        # The socket is the arbiter's, too: who connects waits, and is not refused.
        until(api.ready, seconds=LIMIT, what="another one is ready")
        (second,) = api.workers()
        assert second.pid != first.pid
        api.process.kill()
        second.wait(LIMIT)


@pytest.mark.slow
def test_a_taken_port_is_one_line(variables: Mapping[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = run_process("api", **{**variables, "HEAVYLIFT_API_PORT": str(port)})
    assert outcome.code == 2
    assert outcome.err == (
        f"heavylift: can't listen on 127.0.0.1 port {port}: Address already in use\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"HEAVYLIFT_STORAGE_URL": "nowhere://bucket"}, "HEAVYLIFT_STORAGE_URL"),
        ({"HEAVYLIFT_JOBS_POOLS": "io", "HEAVYLIFT_API_PROCESSES": "2"}, "cpu"),
    ],
)
def test_what_the_worker_finds_wrong_is_one_line_too(
    variables: Mapping[str, str], wrong: dict[str, str], said: str
) -> None:
    outcome = run_process("api", **{**variables, **wrong})
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert said in outcome.err
    # Nothing else but the line that says where it listened.
    assert [json.loads(line)["event"] for line in outcome.out.splitlines()] == ["listening"]
