"""What is counted, traced and said of a request."""

import json
import re
from collections.abc import Iterator
from uuid import uuid4

import anyio
import pytest
import structlog
from fastapi import BackgroundTasks, FastAPI
from httpx2 import AsyncClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.exposition import generate_latest

from app.core import telemetry
from app.core.config import Settings
from app.main import create_app
from tests.integration.api.conftest import connect, is_ready, serving
from tests.integration.api.kinds import KINDS

pytestmark = pytest.mark.anyio

DURATION = "http_server_request_duration_seconds"

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE, CALLER = PARENT.split("-")[1:3]

Series = tuple[str, str, str]


def counted() -> dict[Series, float]:
    """Requests by method, route and status."""
    [found] = [metric for metric in REGISTRY.collect() if metric.name == DURATION]
    names = ("http_request_method", "http_route", "http_response_status_code")
    return {
        (sample.labels[names[0]], sample.labels[names[1]], sample.labels[names[2]]): sample.value
        for sample in found.samples
        if sample.name == f"{DURATION}_count"
    }


def active() -> float:
    [found] = [one for one in REGISTRY.collect() if one.name == "http_server_active_requests"]
    return sum(sample.value for sample in found.samples)


def since(before: dict[Series, float]) -> dict[Series, float]:
    """What has been counted since."""
    return {
        series: count - before.get(series, 0)
        for series, count in counted().items()
        if count != before.get(series, 0)
    }


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """All that ends: nothing is left to chance, or to a collector."""
    # The first app of a process would configure them over what is set here.
    telemetry.configure_tracing("api")
    exporter = InMemorySpanExporter()
    provider = TracerProvider(ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "tracer", provider.get_tracer("test"))
    monkeypatch.setattr(telemetry, "_begun_here", None)
    yield exporter
    provider.shutdown()


def server_span(spans: InMemorySpanExporter) -> ReadableSpan:
    [span] = [span for span in spans.get_finished_spans() if span.kind is SpanKind.SERVER]
    return span


# --- metrics ----------------------------------------------------------------------------------


@pytest.mark.slow
async def test_each_operation_is_counted_by_its_template(
    anonymous: AsyncClient, app: FastAPI
) -> None:
    """By that alone: paths with other ids add nothing."""
    operations = [
        (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if path not in ("/livez", "/readyz", "/startupz")
    ]
    assert len(operations) > 30
    for method, path in operations:
        before = counted()
        statuses = set()
        for _ in range(2):
            asked = re.sub(r"{\w+}", str(uuid4()), path)
            response = await anonymous.request(method, asked)
            statuses.add(str(response.status_code))
        added = since(before)
        assert {series[:2] for series in added} == {(method, path)}, added
        assert {series[2] for series in added} == statuses
        assert sum(added.values()) == 2
    assert active() == 0


async def test_pages_and_what_is_mounted_have_templates(anonymous: AsyncClient) -> None:
    before = counted()
    page = await anonymous.get("/docs")
    assets = re.findall(r'"(docs/assets/\w+)/([^"]+)"', page.text)
    assert len({name for _, name in assets}) > 1
    for folder, name in assets:
        assert (await anonymous.get(f"/{folder}/{name}")).status_code == 200
    for path in ("/newsletter", "/openapi.json"):
        assert (await anonymous.get(path)).status_code == 200
    assert since(before) == {
        ("GET", "/docs", "200"): 1,
        ("GET", f"/{assets[0][0]}/{{path}}", "200"): len(assets),
        ("GET", "/newsletter", "200"): 1,
        ("GET", "/openapi.json", "200"): 1,
    }


async def test_what_a_client_makes_up_makes_no_series(anonymous: AsyncClient) -> None:
    before = counted()
    for number in range(3):
        await anonymous.get(f"/api/v1/nothing-{number}")
        await anonymous.request(f"BREW{number}", "/api/v1/items")
    await anonymous.delete("/api/v1/items")
    assert since(before) == {
        ("GET", "", "404"): 3,
        ("_OTHER", "/api/v1/items", "405"): 3,
        ("DELETE", "/api/v1/items", "405"): 1,
    }


async def test_probes_are_in_no_signal(anonymous: AsyncClient, spans: InMemorySpanExporter) -> None:
    await is_ready(anonymous)
    before = counted()
    with structlog.testing.capture_logs() as logs:
        for probe in ("/livez", "/readyz", "/startupz"):
            assert (await anonymous.get(probe)).status_code == 200
    assert (since(before), logs, spans.get_finished_spans()) == ({}, [], ())


async def test_an_exemplar_is_of_a_recorded_trace(
    anonymous: AsyncClient, spans: InMemorySpanExporter
) -> None:
    await anonymous.get("/docs", headers={"traceparent": PARENT})
    text = generate_latest(REGISTRY).decode()  # type: ignore[no-untyped-call]
    line = next(line for line in text.splitlines() if f'trace_id="{TRACE}"' in line)
    assert line.startswith(f"{DURATION}_bucket")
    assert 'http_route="/docs"' in line


async def test_a_background_task_is_not_the_clients(
    settings: Settings, clean: None, spans: InMemorySpanExporter
) -> None:
    """Its request has been answered, counted and said when it runs, or crashes."""
    app = create_app(settings, KINDS)
    seen: list[tuple[dict[Series, float], int, int]] = []
    before = counted()

    @app.get("/later")
    async def later(tasks: BackgroundTasks) -> int:
        async def task() -> None:
            ended = len(spans.get_finished_spans())
            said = len([line for line in logs if line["event"] == "request"])
            seen.append((since(before), ended, said))
            raise ValueError("later")

        tasks.add_task(task)
        return 1

    processors = [structlog.contextvars.merge_contextvars]
    with structlog.testing.capture_logs(processors=processors) as logs:
        async with serving(app) as served, connect(served) as client:
            response = await client.get("/later")
    assert response.status_code == 200
    assert seen == [({("GET", "/later", "200"): 1}, 1, 1)]
    [request, crash] = [line for line in logs if "request_id" in line]
    assert (request["event"], crash["event"]) == ("request", "background task crashed")
    assert crash["trace_id"] == request["trace_id"]
    assert server_span(spans).status.status_code is StatusCode.UNSET


async def test_who_is_refused_is_counted_by_the_reason(anonymous: AsyncClient) -> None:
    def refused(reason: str) -> float:
        return REGISTRY.get_sample_value("heavylift_auth_failures_total", {"reason": reason}) or 0

    before = refused("unauthorized"), refused("invalid-credentials")
    assert (await anonymous.get("/api/v1/users/me")).status_code == 401
    form = {"username": "nobody@example.com", "password": "wrong password"}
    assert (await anonymous.post("/api/v1/auth/login", data=form)).status_code == 401
    assert (await anonymous.get("/api/v1/nothing")).status_code == 404
    after = refused("unauthorized"), refused("invalid-credentials")
    assert after == (before[0] + 1, before[1] + 1)


# --- traces -----------------------------------------------------------------------------------


async def test_a_request_is_a_span_and_so_are_its_statements(
    client: AsyncClient, spans: InMemorySpanExporter
) -> None:
    response = await client.get("/api/v1/items?limit=5", headers={"traceparent": PARENT})
    assert response.status_code == 200
    span = server_span(spans)
    assert span.name == "GET /api/v1/items"
    assert span.context is not None
    assert span.parent is not None
    assert telemetry.trace_id(span.context) == TRACE
    assert f"{span.parent.span_id:016x}" == CALLER
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": "/api/v1/items",
        "http.response.status_code": 200,
        "url.path": "/api/v1/items",
        "url.scheme": "http",
        **{name: value for name, value in (span.attributes or {}).items() if "server." in name},
    }
    statements = [span for span in spans.get_finished_spans() if span.kind is SpanKind.CLIENT]
    assert any(statement.name == "SELECT items" for statement in statements)
    for statement in statements:
        assert statement.parent is not None
        assert statement.parent.span_id == span.context.span_id
        attributes = statement.attributes or {}
        assert attributes["db.system.name"] == "postgresql"
        assert attributes["db.query.summary"] == statement.name
        assert attributes["db.operation.name"] == statement.name.split()[0]


async def test_what_is_not_recorded_costs_no_span_and_has_an_id(client: AsyncClient) -> None:
    """No collector: also of what a caller records."""
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as logs:
        await client.get("/api/v1/items", headers={"traceparent": PARENT})
        problem = (await client.get("/api/v1/nothing")).json()
    ids = [line["trace_id"] for line in logs if line["event"] == "request"]
    assert ids == [TRACE, problem["trace_id"]]
    assert re.fullmatch("(?!0{32})[0-9a-f]{32}", problem["trace_id"])


async def test_no_secret_of_a_path_or_a_query_is_in_a_span(
    anonymous: AsyncClient, spans: InMemorySpanExporter
) -> None:
    key = f"hl_{'0' * 12}_{'planted' * 5}"
    headers = {"Authorization": f"Bearer {key}", "User-Agent": "planted-agent"}
    await anonymous.get(f"/api/v1/{key}?token={key}&name=planted-name", headers=headers)
    form = {"username": "planted@example.com", "password": "planted password"}
    await anonymous.post("/api/v1/auth/login", data=form)
    shown = json.dumps([json.loads(span.to_json()) for span in spans.get_finished_spans()])
    assert "/api/v1/hl_000000000000_***" in shown
    assert "POST /api/v1/auth/login" in shown
    assert "planted" not in shown


async def test_a_crash_is_an_error_without_its_message(
    settings: Settings, clean: None, spans: InMemorySpanExporter
) -> None:
    app = create_app(settings, KINDS)

    @app.get("/crash/{what}")
    async def crash(what: str) -> None:
        raise ValueError(f"planted {what}")

    async with serving(app) as served, connect(served) as client:
        assert (await client.get("/crash/here")).status_code == 500
        assert (await client.get("/api/v1/nothing")).status_code == 404
    crashed, missing = spans.get_finished_spans()
    assert crashed.name == "GET /crash/{what}"
    assert (crashed.attributes or {})["error.type"] == "ValueError"
    assert crashed.status.status_code is StatusCode.ERROR
    assert crashed.events == ()
    # A client's mistake is none of the server's.
    assert (missing.name, missing.status.status_code) == ("GET", StatusCode.UNSET)


async def test_requests_at_once_keep_their_own_ids(
    client: AsyncClient, spans: InMemorySpanExporter
) -> None:
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as logs:

        async def ask(number: int) -> None:
            await client.get("/api/v1/items", headers={"X-Request-Id": f"r-{number}"})

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(ask, number)
    lines = [line for line in logs if line["event"] == "request"]
    pairs = {(line["request_id"], line["trace_id"]) for line in lines}
    assert {request for request, _ in pairs} == {f"r-{number}" for number in range(10)}
    assert len({trace for _, trace in pairs}) == len(pairs) == 10
