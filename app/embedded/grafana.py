"""Grafana, where the machine has one, with the dashboards; else files for any other Grafana."""

import json
import os
import shutil
import signal
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from app.embedded.monitoring_files import dashboards
from app.embedded.process import ChildProcess

# The dashboards' first page.
HOME = "heavylift-service"

# Where packages put `conf/defaults.ini` and `public/`, which the program needs: an archive beside
# its `bin`, Homebrew in `share/grafana`, Debian's and Red Hat's packages here.
DISTRIBUTION = Path("/usr/share/grafana")


def find_grafana() -> str | None:
    return shutil.which("grafana")


def home_path(command: str) -> Path | None:
    """Where the program's own files are."""
    program = Path(command).resolve()
    beside = program.parent.parent
    candidates = (beside, beside / "share" / "grafana", DISTRIBUTION)
    return next((one for one in candidates if (one / "conf" / "defaults.ini").exists()), None)


def provision(folder: Path, prometheus: str) -> Path:
    """Write what a Grafana provisions itself from (`GF_PATHS_PROVISIONING`): a data source, whose
    URL is `prometheus`, and the dashboards."""
    provisioning = folder / "provisioning"
    pages = folder / "dashboards"
    for each in (provisioning / "datasources", provisioning / "dashboards", pages):
        each.mkdir(parents=True, exist_ok=True)
    for old in pages.glob("*.json"):
        old.unlink()
    for page in dashboards():
        shutil.copyfile(page, pages / page.name)
    source = {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "Prometheus",
                "type": "prometheus",
                "uid": "prometheus",
                "access": "proxy",
                "url": prometheus,
                "isDefault": True,
                "jsonData": {"timeInterval": "2s", "httpMethod": "POST"},
            }
        ],
    }
    provider = {
        "apiVersion": 1,
        "providers": [
            {
                "name": "heavylift",
                "folder": "Heavylift",
                "type": "file",
                "options": {"path": str(pages)},
            }
        ],
    }
    # JSON is YAML.
    (provisioning / "datasources" / "heavylift.yaml").write_text(json.dumps(source, indent=2))
    (provisioning / "dashboards" / "heavylift.yaml").write_text(json.dumps(provider, indent=2))
    return provisioning


class EmbeddedGrafana:
    """A server in `folder` on a loopback port, open to anybody on this machine."""

    def __init__(
        self, command: str, home: Path, folder: Path, provisioning: Path, *, port: int
    ) -> None:
        self._command = command
        self._home = home
        self._folder = folder
        self._provisioning = provisioning
        self._port = port
        self._process: ChildProcess | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "GF_SERVER_HTTP_ADDR": "127.0.0.1",
            "GF_SERVER_HTTP_PORT": str(self._port),
            "GF_PATHS_DATA": str(self._folder / "data"),
            "GF_PATHS_LOGS": str(self._folder / "logs"),
            "GF_PATHS_PROVISIONING": str(self._provisioning),
            "GF_AUTH_ANONYMOUS_ENABLED": "true",
            "GF_AUTH_ANONYMOUS_ORG_ROLE": "Editor",
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
            "GF_LOG_LEVEL": "warn",
        }

    def _ready(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=1)
        try:
            connection.request("GET", "/api/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._process = ChildProcess(
            [self._command, "server", "--homepath", str(self._home)],
            output=self._folder / "grafana.log",
            stop=[(signal.SIGTERM, 5)],
            orphaned=signal.SIGTERM,
            environment=self._environment(),
        )
        self._process.wait_until(self._ready, seconds=60)

    @property
    def process(self) -> ChildProcess:
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
