"""Prometheus, where the machine has one: beside the stack, to look at its metrics."""

import json
import shutil
import signal
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from app.embedded.process import ChildProcess

# Seconds between scrapes: a graph that moves while somebody watches.
SCRAPE_INTERVAL = 2

# As the chart's monitors label all series: dashboards and alerts select by them.
LABELS = {"namespace": "local", "release": "heavylift"}


def find_prometheus() -> str | None:
    return shutil.which("prometheus")


class EmbeddedPrometheus:
    """A server in `folder` on a loopback port.

    `targets` has the ports to scrape, by job (api, controller, worker) and then by instance;
    `rules` is the text of a file of recording rules and alerts.
    """

    def __init__(
        self,
        command: str,
        folder: Path,
        *,
        port: int,
        targets: Mapping[str, Mapping[str, int]],
        rules: str,
    ) -> None:
        self.folder = folder
        self._rules = folder / "rules.yaml"
        self._rules_text = rules
        self._command = command
        self._port = port
        self._targets = targets
        self._process: ChildProcess | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _configuration(self) -> str:
        """JSON is YAML."""
        return json.dumps(
            {
                "global": {
                    "scrape_interval": f"{SCRAPE_INTERVAL}s",
                    "evaluation_interval": f"{SCRAPE_INTERVAL}s",
                },
                "rule_files": [str(self._rules)],
                "scrape_configs": [
                    {
                        "job_name": f"heavylift-{job}",
                        "static_configs": [
                            {
                                "targets": [f"127.0.0.1:{port}"],
                                "labels": {"instance": instance, **LABELS},
                            }
                            for instance, port in instances.items()
                        ],
                    }
                    for job, instances in self._targets.items()
                ],
            }
        )

    def _ready(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=1)
        try:
            connection.request("GET", "/-/ready")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._rules.write_text(self._rules_text)
        configuration = self.folder / "prometheus.yml"
        configuration.write_text(self._configuration())
        self._process = ChildProcess(
            [
                self._command,
                f"--config.file={configuration}",
                f"--storage.tsdb.path={self.folder / 'series'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                "--enable-feature=exemplar-storage",
                "--log.level=warn",
            ],
            output=self.folder / "prometheus.log",
            stop=[(signal.SIGTERM, 5)],
            orphaned=signal.SIGTERM,
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
