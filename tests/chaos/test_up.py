"""`heavylift up`: one supervisor that keeps all of it running, and leaves nothing behind."""

import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psutil
import psycopg
import pytest

from app.embedded.stack import command
from tests.balancer import answers_ready
from tests.processes import KINDS, until
from tests.servers import scratch_folder

# How long nothing is still no failure: the machine may be busy.
PATIENCE = 90

# Every process of a run inherits it.
MARK = "UP_RUN"


class Up:
    """A running `heavylift up`, and all that it started."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self.folder = folder
        self.mark = str(uuid4())
        inherited = {n: v for n, v in os.environ.items() if not n.startswith("HEAVYLIFT_")}
        self.process = subprocess.Popen(
            command("up", "--data", str(folder), "--port", "0", "--concurrency", "1", *arguments),
            env={**inherited, "PYTHONPATH": str(KINDS), MARK: self.mark, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            self.lines.extend(self.process.stdout)

    def said(self, pattern: str, *, times: int = 1) -> re.Match[str]:
        def look() -> re.Match[str] | None:
            found = [match for line in list(self.lines) if (match := re.search(pattern, line))]
            return found[-1] if len(found) >= times else None

        def show() -> str:
            return "".join(self.lines[-50:])

        try:
            return until(look, seconds=PATIENCE, what=pattern)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{show()}") from None

    def ready(self) -> int:
        """The API's port."""
        port = int(self.said(r"ready: http://127\.0\.0\.1:(\d+)/docs")[1])
        for part in ("controller", "worker-cpu", "worker-io"):
            self.said(rf"^{part} +\| .*\bready\b")
        return port

    def everything(self) -> list[psutil.Process]:
        """By its environment; PostgreSQL's processes, which hide it, by their working folder."""
        found = []
        for process in psutil.process_iter():
            try:
                marked = process.environ().get(MARK) == self.mark
                inside = self.folder in [*Path(process.cwd()).parents, Path(process.cwd())]
                if (marked or inside) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def part(self, *arguments: str) -> psutil.Process:
        """The child of the supervisor that runs `heavylift <arguments>`."""

        def look() -> psutil.Process | None:
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.Error):
                    if " ".join(arguments) in " ".join(child.cmdline()):
                        return child
            return None

        return until(look, seconds=PATIENCE, what=f"a part {arguments}")

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch_folder() as folder:
        yield folder / "data"


@pytest.fixture
def up(folder: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def start(*arguments: str, folder: Path = folder, **variables: str) -> Up:
        started.append(Up(folder, *arguments, **variables))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        # By their ids, whatever a failed test left.
        for process in one.everything():
            process.kill()


def gone(one: Up) -> bool:
    return not one.everything()


def test_ctrl_c_stops_all_of_it_and_a_second_one_changes_nothing(up: Callable[..., Up]) -> None:
    one = up()
    port = one.ready()
    names = {process.name() for process in one.everything()}
    assert "postgres" in names
    assert any("redis" in name for name in names)
    assert len(one.everything()) > 8  # the parts' own children, too
    one.process.send_signal(signal.SIGINT)
    one.said("stopping")
    assert one.interrupt() == 0
    assert gone(one)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert "stopped" in one.lines[-1]


@pytest.mark.parametrize("name", ["my data", "50 %, a+b & c?#=ä"])
def test_a_folder_may_have_any_name(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, up: Callable[..., Up]
) -> None:
    temporary = folder.with_name(name) / "tmp"
    temporary.mkdir(parents=True)
    one = up(folder=folder.with_name(name) / "data", TMPDIR=str(temporary))
    client = Client(one.ready())
    job = client.call("POST", "/api/v1/jobs/test.nap", json.dumps({"spec": {"seconds": 0.1}}))
    path = f"/api/v1/jobs/{job['id']}"
    until(lambda: client.call("GET", path)["state"] == "succeeded", seconds=60, what="it runs")
    assert one.interrupt() == 0


def test_sigterm_stops_it_while_it_starts(up: Callable[..., Up]) -> None:
    one = up()
    one.said("starting in")
    one.process.terminate()
    assert one.process.wait(PATIENCE) == 0
    assert gone(one)


def test_what_is_killed_is_started_again_and_said(up: Callable[..., Up]) -> None:
    one = up()
    port = one.ready()
    for name, arguments in {
        "api": ["api"],
        "controller": ["controller"],
        "worker-cpu": ["worker", "--pool", "cpu"],
        "redis": ["redis-server"],
        "postgres": ["postgres", "-D"],
    }.items():
        victim = one.part(*arguments)
        victim.kill()
        one.said(rf"heavylift +\| {name} was killed by SIGKILL; starting it again in 0\.5 s")
        assert one.part(*arguments).pid != victim.pid
    one.said(r"^worker-cpu +\| .*\bready\b", times=2)
    # The API that was started again has yet to reach the database that was, too.
    until(lambda: answers_ready("127.0.0.1", port), seconds=PATIENCE, what="it is ready")
    assert one.interrupt() == 0
    assert gone(one)


def test_nothing_outlives_a_killed_supervisor(up: Callable[..., Up]) -> None:
    one = up()
    one.ready()
    assert len(one.everything()) > 8
    one.process.kill()
    one.process.wait()
    until(lambda: gone(one), seconds=PATIENCE, what="all of it ended")
    # And its folder serves the next one, at once.
    two = up()
    two.ready()
    assert two.interrupt() == 0
    assert gone(two)


class Client:
    def __init__(self, port: int) -> None:
        self._port = port
        self._headers: dict[str, str] = {}
        user = {"email": f"{uuid4()}@example.com", "password": "correct horse battery"}
        self.call("POST", "/api/v1/users", json.dumps(user))
        form = f"username={user['email'].replace('@', '%40')}&password=correct+horse+battery"
        kind = "application/x-www-form-urlencoded"
        token = self.call("POST", "/api/v1/auth/login", form, kind)["access_token"]
        self._headers = {"Authorization": f"Bearer {token}"}

    def call(
        self, method: str, path: str, body: str | None = None, kind: str = "application/json"
    ) -> dict[str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        with closing(connection):
            connection.request(method, path, body, {"Content-Type": kind, **self._headers})
            response = connection.getresponse()
            answer: dict[str, str] = json.loads(response.read())
            assert response.status < 300, answer
            return answer


def database(one: Up) -> str:
    """The URL that its parts have."""
    return one.part("controller").environ()["HEAVYLIFT_DATABASE_URL"]


def test_other_commands_find_it_by_the_file_that_it_names(
    up: Callable[..., Up], folder: Path
) -> None:
    one = up()
    one.ready()
    path = one.said(r"for `heavylift user create` and the like: \. (\S+)$")[1]
    assert path == str(folder / "env")
    made = subprocess.run(
        [
            *("/bin/sh", "-c", '. "$0" && exec "$@"', path),
            *command("user", "create", "root@example.com", "--admin", "--password-stdin"),
        ],
        env={n: v for n, v in os.environ.items() if not n.startswith("HEAVYLIFT_")},
        input="correct horse battery\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (made.returncode, made.stderr) == (0, "")
    with psycopg.connect(database(one)) as connection:
        rows = connection.execute("SELECT email, is_admin FROM users").fetchall()
    assert rows == [("root@example.com", True)]
    assert one.interrupt() == 0


def test_jobs_in_hand_are_put_back_and_the_next_run_finishes_them(
    up: Callable[..., Up], tmp_path: Path
) -> None:
    one = up()
    client = Client(one.ready())
    log = tmp_path / "naps"
    long = {"spec": {"seconds": 600, "log": str(log)}}
    job = client.call("POST", "/api/v1/jobs/test.nap", json.dumps(long))
    until(log.exists, seconds=PATIENCE, what="the job runs")
    assert one.interrupt() == 0
    assert gone(one)

    log.unlink()
    two = up()
    two.ready()
    with psycopg.connect(database(two)) as connection:
        row = connection.execute(
            "SELECT state, attempt, tries, losses FROM job_runs WHERE job_id = %s", [job["id"]]
        ).fetchone()
    assert row is not None
    state, attempt, tries, losses = row
    assert state in {"queued", "running"}
    assert (tries, losses) == (0, 0)
    assert attempt == (1 if state == "queued" else 2)
    until(log.exists, seconds=PATIENCE, what="the job runs again")
    assert " 2 " in log.read_text()
    assert two.interrupt() == 0


def test_the_signing_key_is_kept_and_its_owners_alone(up: Callable[..., Up], folder: Path) -> None:
    one = up()
    one.ready()
    path = folder / "signing-keys"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = path.read_text()
    second = up()
    assert second.process.wait(PATIENCE) == 2
    second.said(
        rf"heavylift: {folder} is in use by another `heavylift up` \(pid {one.process.pid}\)"
    )
    assert one.interrupt() == 0
    two = up()
    two.ready()
    assert path.read_text() == key
    assert two.interrupt() == 0


def test_a_taken_port_is_one_line_and_starts_nothing(up: Callable[..., Up], folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        one = up("--port", str(port))
        assert one.process.wait(PATIENCE) == 2
    one.said(f"heavylift: can't listen on 127.0.0.1 port {port}: Address already in use")
    assert gone(one)
    assert not folder.exists()


@pytest.mark.parametrize("unwritable", ["/proc/heavylift", "/etc/hostname", "/etc/hostname/data"])
def test_an_unwritable_folder_is_one_line(unwritable: str, up: Callable[..., Up]) -> None:
    one = up("--data", unwritable)
    assert one.process.wait(PATIENCE) == 2
    one.said(f"heavylift: can't write in {unwritable}: ")
    assert gone(one)


def test_a_part_whose_settings_are_wrong_ends_it(up: Callable[..., Up]) -> None:
    one = up(HEAVYLIFT_WORKER_KINDS="nonesuch")
    assert one.process.wait(PATIENCE) == 2
    one.said(r"^worker-cpu +\| heavylift: HEAVYLIFT_WORKER_KINDS: nonesuch not installed")
    one.said(r"heavylift +\| worker-(cpu|io) ended with exit code 2")
    assert gone(one)


def test_observe_says_where_the_signals_are_and_they_are_there(up: Callable[..., Up]) -> None:
    one = up("--observe", OTEL_EXPORTER_OTLP_ENDPOINT="http://[::1]:9")
    one.ready()
    one.said(r"^heavylift +\| traces: http://\[::1\]:9$")
    for part in ("api", "controller", "worker-cpu", "worker-io"):
        url = one.said(rf"^heavylift +\| metrics of {part}: (http://127\.0\.0\.1:\d+/metrics)$")[1]
        assert httpx2.get(url).status_code == 200
    demand = one.said(r"^heavylift +\| demand: (http://\S+)$")[1]
    until(lambda: httpx2.get(demand).status_code == 200, seconds=PATIENCE, what="demand is known")
    prometheus = one.said(r"^heavylift +\| prometheus: (http://127\.0\.0\.1:\d+)/graph$")[1]

    def all_scraped() -> bool:
        targets = httpx2.get(f"{prometheus}/api/v1/targets").json()["data"]["activeTargets"]
        return len(targets) == 4 and all(target["health"] == "up" for target in targets)

    until(all_scraped, seconds=PATIENCE, what="Prometheus scrapes all four")
    assert one.said(r"^heavylift +\| alerts: (\S+)$")[1] == f"{prometheus}/alerts"

    def rules() -> list[dict[str, Any]]:
        groups = httpx2.get(f"{prometheus}/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    until(
        lambda: {rule["health"] for rule in rules()} == {"ok"},
        seconds=PATIENCE,
        what="every rule has been evaluated, and none failed",
    )
    assert {rule["type"] for rule in rules()} == {"recording", "alerting"}
    folder = one.said(r"^heavylift +\| no grafana on the PATH.*GF_PATHS_PROVISIONING=(\S+) ")[1]
    source = json.loads((Path(folder) / "datasources" / "heavylift.yaml").read_text())
    assert source["datasources"][0]["url"] == prometheus
    assert one.interrupt() == 0
    assert gone(one)


def test_production_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        command("up", "--data", str(tmp_path)),
        env={
            **{n: v for n, v in os.environ.items() if not n.startswith("HEAVYLIFT_")},
            "HEAVYLIFT_ENVIRONMENT": "production",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("heavylift: HEAVYLIFT_ENVIRONMENT is production")
    assert list(tmp_path.iterdir()) == []
