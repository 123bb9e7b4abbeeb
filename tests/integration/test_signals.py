"""The port of a process's own metrics and probes."""

import re
import socket
from collections.abc import Iterator

import httpx2
import pytest
from prometheus_client import CollectorRegistry, Counter

from app.core.config import ConfigurationError, Signals
from app.core.signals import SignalServer, open_port, page, probe


@pytest.fixture
def reasons() -> list[str]:
    return []


@pytest.fixture
def client(reasons: list[str]) -> Iterator[httpx2.Client]:
    registry = CollectorRegistry()
    counter = Counter("things", "Of the test.", registry=registry)
    counter.inc(exemplar={"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"})
    listener = open_port(Signals(port=0))
    assert listener is not None
    server = SignalServer(
        listener,
        registry,
        {
            "/livez": probe(lambda: reasons[0] if reasons else None),
            "/demand": page(lambda: None if reasons else "demand 3\n"),
        },
    ).start()
    with httpx2.Client(base_url=f"http://127.0.0.1:{server.port}") as one:
        yield one
    server.close()


def test_metrics_are_classic_text_or_openmetrics_as_asked(client: httpx2.Client) -> None:
    classic = client.get("/metrics")
    assert classic.headers["Content-Type"].startswith("text/plain; version=")
    assert "things_total 1.0" in classic.text
    assert "trace_id" not in classic.text
    asked = {"Accept": "application/openmetrics-text; version=1.0.0"}
    open_metrics = client.get("/metrics", headers=asked)
    assert open_metrics.headers["Content-Type"].startswith("application/openmetrics-text")
    assert re.search(r'things_total 1\.0 # \{trace_id="4bf9', open_metrics.text)
    assert open_metrics.text.endswith("# EOF\n")


def test_probes_and_pages_say_503_and_why(client: httpx2.Client, reasons: list[str]) -> None:
    assert (client.get("/livez").status_code, client.get("/livez").text) == (200, "ok\n")
    assert client.get("/demand").text == "demand 3\n"
    reasons.append("the watch has not looked for 31 s")
    assert (client.get("/livez").status_code, client.get("/livez").text) == (503, f"{reasons[0]}\n")
    assert client.get("/demand").status_code == 503


def test_another_path_is_told_what_there_is(client: httpx2.Client) -> None:
    answer = client.get("/healthz")
    assert answer.status_code == 404
    assert answer.text == "there is /demand, /livez, /metrics\n"


def test_who_says_nothing_holds_up_nobody(client: httpx2.Client) -> None:
    host, port = client.base_url.host, client.base_url.port
    assert port is not None
    with socket.create_connection((host, port)):
        assert client.get("/livez").status_code == 200


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match="HEAVYLIFT_SIGNALS_PORT: can't listen on"):
            open_port(Signals(port=port))


def test_no_port_is_opened_where_none_is_set() -> None:
    assert open_port(Signals()) is None
