"""Every error is an RFC 9457 problem with a request id."""

import asyncio
import json
from collections.abc import AsyncIterator

import anyio
import pytest
import structlog
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from httpx2 import AsyncClient, Response
from sqlalchemy import text
from sqlalchemy.exc import DisconnectionError
from starlette.types import Message, Scope

from app.api.deps import SessionDep
from app.api.problems import RequestTooLarge
from app.core.breaker import Breaker
from app.core.config import Settings
from app.main import create_app
from tests.integration.api.conftest import connect, is_ready, serving
from tests.integration.api.kinds import KINDS
from tests.integration.listening import listening

pytestmark = pytest.mark.anyio

MEMBERS = {"type", "title", "status", "detail", "instance", "request_id", "trace_id", "errors"}


def check(response: Response, status: int, name: str) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, object] = response.json()
    assert problem.keys() == MEMBERS
    assert problem["type"] == f"https://heavylift.dev/problems/{name}"
    assert problem["status"] == status
    assert problem["instance"] == response.request.url.path
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem


async def test_an_unknown_route(anonymous: AsyncClient) -> None:
    check(await anonymous.get("/api/v1/nothing"), 404, "not-found")
    check(await anonymous.get("/"), 404, "not-found")


ID = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/v1/users/me", "DELETE, GET, PATCH"),
        ("PUT", "/api/v1/files", "GET, POST"),
        ("PATCH", f"/api/v1/files/{ID}", "DELETE, GET"),
        ("POST", f"/api/v1/files/{ID}/content", "GET, HEAD"),
        ("DELETE", f"/api/v1/jobs/{ID}", "GET, POST"),
        ("POST", "/docs", "GET"),
    ],
)
async def test_a_method_that_is_not_there(
    anonymous: AsyncClient, method: str, path: str, allowed: str
) -> None:
    """Those that are there are all named, whichever operation has them."""
    response = await anonymous.request(method, path)
    check(response, 405, "method-not-allowed")
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("content", "status", "detail"),
    [
        (b'{"spec": ', 422, "not JSON"),
        (b"", 422, "required"),
        (b"[]", 422, "should be an object"),
        # Not even text, and deeper than the parser goes.
        (b"\xff", 400, ""),
        (b"[" * 99_999, 400, ""),
    ],
)
async def test_a_broken_body(
    app: FastAPI, client: AsyncClient, content: bytes, status: int, detail: str
) -> None:
    response = await client.post(
        "/api/v1/jobs/word.count",
        content=content,
        headers={"content-type": "application/json", "idempotency-key": "k"},
    )
    assert response.status_code == status
    documented = app.openapi()["paths"]["/api/v1/jobs/word.count"]["post"]["responses"]
    assert str(status) in documented
    assert response.headers["content-type"] == "application/problem+json"
    assert detail in response.text


async def test_a_body_without_a_type_is_no_json(client: AsyncClient) -> None:
    content = b'{"spec": {"words": "a"}}'
    response = await client.post("/api/v1/jobs/word.count", content=content)
    check(response, 415, "unsupported-media-type")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit(client: AsyncClient, chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    response = await client.post(
        "/api/v1/jobs/word.count",
        content=chunks() if chunked else b" " * 40 * 65536,
        headers={"content-type": "application/json"},
    )
    check(response, 413, "request-too-large")
    # As the document has it.
    assert response.json()["title"] == RequestTooLarge.title


USERS, LOGIN = "/api/v1/users", "/api/v1/auth/login"
COUNT, DRAW = "/api/v1/jobs/word.count", "/api/v1/jobs/shape.draw"
SQUARE = {"shape": "square", "width": 1}

# What a JSON document may well say, and neither UTF-8 nor PostgreSQL's text can.
UNSTORABLE = ["\0", "\ud800", "a\udfffb"]
UNSTORABLE_DETAIL = "without U+0000 and lone surrogates"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (USERS, {"email": "a@example.com", "password": "BAD long enough"}, "body.password"),
        (USERS, {"email": "BAD@example.com", "password": "long enough"}, "body.email"),
        (USERS, {"email": "a@example.com", "password": "long enough", "BAD": 1}, "body"),
        (COUNT, {"spec": {"words": "BAD"}}, "body.spec.words"),
        (COUNT, {"spec": {"words": "a", "BAD": 1}}, "body.spec"),
        (COUNT, {"spec": {"words": "a"}, "not_before": "BAD"}, "body.not_before"),
        (DRAW, {"spec": {"source": "BAD"}}, "body.spec.source"),
        (DRAW, {"spec": {"shapes": [SQUARE, {"shape": "BAD"}]}}, "body.spec.shapes.1.shape"),
        (COUNT, "BAD", "body"),
    ],
)
async def test_text_that_no_database_can_hold_is_named(
    client: AsyncClient, path: str, body: object, field: str
) -> None:
    for bad in UNSTORABLE:
        response = await client.post(
            path,
            content=json.dumps(body).replace("BAD", json.dumps(bad)[1:-1]),
            headers={"content-type": "application/json", "idempotency-key": "k"},
        )
        problem = check(response, 422, "invalid-input")
        assert problem["errors"] == [{"field": field, "detail": UNSTORABLE_DETAIL}]


@pytest.mark.parametrize(
    "content",
    [
        # As it stands, in UTF-8's and UTF-16's form of what has none.
        b'{"spec": {"words": "\xed\xa0\x80"}}',
        json.dumps({"spec": {"words": "\u1234"}}, ensure_ascii=False)
        .encode("utf-16-le")
        .replace(b"\x34\x12", b"\x00\xd8"),
    ],
)
async def test_a_surrogate_that_is_not_escaped(client: AsyncClient, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    problem = check(
        await client.post(COUNT, content=content, headers=headers), 422, "invalid-input"
    )
    assert problem["detail"] == f"body.spec.words: {UNSTORABLE_DETAIL}"


@pytest.mark.parametrize("wrong", ["\0", 1])
async def test_of_faults_without_end_some_are_named(client: AsyncClient, wrong: object) -> None:
    body = {"spec": {"shapes": [wrong] * 10_000}}
    problem = check(await client.post(DRAW, json=body), 422, "invalid-input")
    assert len(problem["errors"]) == 100  # type: ignore[arg-type]


async def test_a_depth_that_the_parser_bears(client: AsyncClient) -> None:
    content = b'{"spec": {"words": ' + b"[" * 900 + b'"\\u0000"' + b"]" * 900 + b"}}"
    response = await client.post(
        COUNT, content=content, headers={"content-type": "application/json"}
    )
    check(response, 422, "invalid-input")


@pytest.mark.parametrize("field", ["username", "password", "client_id", "client_secret", "scope"])
async def test_text_of_a_form_that_no_database_can_hold(anonymous: AsyncClient, field: str) -> None:
    fields = {"username": "a", "password": "b"}
    encoded = await anonymous.post(LOGIN, data=fields | {field: "a\0b"})
    # A charset of Python's own, in which there are surrogates.
    parts = [
        f'--X\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (fields | {field: r"a\ud800"}).items()
    ]
    multipart = await anonymous.post(
        LOGIN,
        content="".join([*parts, "--X--\r\n"]),
        headers={"content-type": "multipart/form-data; boundary=X; charset=unicode_escape"},
    )
    for response in (encoded, multipart):
        problem = check(response, 422, "invalid-input")
        assert problem["errors"] == [{"field": f"body.{field}", "detail": UNSTORABLE_DETAIL}]


FORM, JSON = "application/x-www-form-urlencoded", "application/json"
MULTIPART = "multipart/form-data; boundary=X"
LOGIN_AS_JSON = b'{"username": "a@example.com", "password": "b"}'


@pytest.mark.parametrize(
    ("path", "sent", "content", "wanted"),
    [
        (LOGIN, JSON, LOGIN_AS_JSON, FORM),
        (LOGIN, "application/vnd.api+json", LOGIN_AS_JSON, FORM),
        (LOGIN, "text/plain", b"username=a&password=b", FORM),
        (LOGIN, None, LOGIN_AS_JSON, FORM),
        (USERS, FORM, b"email=a%40example.com&password=b", JSON),
        (USERS, MULTIPART, b"--X--\r\n", JSON),
        (USERS, "text/json", b"{}", JSON),
        (USERS, "text/plain; charset=utf-8", b"{}", JSON),
        (USERS, "application/octet-stream", b"{}", JSON),
        (USERS, None, b'{"email": "a@example.com"}', JSON),
        ("/api/v1/auth/refresh", FORM, b"refresh_token=x", JSON),
        (COUNT, FORM, b'{"spec": {"n": 1}}', JSON),
        ("/api/v1/items", MULTIPART, b"--X--\r\n", JSON),
        ("/api/v1/newsletter/subscriptions", FORM, b"email=a%40example.com", JSON),
        ("/api/v1/files?name=a.txt", MULTIPART, b"--X--\r\n", "application/octet-stream"),
    ],
)
async def test_a_body_of_another_content_type_names_the_right_one(
    client: AsyncClient, path: str, sent: str | None, content: bytes, wanted: str
) -> None:
    headers = {} if sent is None else {"content-type": sent}
    response = await client.post(path, content=content, headers=headers)
    problem = check(response, 415, "unsupported-media-type")
    # What was sent is not repeated: a token may have got into the header.
    assert problem["detail"] == f"send the body with Content-Type: {wanted}"
    assert response.headers["accept"] == wanted


@pytest.mark.parametrize(
    ("path", "sent", "content", "status"),
    [
        (USERS, "Application/JSON; charset=UTF-8", b"{}", 422),
        (USERS, "application/merge-patch+json", b"{}", 422),
        # A body that is missing is said to be missing.
        (USERS, None, b"", 422),
        (LOGIN, None, b"", 422),
        (LOGIN, "application/x-www-form-urlencoded; charset=utf-8", b"username=a", 422),
        ("/api/v1/files?name=a.txt", FORM, b"1", 201),
        ("/api/v1/files?name=a.json", JSON, b"{}", 201),
        ("/api/v1/files?name=a.txt", None, b"1", 201),
    ],
)
async def test_a_fitting_content_type_is_read(
    client: AsyncClient, path: str, sent: str | None, content: bytes, status: int
) -> None:
    headers = {} if sent is None else {"content-type": sent}
    response = await client.post(path, content=content, headers=headers)
    assert response.status_code == status, response.text


async def test_text_of_a_query_that_no_database_can_hold(client: AsyncClient) -> None:
    for path, name in (
        ("/api/v1/jobs", "kind"),
        ("/api/v1/jobs", "state"),
        ("/api/v1/jobs", "cursor"),
    ):
        response = await client.get(path, params={name: "a\0b"})
        problem = check(response, 422, "invalid-input")
        assert problem["detail"] == f"query.{name}: {UNSTORABLE_DETAIL}"
    response = await client.post("/api/v1/files?name=a%00b", content=b"1")
    assert check(response, 422, "invalid-input")["errors"] == [
        {"field": "query.name", "detail": UNSTORABLE_DETAIL}
    ]
    # Of a query and a path, what is no UTF-8 was replaced by the server.
    assert (await client.get("/api/v1/jobs?kind=%ED%A0%80")).status_code == 200
    check(await client.get("/api/v1/jobs/kinds/%ED%A0%80/schema"), 404, "unknown-job-kind")
    check(await client.get("/api/v1/jobs/kinds/%00/schema"), 404, "unknown-job-kind")


async def test_text_that_became_unstorable_here(broken: FastAPI) -> None:
    """By a validator of a kind's own, say."""
    async with serving(broken) as served, connect(served) as client:
        check(await client.get("/nul-in-sql"), 422, "invalid-input")


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("4bf92f35-77b3", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("a b", False),
        ('"}{', False),
        ("-", False),
        ("", False),
    ],
)
async def test_a_request_id_is_taken_if_it_is_sane(
    anonymous: AsyncClient, given: str, taken: bool
) -> None:
    response = await anonymous.get("/livez", headers={"X-Request-Id": given})
    assert (response.headers["x-request-id"] == given) is taken
    assert len(response.headers["x-request-id"]) >= 1


async def test_every_request_has_an_id_of_its_own(anonymous: AsyncClient) -> None:
    ids = {(await anonymous.get("/livez")).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


class Boom(Exception):
    pass


@pytest.fixture
def broken(settings: Settings, clean: None) -> FastAPI:
    """The application, with operations that crash in every place where one can."""
    app = create_app(settings, KINDS)

    @app.get("/crash")
    async def crash() -> None:
        raise Boom("in the handler")

    @app.get("/crash-in-sql")
    async def crash_in_sql(session: SessionDep) -> None:
        await session.execute(text("SELECT 1 FROM nowhere"))

    @app.get("/nul-in-sql")
    async def nul_in_sql(session: SessionDep) -> None:
        await session.execute(text("SELECT CAST(:text AS text)"), {"text": "a\0b"})

    # Deferred, so that it is the commit that fails.
    @app.get("/crash-in-commit")
    async def crash_in_commit(session: SessionDep) -> None:
        await session.execute(
            text(
                "CREATE TEMPORARY TABLE t (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"
                " ON COMMIT DROP"
            )
        )
        await session.execute(text("INSERT INTO t VALUES (1), (1)"))

    @app.get("/crash-in-the-response")
    async def crash_in_the_response() -> int:
        return "no number"  # type: ignore[return-value]

    @app.get("/crash-half-way")
    async def crash_half_way() -> StreamingResponse:
        async def half() -> AsyncIterator[bytes]:
            yield b"half"
            raise Boom("half-way")

        return StreamingResponse(half())

    return app


@pytest.mark.parametrize(
    "path", ["/crash", "/crash-in-sql", "/crash-in-commit", "/crash-in-the-response"]
)
async def test_a_handler_that_crashes(broken: FastAPI, path: str) -> None:
    async with serving(broken) as served, connect(served) as client:
        with structlog.testing.capture_logs(
            processors=[structlog.contextvars.merge_contextvars]
        ) as logs:
            response = await client.get(path, headers={"X-Request-Id": "crash-1"})
    problem = check(response, 500, "internal-error")
    assert problem["request_id"] == "crash-1"
    assert "Boom" not in response.text
    crash = next(line for line in logs if line["event"] == "request crashed")
    assert (crash["exc_info"], crash["request_id"], crash["path"]) == (True, "crash-1", path)
    assert [line["status"] for line in logs if line["event"] == "request"] == [500]


async def test_half_a_response_is_not_taken_for_a_whole_one(broken: FastAPI) -> None:
    """The server sees the exception, and closes the connection without the last chunk."""
    sent: list[Message] = []

    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": "GET",
        "path": "/crash-half-way",
        "raw_path": b"/crash-half-way",
        "query_string": b"",
        "headers": [],
        "root_path": "",
    }
    async with serving(broken) as served:
        with pytest.raises(Boom):
            await served(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[-1]["more_body"] is True


async def test_a_request_is_one_line_in_the_log(client: AsyncClient) -> None:
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as logs:
        await client.get("/api/v1/users/me", headers={"X-Request-Id": "line-1"})
        await client.get("/livez")
    lines = [line for line in logs if line["event"] == "request"]
    assert len(lines) == 1
    line = lines[0]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/v1/users/me", 200)
    assert line["request_id"] == "line-1"
    assert line["user_id"]


async def test_a_status_in_the_log_is_a_number(anonymous: AsyncClient) -> None:
    """An HTTPStatus is equal to one, and written by its name."""
    with structlog.testing.capture_logs() as logs:
        await anonymous.get("/api/v1/nothing")
    assert [repr(line["status"]) for line in logs if line["event"] == "request"] == ["404"]


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",  # TLS
        b"GET /livez HTTP/1.1\r\nno header\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n",
    ],
)
async def test_what_is_no_http(app: FastAPI, sent: bytes) -> None:
    async with listening(app) as api:
        reader, writer = await asyncio.open_connection(api.host, api.port)
        writer.write(sent)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    problem = json.loads(body)
    assert status == "HTTP/1.1 400 Bad Request"
    assert problem.keys() == MEMBERS
    assert problem["type"] == "https://heavylift.dev/problems/bad-request"
    assert problem["request_id"] == headers["x-request-id"]
    assert headers["content-type"] == "application/problem+json"
    assert headers["content-length"] == str(len(body))
    assert headers["connection"] == "close"


async def test_without_a_database_it_is_unavailable(settings: Settings, clean: None) -> None:
    nowhere = settings.database.model_copy(
        update={"url": type(settings.database.url)("postgresql://h@/h?host=/nonexistent")}
    )
    app = create_app(settings.model_copy(update={"database": nowhere}), KINDS)
    async with serving(app) as served, connect(served) as client:
        form = {"username": "a", "password": "b"}
        response = await client.post("/api/v1/auth/login", data=form)
        check(response, 503, "unavailable")
        assert response.headers["retry-after"] == "1"


async def test_a_connection_that_is_closed_again_at_once_is_unavailable(
    anonymous: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object) -> None:
        raise DisconnectionError

    await is_ready(anonymous)
    form = {"username": "a@example.com", "password": "b"}
    # Called by the pool's listener, for each connection that is taken.
    monkeypatch.setattr(Breaker, "taken", closed)
    check(await anonymous.post("/api/v1/auth/login", data=form), 503, "unavailable")


async def test_a_process_that_drains_says_so(app: FastAPI, anonymous: AsyncClient) -> None:
    await is_ready(anonymous)
    app.state.lifecycle.draining = True
    check(await anonymous.get("/readyz"), 503, "unavailable")
    assert (await anonymous.get("/livez")).status_code == 200
    assert (await anonymous.get("/startupz")).status_code == 200
