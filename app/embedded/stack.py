"""The whole of Heavylift on one machine: servers and parts under one supervisor."""

import fcntl
import os
import secrets
import shutil
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from app.core.config import PREFIX, ConfigurationError, Database, variables
from app.core.scratch import make_folder
from app.core.sockets import listen
from app.embedded import monitoring_files
from app.embedded.grafana import EmbeddedGrafana, find_grafana, home_path, provision
from app.embedded.postgres import EmbeddedPostgres
from app.embedded.process import ChildProcess, EmbeddedError, StopPlan
from app.embedded.prometheus import EmbeddedPrometheus, find_prometheus
from app.embedded.redis import SOCKET_PATH_LIMIT, EmbeddedRedis
from app.embedded.supervisor import CONFIGURATION_EXIT, Service, Supervised
from app.migrations import upgrade

# Called with the name of a part (or of the supervisor) and a line that it wrote.
Sink = Callable[[str, str], None]

SUPERVISOR = "heavylift"

# The longest name of a socket in the servers' folder (PostgreSQL's lock file).
LONGEST_SOCKET = "/.s.PGSQL.5432.lock"

# Seconds that open requests have when everything is stopped.
API_GRACE = 3

# A worker gets a second SIGTERM after this many seconds: it puts its jobs back at once.
WORKER_FINISH = 2.0

# Slots of a pool that waits for others rather than computes.
IO_SLOTS = 2

# OpenTelemetry's own for metrics: the first part's, the next one's is the next.
SIGNALS_PORT = 9464
PROMETHEUS_PORT = 9090
GRAFANA_PORT = 3000

# Settings that the stack makes for its parts, and users can't.
OWN_SERVERS = ("DATABASE_URL", "DATABASE_DIRECT_URL", "REDIS_URL", "STORAGE_URL")


class StopRequested(Exception):
    """The stack was asked to stop while it started."""


@dataclass(frozen=True)
class Part:
    """A process of `heavylift <arguments>`; `settings` are `HEAVYLIFT_*` variables of its own."""

    name: str
    arguments: Sequence[str]
    stop: StopPlan
    rank: int
    listens: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


# Lower ranks stop first: who takes work in, who does it, who hands it out, what holds it.
API, WORKER, CONTROLLER, REDIS, POSTGRES = range(5)


def api() -> Part:
    return Part("api", ["api"], [(signal.SIGTERM, API_GRACE + 2)], API, listens=True)


def worker(pool: str, concurrency: int) -> Part:
    return Part(
        f"worker-{pool}",
        ["worker", "--pool", pool, "--concurrency", str(concurrency)],
        [(signal.SIGTERM, WORKER_FINISH), (signal.SIGTERM, 6)],
        WORKER,
    )


def controller() -> Part:
    return Part("controller", ["controller"], [(signal.SIGTERM, 3)], CONTROLLER)


def all_parts(
    *,
    concurrency: int | None = None,
    others: int = IO_SLOTS,
    pools: Sequence[str] = ("cpu", "io"),
) -> list[Part]:
    """All parts: `concurrency` is for the pool cpu, `others` for each other pool."""
    slots = concurrency or os.cpu_count() or 1
    workers = [worker(pool, slots if pool == "cpu" else others) for pool in pools]
    return [api(), controller(), *workers]


def command(*arguments: str) -> list[str]:
    """`heavylift <arguments>` of this interpreter; -P: not of the folder where it is run."""
    return [sys.executable, "-P", "-m", "app.cli", *arguments]


class _PartService:
    def __init__(
        self,
        part: Part,
        *,
        environment: Mapping[str, str],
        line: Callable[[str], None],
        listener: socket.socket | None,
    ) -> None:
        self._part = part
        self._environment = environment
        self._line = line
        self._listener = listener
        self._process: ChildProcess | None = None

    @property
    def process(self) -> ChildProcess:
        if self._process is None:
            raise RuntimeError("the part was not started")
        return self._process

    def start(self) -> None:
        descriptors = [self._listener.fileno()] if self._listener else []
        self._process = ChildProcess(
            command(*self._part.arguments, *(f"--fd={number}" for number in descriptors)),
            output=self._line,
            stop=self._part.stop,
            # The servers end too: there is nowhere to put anything back to.
            orphaned=signal.SIGKILL,
            environment=self._environment,
            descriptors=descriptors,
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()


def free_port(preferred: int = 0, taken: Container[int] = ()) -> int:
    """A loopback port that is free just now: the preferred one, unless 0, if it is."""
    if preferred and preferred not in taken:
        with suppress(ConfigurationError), listen("127.0.0.1", preferred):
            return preferred
    with listen("127.0.0.1", 0) as found:
        port: int = found.getsockname()[1]
        return port


def log_files(folder: Path) -> Sink:
    """A sink that appends each part's lines to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str, line: str) -> None:
        with (folder / f"{name}.log").open("a") as file:
            file.write(line + "\n")

    return write


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make `folder`, and hold it alone. Raises `EmbeddedError`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (folder / "lock").open("a+")
    except OSError as error:
        raise EmbeddedError(f"can't write in {folder}: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise EmbeddedError(
                f"{folder} is in use by another `heavylift up` (pid {file.read()})"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def socket_folder(folder: Path) -> Iterator[Path | None]:
    """Make a temporary folder if `folder`'s path can't hold sockets; else None.

    The path may be too long, or have a comma, which libpq reads as two hosts.
    """
    if len(bytes(folder)) + len(LONGEST_SOCKET) <= SOCKET_PATH_LIMIT and "," not in str(folder):
        yield None
        return
    # Not in TMPDIR, which is long by itself on macOS.
    short = make_folder("hl-", inside=Path("/tmp"), setting="/tmp")  # noqa: S108
    try:
        yield short
    finally:
        shutil.rmtree(short, ignore_errors=True)


def make_signing_keys(path: Path) -> None:
    """A key of this machine's own, its owner's alone to read; one that is there is kept."""
    if path.exists():
        return
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        kid = f"{datetime.now(UTC):%Y-%m-%d}-{secrets.token_hex(4)}"
        file.write(f"{kid}:{secrets.token_urlsafe(32)}\n")
    unfinished.rename(path)


class Stack:
    """Servers and parts in `folder`, running between `start` and `stop`.

    `environment`, for any further process, `base_url` and the servers are there once it has
    started. What ends by itself is started again; `stop_one` stops one until `start_one`.
    `settings` are `HEAVYLIFT_*` variables for all parts. Without a `sink`, each part writes to
    `folder/logs`. With `observe`, each part has a port for its signals; Prometheus scrapes them and
    evaluates `rules` (the project's own by default), and Grafana shows the dashboards, where the
    machine has them. `targets` are other ports to scrape, by job and instance. Without
    `known_ports`, all of these ports are random: two stacks that start at once may want the same.
    """

    postgres: EmbeddedPostgres
    redis: EmbeddedRedis
    prometheus: EmbeddedPrometheus | None = None
    grafana: EmbeddedGrafana | None = None
    provisioning: Path | None = None
    environment: Mapping[str, str]

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        concurrency: int | None = None,
        parts: Sequence[Part] | None = None,
        durable: bool = True,
        sink: Sink | None = None,
        settings: Mapping[str, str] | None = None,
        observe: bool = False,
        known_ports: bool = True,
        rules: str | None = None,
        targets: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self._host = host
        self._port = port
        self._parts = all_parts(concurrency=concurrency) if parts is None else parts
        self._durable = durable
        self._sink = sink
        self._settings = settings or {}
        self._observe = observe
        self._known_ports = known_ports
        self._rules = rules
        self._targets = targets or {}
        self.signal_ports: dict[str, int] = {}
        """Of each part, by its name."""
        self._listener: socket.socket | None = None
        self._running: dict[str, tuple[int, Supervised]] = {}
        self._resources = ExitStack()
        self._outcome: int | None = None
        # Not an Event: a signal handler may interrupt this one's put() and call it again.
        self._wake: SimpleQueue[None] = SimpleQueue()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Raises `EmbeddedError`, `ConfigurationError` or `StopRequested`; nothing runs then."""
        try:
            self._prepare()
            steps: Sequence[Callable[[], object]] = (
                partial(self._supervise, "postgres", self.postgres, POSTGRES),
                partial(self._supervise, "redis", self.redis, REDIS),
                partial(upgrade, Database.model_validate({"url": self.postgres.url()})),
                *(partial(self.add, part) for part in self._parts),
                self._start_prometheus,
            )
            for step in steps:
                if self._outcome is not None:
                    raise StopRequested
                step()
        except EmbeddedError:
            self.stop()
            if self._outcome is not None:  # Ctrl-C reaches initdb as well: no failure of its own
                raise StopRequested from None
            raise
        except BaseException:
            self.stop()
            raise

    def _prepare(self) -> None:
        # The port first: where it is taken, nothing has been made.
        self._listener = listen(self._host, self._port)
        self._resources.enter_context(locked(self.folder))
        sockets = self._resources.enter_context(socket_folder(self.folder / "postgres"))
        # What the jobs of a killed run left of their work.
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        self.postgres = EmbeddedPostgres(
            self.folder / "postgres", durable=self._durable, sockets=sockets
        )
        self.redis = EmbeddedRedis(self.folder / "redis", sockets=sockets)
        if self._sink is None:
            self._sink = log_files(self.folder / "logs")
        self.environment = self._environment()

    @property
    def _scratch(self) -> Path:
        return self.folder / "scratch"

    def _environment(self) -> dict[str, str]:
        known = variables()
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(PREFIX) or name.removesuffix("_FILE") in known
        }
        ours = {
            f"{PREFIX}DATABASE_URL": self.postgres.url(),
            f"{PREFIX}REDIS_URL": self.redis.url(),
            f"{PREFIX}STORAGE_URL": (self.folder / "files").as_uri(),
            f"{PREFIX}API_HOST": self._host,
            f"{PREFIX}API_PORT": str(self.port),
            **self._settings,
        }
        # One port for all the parts would be no port for most of them.
        others = (f"{PREFIX}{name}" for name in (*OWN_SERVERS, "SIGNALS_PORT"))
        for name in (*ours, *others):
            inherited.pop(name, None)
            inherited.pop(f"{name}_FILE", None)
        keys = f"{PREFIX}AUTH_SIGNING_KEYS"
        if not {keys, f"{keys}_FILE"} & {*inherited, *ours}:
            path = self.folder / "signing-keys"
            make_signing_keys(path)
            ours[f"{keys}_FILE"] = str(path)
        defaults = {
            f"{PREFIX}API_GRACE": str(API_GRACE),
            # Nothing balances its load.
            f"{PREFIX}API_SHUTDOWN_DELAY": "0",
            # Nothing starts more of them.
            f"{PREFIX}CONTROLLER_MAX_WORKERS": ",".join(
                f"{pool}={count}" for pool, count in self._workers().items()
            ),
            # Its reader is a person, also behind the pipe that the parts' lines come through.
            f"{PREFIX}LOG_FORMAT": "text",
            f"{PREFIX}NEWSLETTER_PAGE_URL": f"{self.base_url}/newsletter",
            f"{PREFIX}WORKER_SCRATCH": str(self._scratch),
        }
        for name in defaults.keys() - inherited.keys():
            if f"{name}_FILE" not in inherited:
                inherited[name] = defaults[name]
        return {**inherited, **ours, "PYTHONUNBUFFERED": "1"}

    def _workers(self) -> Counter[str]:
        """The number of workers of each pool."""
        arguments = [part.arguments for part in self._parts if part.arguments[0] == "worker"]
        return Counter(each[each.index("--pool") + 1] for each in arguments)

    def _supervise(self, name: str, service: Service, rank: int) -> None:
        supervised = Supervised(
            service,
            say=lambda text: self._say(f"{name} {text}"),
            give_up=lambda: self.request_stop(CONFIGURATION_EXIT),
        )
        # Known before it starts: what came up only half is stopped too.
        self._running[name] = rank, supervised
        supervised.start()

    def _say(self, text: str) -> None:
        assert self._sink is not None  # noqa: S101
        self._sink(SUPERVISOR, text)

    def _start_prometheus(self) -> None:
        command = find_prometheus() if self._observe else None
        if command is None:
            return
        targets: dict[str, dict[str, int]] = {}
        for part in self._parts:
            targets.setdefault(part.arguments[0], {})[part.name] = self.signal_ports[part.name]
        targets.update((job, dict(instances)) for job, instances in self._targets.items())
        self.prometheus = EmbeddedPrometheus(
            command,
            self.folder / "prometheus",
            port=self._free_port(PROMETHEUS_PORT),
            targets=targets,
            rules=self._rules or monitoring_files.rules(),
        )
        self._supervise("prometheus", self.prometheus, API)
        self._start_grafana(self.prometheus.url)

    def _start_grafana(self, prometheus: str) -> None:
        folder = self.folder / "grafana"
        self.provisioning = provision(folder, prometheus)
        command = find_grafana()
        home = command and home_path(command)
        if not command or not home:
            return
        port = self._free_port(GRAFANA_PORT)
        self.grafana = EmbeddedGrafana(command, home, folder, self.provisioning, port=port)
        self._supervise("grafana", self.grafana, API)

    def _free_port(self, known: int, taken: Container[int] = ()) -> int:
        return free_port(known if self._known_ports else 0, taken)

    def add(self, part: Part) -> None:
        """Start another part."""
        assert self._sink is not None  # noqa: S101
        settings = dict(part.settings)
        if self._observe:
            ports = self.signal_ports
            port = self._free_port(SIGNALS_PORT + len(ports), ports.values())
            ports.setdefault(part.name, port)
            settings[f"{PREFIX}SIGNALS_PORT"] = str(ports[part.name])
        service = _PartService(
            part,
            environment={**self.environment, **settings},
            line=partial(self._sink, part.name),
            listener=self._listener if part.listens else None,
        )
        self._supervise(part.name, service, part.rank)

    def stop(self) -> None:
        """All of it, rank after rank, within seconds whatever hangs."""
        if self._listener is not None:
            self._listener.close()  # or connections would wait for an API that comes no more
        ranks = sorted({rank for rank, _ in self._running.values()})
        stops: list[Future[None]] = []
        with ThreadPoolExecutor() as pool:
            for of in ranks:
                stops = [
                    *stops,
                    *(pool.submit(one.stop) for rank, one in self._running.values() if rank == of),
                ]
                wait(stops)
        self._running.clear()
        self._resources.close()
        for stop in stops:
            stop.result()

    # What runs

    @property
    def port(self) -> int:
        if self._listener is None:
            raise RuntimeError("the stack was not started")
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def base_url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def pid(self, name: str) -> int:
        return self._running[name][1].pid

    def stop_one(self, name: str) -> None:
        self._running[name][1].stop()

    def start_one(self, name: str) -> None:
        self._running[name][1].start()

    # Waiting

    def request_stop(self, outcome: int = 0) -> None:
        """End `wait`, or a `start` under way. A signal handler may call it."""
        if self._outcome is None:
            self._outcome = outcome
        self._wake.put(None)

    def wait(self) -> int:
        """Until a stop is requested, or a part gave up; returns the exit code that fits."""
        while self._outcome is None:
            self._wake.get()
        return self._outcome

    def wait_ready(self) -> bool:
        """Until the API says that it is ready; False when the stack is to stop instead."""
        while self._outcome is None:
            if self._is_ready():
                return True
            try:
                self._wake.get(timeout=0.1)
            except Empty:
                continue
        return False

    def _is_ready(self) -> bool:
        # The listener is open already: while the API starts, its answer is waited for here.
        connection = HTTPConnection(self.base_url.removeprefix("http://"), timeout=1)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
