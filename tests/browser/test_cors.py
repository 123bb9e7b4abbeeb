"""A page on another origin, which uses the API from its own scripts."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.core.config import Settings
from tests.browser.conftest import HOST, Site, Visit
from tests.processes import parts

EMAIL, PASSWORD = "ada@example.com", "correct horse battery"


class Blank(BaseHTTPRequestHandler):
    """A page without anything in it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><link rel=icon href=data:,><title>a page</title>")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - as above
        pass


@pytest.fixture
def origins() -> Iterator[tuple[str, str]]:
    """Of two servers of pages: another port makes another origin."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Blank) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever).start()
    try:
        one, other = (f"http://{HOST}:{server.server_port}" for server in servers)
        yield one, other
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


@pytest.fixture
def crossing(
    settings: Settings, clean: None, tmp_path: Path, origins: tuple[str, str]
) -> Iterator[Site]:
    """An API that the first origin's pages may use."""
    with parts(settings, tmp_path) as running:
        yield Site(running.api(HEAVYLIFT_API_CORS_ORIGINS=origins[0]), running)


# Everything that a client does, with what it reads of each answer.
USE = """
async ({api, email, password}) => {
  const seen = {};
  const ask = (path, options = {}) => fetch(api + path, options);
  const read = (response, ...names) =>
    [response.status, ...names.map((name) => response.headers.get(name))];
  const form = new URLSearchParams({username: email, password});
  const tokens = await (await ask("/api/v1/auth/login", {method: "POST", body: form})).json();
  const headers = {Authorization: `Bearer ${tokens.access_token}`};
  const json = {...headers, "Content-Type": "application/json"};
  const wrong = await ask("/api/v1/users/me", {headers: {Authorization: "Bearer wrong"}});
  seen.unauthorized = [...read(wrong, "WWW-Authenticate"), (await wrong.json()).status];
  const stored = await ask("/api/v1/files?name=a.txt", {
    method: "POST", headers, body: "0123456789"});
  const file = await stored.json();
  seen.upload = read(stored, "Location");
  const part = await ask(`/api/v1/files/${file.id}/content`, {
    headers: {...headers, Range: "bytes=2-5"}});
  seen.download = [
    ...read(part, "Content-Range", "Accept-Ranges", "Content-Disposition"), await part.text()];
  const item = await ask("/api/v1/items", {method: "POST", headers: json, body: '{"title": "a"}'});
  const place = item.headers.get("Location");
  seen.item = read(item, "ETag");
  const changed = await ask(place, {
    method: "PATCH", headers: {...json, "If-Match": item.headers.get("ETag")},
    body: '{"title": "b"}'});
  seen.changed = read(changed, "ETag");
  const stale = await ask(place, {
    method: "PATCH", headers: {...json, "If-Match": '"1"'}, body: '{"title": "c"}'});
  seen.stale = read(stale);
  const submit = () => ask("/api/v1/jobs/test.nap", {
    method: "POST", headers: {...json, "Idempotency-Key": "k", "X-Own-Trace": "1"},
    body: '{"spec": {"seconds": 0.1}}'});
  const job = await submit();
  const {id} = await job.json();
  seen.job = [job.status, job.headers.get("Location") === `/api/v1/jobs/${id}`];
  seen.replayed = read(await submit(), "Idempotent-Replayed");
  const events = await ask(`/api/v1/jobs/${id}/events`, {
    headers: {...headers, "Last-Event-ID": "0"}});
  const reader = events.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let more = true; more && !text.includes("\\n\\n");) {
    const {done, value} = await reader.read();
    more = !done;
    text += value ?? "";
  }
  await reader.cancel();
  seen.events = [events.status, text.includes('"state":"queued"')];
  seen.socket = await new Promise((resolve) => {
    const socket = new WebSocket(`${api.replace("http", "ws")}/api/v1/jobs/${id}/events`);
    socket.onopen = () => socket.send(JSON.stringify({access_token: tokens.access_token}));
    socket.onmessage = (message) => { resolve(JSON.parse(message.data).state); socket.close(); };
    socket.onclose = (event) => resolve(event.code);
  });
  const cancelled = await ask(`/api/v1/jobs/${id}/cancel`, {method: "POST", headers});
  seen.cancelled = read(cancelled);
  const gone = await ask(`/api/v1/files/${file.id}`, {method: "DELETE", headers});
  seen.deleted = [gone.status, gone.headers.get("X-Request-Id") !== null];
  return seen;
}
"""

TRY = """
async ({api}) => {
  const attempt = async (options) => {
    try { return (await fetch(api + "/api/v1/users/me", options)).status; }
    catch (error) { return error.name; }
  };
  return [await attempt({}), await attempt({headers: {Authorization: "Bearer x"}})];
}
"""


def test_a_page_of_a_named_origin_uses_all_of_the_api(
    crossing: Site, origins: tuple[str, str], visit: Visit
) -> None:
    new = {"email": EMAIL, "password": PASSWORD}
    registered = httpx2.post(f"{crossing.local_url}/api/v1/users", json=new, timeout=30)
    assert registered.status_code == 201, registered.text
    visit.page.goto(origins[0])
    asked = {"api": crossing.url, "email": EMAIL, "password": PASSWORD}
    seen: dict[str, Any] = visit.page.evaluate(USE, asked)
    location = seen["upload"].pop()
    assert location.startswith("/api/v1/files/")
    assert seen == {
        "unauthorized": [401, "Bearer", 401],
        "upload": [201],
        "download": [206, "bytes 2-5/10", "bytes", 'attachment; filename="a.txt"', "2345"],
        "item": [201, '"1"'],
        "changed": [200, '"2"'],
        "stale": [412],
        "job": [202, True],
        "replayed": [202, "true"],
        "events": [200, True],
        "socket": "queued",
        "cancelled": [202],
        "deleted": [204, True],
    }, json.dumps(seen, indent=1)
    assert visit.strangers == []


def test_a_page_of_another_origin_reads_nothing(
    crossing: Site, origins: tuple[str, str], visit: Visit
) -> None:
    visit.page.goto(origins[1])
    assert visit.page.evaluate(TRY, {"api": crossing.url}) == ["TypeError", "TypeError"]
    assert any("CORS policy" in complaint for complaint in visit.complaints)
