"""Runs Locust without its UI, and holds what it saw against the objectives: `make load`.

Without `--host`, on a stack of its own, on this machine. What is not known here is Locust's:
`python -m loadtests --host http://... --tags items`.
"""

import argparse
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from app.core.config import ConfigurationError
from app.embedded import EmbeddedError
from app.embedded.stack import Stack, command, free_port, log_files

ROOT = Path(__file__).parent

REPORT = "report.html"

ADMIN = "loadtest-admin@example.com"

# Everybody comes from one address.
UNLIMITED = {
    "HEAVYLIFT_AUTH_LOGINS_PER_ADDRESS": "100000/minute",
    "HEAVYLIFT_AUTH_REGISTRATIONS_PER_ADDRESS": "100000/minute",
}

# Seconds beyond the run's own that Locust may take: to seed, to finish what is under way, to write,
# to wait for a last scrape.
PATIENCE = 180

# Preferred port of its metrics with --observe: the usual one of exporters for Locust.
METRICS_PORT = 9646


def seconds(text: str) -> int:
    """As Locust has it: 90, 90s, 5m or 1h30m."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    hours, minutes, rest = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    if not (count := (hours * 60 + minutes) * 60 + rest):
        raise argparse.ArgumentTypeError(f"{text!r}: write 90s, 5m or 1h30m")
    return count


def report(text: str) -> Path | ObjectStore:
    if "://" in text:
        try:
            return from_url(text)
        except (BaseError, ValueError):
            raise argparse.ArgumentTypeError(
                f"{text}: write s3://bucket/prefix, gs://…, az://… or a folder"
            ) from None
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error.strerror}") from None
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="loadtests", description=__doc__, allow_abbrev=False)
    parser.add_argument("-H", "--host", help="Where it is up; without it, a stack is started here.")
    parser.add_argument("-u", "--users", type=int, default=10)
    parser.add_argument("-r", "--spawn-rate", type=float, default=5, help="Users a second.")
    parser.add_argument("-t", "--run-time", type=seconds, default="60s", help="90s, 5m or 1h30m.")
    parser.add_argument(
        "--report",
        type=report,
        default="load-report",
        help="A folder; or s3://bucket/prefix, by AWS_* in the environment.",
    )
    parser.add_argument(
        "--observe",
        action="store_true",
        help="Serve the metrics of the stack that is started here and of the load test, and scrape "
        "them with the prometheus on the PATH.",
    )
    options, others = parser.parse_known_args(arguments)
    if options.observe and options.host is not None:
        parser.error("--observe is for a stack of its own: with --host, set LOADTEST_METRICS_PORT")
    # As Ctrl-C: all of it is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with local(options):
            if options.host is not None:
                return run(options, others, options.host, {})
            return run_on_a_stack(options, others)
    except BaseError as error:
        print(f"load test: the report is lost: {type(error).__name__}", file=sys.stderr)
        return 2
    except (EmbeddedError, ConfigurationError) as error:
        print(f"load test: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("load test: interrupted", file=sys.stderr)
        return 130


@contextmanager
def local(options: argparse.Namespace) -> Iterator[None]:
    """`options.report` is a folder meanwhile. Raises `BaseError` where it can't be stored."""
    store = options.report
    if isinstance(store, Path):
        yield
        if (store / REPORT).exists():
            print(f"report: {store / REPORT}")
        return
    with tempfile.TemporaryDirectory(prefix="hl-load-") as scratch:
        options.report = Path(scratch)
        try:
            yield
        finally:
            files = sorted(options.report.glob("*.*"))
            for file in files:
                obstore.put(store, file.name, file)
            print(f"stored: {', '.join(file.name for file in files)}")


def run_on_a_stack(options: argparse.Namespace, others: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="hl-load-") as scratch:
        # PostgreSQL's files belong to a user of its own where this one is root.
        Path(scratch).chmod(0o755)
        logs = options.report / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        sink = log_files(logs)
        print(f"load test: starting a stack, its logs go to {logs}", file=sys.stderr)
        port = free_port(METRICS_PORT)
        with Stack(
            Path(scratch) / "stack",
            durable=False,
            settings=UNLIMITED,
            sink=sink,
            observe=options.observe,
            targets={"loadtest": {"loadtest": port}},
        ) as stack:
            if not stack.wait_ready():
                print(f"load test: the stack did not start: see {logs}", file=sys.stderr)
                return 2
            password = secrets.token_urlsafe()
            make_admin(stack.environment, password)
            settings = {"LOADTEST_ADMIN_EMAIL": ADMIN, "LOADTEST_ADMIN_PASSWORD": password}
            if options.observe:
                settings["LOADTEST_METRICS_PORT"] = str(port)
                print(f"load test: metrics: http://127.0.0.1:{port}/metrics", file=sys.stderr)
                found = f"{stack.prometheus.url}/graph" if stack.prometheus else "none on the PATH"
                print(f"load test: prometheus: {found}", file=sys.stderr)
            print(f"load test: {stack.base_url} for {options.run_time} s", file=sys.stderr)
            return run(options, others, stack.base_url, settings)


def make_admin(environment: Mapping[str, str], password: str) -> None:
    """The API makes no first admin. Raises `EmbeddedError`."""
    made = subprocess.run(
        command("user", "create", ADMIN, "--admin"),
        env=environment,
        input=f"{password}\n",
        text=True,
        capture_output=True,
        check=False,
    )
    if made.returncode:
        raise EmbeddedError(f"no admin: {made.stderr.strip()}")


def run(
    options: argparse.Namespace, others: Sequence[str], host: str, settings: Mapping[str, str]
) -> int:
    """Locust's exit code: 0, 1 where an objective is missed, 2 where it could not run."""
    report = options.report / REPORT
    report.unlink(missing_ok=True)
    # A process of its own: Locust makes green threads of all that Python has.
    locust = subprocess.Popen(
        [
            *(sys.executable, "-m", "locust", "-f", str(ROOT), "--headless", "--only-summary"),
            *("--host", host, "--users", str(options.users)),
            *("--spawn-rate", str(options.spawn_rate), "--run-time", f"{options.run_time}s"),
            *("--html", str(report), "--csv", str(options.report / "load"), *others),
        ],
        env={**os.environ, "PYTHONPATH": search_path(), **settings},
        stdin=subprocess.DEVNULL,
    )
    try:
        code = locust.wait(options.run_time + PATIENCE)
    except subprocess.TimeoutExpired:
        print(f"load test: Locust did not end in {PATIENCE} s", file=sys.stderr)
        return 2
    finally:
        if locust.poll() is None:
            locust.terminate()
            with suppress(subprocess.TimeoutExpired):
                locust.wait(10)
            locust.kill()
            locust.wait()
    return code


def search_path() -> str:
    """So that its process finds this package, wherever it is run."""
    return os.pathsep.join(filter(None, (str(ROOT.parent), os.environ.get("PYTHONPATH"))))


if __name__ == "__main__":
    sys.exit(main())
