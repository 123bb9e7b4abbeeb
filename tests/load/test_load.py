"""`python -m loadtests` and Locust itself, against a real API with real workers."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.core.config import Settings
from app.embedded.stack import free_port
from loadtests.__main__ import ROOT, UNLIMITED
from loadtests._mix import MIX
from tests.load.runs import SECONDS, load, verdict
from tests.processes import Parts, environment, until

pytestmark = pytest.mark.slow


@contextmanager
def stalled_api(settings: Settings, log: Path) -> Iterator[int]:
    port = free_port(8001)
    with log.open("wb") as output:
        api = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "--factory", "tests.load.stalled:create"),
                *("--port", str(port)),
            ],
            env=environment(settings, **UNLIMITED),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: accepts(port) or api.poll() is not None, seconds=60, what="it listens")
        assert api.poll() is None, log.read_text()
        yield port
    finally:
        api.send_signal(signal.SIGTERM)
        api.wait(30)


def accepts(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_it_passes_and_a_stall_in_one_handler_fails_it(
    running: Parts, settings: Settings, tmp_path: Path
) -> None:
    port = running.api(**UNLIMITED)
    code, said = load(settings, f"http://127.0.0.1:{port}", tmp_path / "good")
    assert (code, said.splitlines()[-3:-1]) == (0, ["", "PASSED"]), said
    met = verdict(said)
    assert len(met) == 14, said
    assert all(met.values())
    report = (tmp_path / "good" / "report.html").read_text()
    assert "BrowseAndEdit /api/v1/items/{item_id}" in report
    # No id makes a row of its own.
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-7", report)

    # On what the first run has left: seeding finds it. A store takes a verdict of either kind.
    store = tmp_path / "stalled"
    store.mkdir()
    with stalled_api(settings, tmp_path / "stalled.log") as port:
        code, said = load(settings, f"http://127.0.0.1:{port}", store.as_uri())
    assert code == 1, said
    assert "\nFAILED\n" in said
    met = verdict(said)
    assert not met["BrowseAndEdit p95"]
    assert met["BrowseAndEdit errors"], said
    assert "BrowseAndEdit" in (store / "report.html").read_text()
    assert (store / "load_stats.csv").exists()


SLOW_EXIT = """
import sys
from locust.stats import StatsCSVFileWriter
import gevent
from locust.env import Environment
from loadtests._hooks import listen
listen()
writer = StatsCSVFileWriter(Environment(), [0.5], sys.argv[1])
writing = gevent.spawn(writer.stats_writer)
gevent.sleep(0.1)
writer.close_files()
writing.join(timeout=1.5)
sys.exit(writing.ready())
"""


def test_a_process_that_exits_slowly_writes_its_tables_on(tmp_path: Path) -> None:
    """Each second; Locust closes the files under it."""
    ran = subprocess.run(
        [sys.executable, "-c", SLOW_EXIT, tmp_path / "load"], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / "load_stats.csv").read_text().startswith("Type,Name,Request Count")


def test_without_a_host_it_has_a_stack_of_its_own(tmp_path: Path) -> None:
    """`make load`, for less than its minute."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "loadtests"),
            *("-t", f"{SECONDS}s", "--report", str(tmp_path / "report")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout
    met = verdict(ran.stdout)
    assert len(met) == 14, ran.stdout
    assert all(met.values())
    assert (tmp_path / "report" / "report.html").exists()
    assert "started" in (tmp_path / "report" / "logs" / "api.log").read_text()
    assert "load test: starting a stack" in ran.stdout
    progress = r"^load test: \d+ of 20 s, 10 users, [1-9]\d* requests, 0 failed, p95 \d+ ms$"
    shown = re.findall(progress, ran.stdout, re.MULTILINE)
    assert len(shown) >= 2, ran.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-t", "soon"], "argument -t/--run-time: 'soon': write 90s, 5m or 1h30m"),
        (["--report", "/dev/null"], "argument --report: /dev/null: File exists"),
        (["--report", "s4://bucket"], "argument --report: s4://bucket: write s3://bucket/prefix"),
        (["-H", "localhost:8000"], "load test: --host: write it as http://localhost:8000"),
    ],
)
def test_what_is_wrong_with_its_options_is_one_line(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "loadtests", *arguments],
        env={"PYTHONPATH": str(ROOT.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_distributed(running: Parts, settings: Settings, tmp_path: Path) -> None:
    port = running.api(**UNLIMITED)
    code, said = load(
        settings, f"http://127.0.0.1:{port}", tmp_path, "--processes", "2", "--tags", "read", "poll"
    )
    assert code == 0, said
    assert verdict(said).keys() >= {"BrowseAndEdit p95", "PollJob p95", "queue wait p95"}
    assert not any(what.startswith("FollowJob") for what in verdict(said))


def run_locust(settings: Settings, port: int, *arguments: str, **variables: str) -> tuple[int, str]:
    """Locust by itself, as the README has it."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", str(ROOT), "--headless", "--only-summary"),
            *("--host", f"http://127.0.0.1:{port}", "--run-time", "12s", *arguments),
        ],
        env=environment(
            settings,
            LOADTEST_ACCOUNTS="1",
            LOADTEST_ITEMS="30",
            PYTHONPATH=str(ROOT.parent),
            **variables,
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return ran.returncode, ran.stdout


def test_only_scenarios_that_have_users_are_judged(running: Parts, settings: Settings) -> None:
    port = running.api(**UNLIMITED)
    # One user, which Locust starts unless told otherwise, for three scenarios.
    code, said = run_locust(settings, port, "--tags", "jobs")
    assert code == 0, said
    judged = {what.partition(" ")[0] for what in verdict(said)} & MIX.keys()
    assert len(judged) == 1, said
    left = {"TransformPicture", "FollowJob", "PollJob"} - judged
    found = re.search(r"^not run, too few users: (.*)$", said, re.MULTILINE)
    assert found is not None, said
    assert set(found[1].split(", ")) == left

    # By name; without jobs, nothing is said of jobs.
    code, said = run_locust(settings, port, "LogIn", "--users", "2", "--spawn-rate", "2")
    assert code == 0, said
    assert verdict(said).keys() == {"LogIn p95", "LogIn errors"}
    assert "too few users" not in said

    # By weight.
    weights = ('{"user_class_name": "PollJob", "weight": 0}',)
    code, said = run_locust(
        settings, port, "PollJob", "BrowseAndEdit", "--users", "4", "--config-users", *weights
    )
    assert code == 0, said
    assert {what.partition(" ")[0] for what in verdict(said)} == {"BrowseAndEdit"}

    # What has a user and does nothing has not passed: its first journey begins too late.
    code, said = run_locust(
        settings, port, "LogIn", "PollJob", "--users", "2", LOADTEST_RATE="0.0001"
    )
    assert code == 1, said
    met = verdict(said)
    assert met["LogIn requests"] is False, said
    assert met["PollJob requests"] is False, said


def test_nobody_answers(settings: Settings, tmp_path: Path) -> None:
    code, said = load(settings, f"http://127.0.0.1:{free_port(8001)}", tmp_path)
    assert code == 2
    assert "connection: ConnectionRefusedError" in said


def test_a_bad_setting_ends_it_with_one_line(tmp_path: Path) -> None:
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "locust",
            "-f",
            str(ROOT),
            "--headless",
            "--host",
            "http://x.invalid",
        ],
        env={"LOADTEST_RATE": "0", "PYTHONPATH": str(ROOT.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    said = [line for line in ran.stderr.splitlines() if not line.startswith("[")]
    assert said == ["load test: LOADTEST_RATE: Input should be greater than 0"]
