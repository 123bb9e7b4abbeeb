"""What Grafana is started with, and what it finds: by a stand-in, since no Grafana can be had here.

It shows that ours starts, waits for and stops a program of that name; not that Grafana reads it.
"""

import json
import stat
import sys
from pathlib import Path

import httpx2
import pytest

from app.core.sockets import listen
from app.embedded.grafana import EmbeddedGrafana, find_grafana, home_path, provision
from app.embedded.monitoring_files import dashboards
from app.embedded.process import EmbeddedError

STAND_IN = """#!{python}
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

assert sys.argv[1] == "server" and sys.argv[2] == "--homepath", sys.argv


class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({{"home": sys.argv[3], **os.environ}}).encode()
        self.send_response(200 if self.path == "/api/health" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


HTTPServer(
    (os.environ["GF_SERVER_HTTP_ADDR"], int(os.environ["GF_SERVER_HTTP_PORT"])), Health
).serve_forever()
"""


def install(folder: Path, home: Path) -> Path:
    """A program `folder`/grafana whose own files are in `home`."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "grafana"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (home / "conf").mkdir(parents=True, exist_ok=True)
    (home / "conf" / "defaults.ini").touch()
    return program


def free_port() -> int:
    with listen("127.0.0.1", 0) as found:
        port: int = found.getsockname()[1]
        return port


def test_it_is_provisioned_with_the_data_source_and_every_dashboard(tmp_path: Path) -> None:
    (tmp_path / "dashboards").mkdir()
    (tmp_path / "dashboards" / "of-an-older-version.json").touch()
    provisioning = provision(tmp_path, "http://127.0.0.1:9090")
    source = json.loads((provisioning / "datasources" / "heavylift.yaml").read_text())
    (prometheus,) = source["datasources"]
    assert (prometheus["type"], prometheus["url"]) == ("prometheus", "http://127.0.0.1:9090")
    provider = json.loads((provisioning / "dashboards" / "heavylift.yaml").read_text())
    pages = Path(provider["providers"][0]["options"]["path"])
    assert sorted(page.name for page in pages.iterdir()) == [one.name for one in dashboards()]
    assert len(dashboards()) == 6
    for page in pages.iterdir():
        assert json.loads(page.read_text())["uid"]


def test_its_own_files_are_found_beside_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = install(tmp_path / "grafana-13" / "bin", tmp_path / "grafana-13")
    assert home_path(str(archive)) == tmp_path / "grafana-13"
    link = tmp_path / "grafana"
    link.symlink_to(archive)
    assert home_path(str(link)) == tmp_path / "grafana-13"
    brew = install(tmp_path / "brew" / "bin", tmp_path / "brew" / "share" / "grafana")
    assert home_path(str(brew)) == tmp_path / "brew" / "share" / "grafana"
    monkeypatch.setenv("PATH", str(brew.parent))
    assert find_grafana() == str(brew)
    monkeypatch.setattr("app.embedded.grafana.DISTRIBUTION", tmp_path / "nowhere")
    bare = tmp_path / "bare" / "bin" / "grafana"
    assert home_path(str(bare)) is None


def test_it_serves_this_machine_alone_until_it_is_stopped(tmp_path: Path) -> None:
    home = tmp_path / "home"
    program = install(tmp_path / "bin", home)
    provisioning = provision(tmp_path / "grafana", "http://127.0.0.1:9090")
    server = EmbeddedGrafana(
        str(program), home, tmp_path / "grafana", provisioning, port=free_port()
    )
    server.start()
    try:
        told = httpx2.get(f"{server.url}/api/health").json()
    finally:
        server.stop()
    assert told["home"] == str(home)
    assert told["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert told["GF_PATHS_PROVISIONING"] == str(provisioning)
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{server.url}/api/health")


def test_one_that_ends_at_once_says_where_its_log_is(tmp_path: Path) -> None:
    program = tmp_path / "grafana"
    program.write_text("#!/bin/sh\necho no such option\nexit 1\n")
    program.chmod(0o755)
    server = EmbeddedGrafana(
        str(program), tmp_path, tmp_path / "grafana-data", tmp_path, port=free_port()
    )
    with pytest.raises(EmbeddedError, match="no such option"):
        server.start()
