"""What a consumer of the API writes: it knows the HTTP contract and nothing behind it."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self
from uuid import UUID

import anyio
import httpx2
from pydantic import BaseModel

PREFIX = "/api/v1"
CHUNK = 1 << 20

State = Literal["scheduled", "queued", "running", "succeeded", "failed", "cancelled"]
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})


class Problem(Exception):
    """An answer that is no success, as RFC 9457 describes it."""


class File(BaseModel):
    id: UUID
    name: str
    size: int


class Failure(BaseModel):
    code: str
    detail: str


class Event(BaseModel):
    seq: int
    state: State
    attempt: int
    progress: float
    message: str
    error: Failure | None


class Job(BaseModel):
    id: UUID
    kind: str
    state: State
    error: Failure | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    def times(self) -> tuple[timedelta, timedelta]:
        """How long it waited and how long it ran, once it has succeeded."""
        assert self.started_at is not None
        assert self.finished_at is not None
        return self.started_at - self.created_at, self.finished_at - self.started_at


class Token(BaseModel):
    access_token: str


async def _read(path: Path) -> AsyncIterator[bytes]:
    async with await anyio.open_file(path, "rb") as file:
        while chunk := await file.read(CHUNK):
            yield chunk


class Client:
    def __init__(self, url: str) -> None:
        self._http = httpx2.AsyncClient(base_url=url + PREFIX, timeout=30)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def _ask(self, method: str, path: str, **request: Any) -> httpx2.Response:
        return await _checked(await self._http.request(method, path, **request))

    async def register(self, email: str, password: str) -> None:
        await self._ask("POST", "/users", json={"email": email, "password": password})

    async def log_in(self, email: str, password: str) -> None:
        form = {"username": email, "password": password}
        answer = await self._ask("POST", "/auth/login", data=form)
        token = Token.model_validate_json(answer.content)
        self._http.headers["Authorization"] = f"Bearer {token.access_token}"

    async def upload(self, path: Path, content_type: str) -> File:
        answer = await self._ask(
            "POST",
            "/files",
            params={"name": path.name},
            content=_read(path),
            headers={"Content-Type": content_type},
        )
        return File.model_validate_json(answer.content)

    async def file(self, file: str) -> File:
        return File.model_validate_json((await self._ask("GET", f"/files/{file}")).content)

    async def submit(self, kind: str, spec: dict[str, Any]) -> Job:
        answer = await self._ask("POST", f"/jobs/{kind}", json={"spec": spec})
        return Job.model_validate_json(answer.content)

    async def job(self, job: UUID) -> Job:
        return Job.model_validate_json((await self._ask("GET", f"/jobs/{job}")).content)

    async def output(self, job: UUID) -> dict[str, Any]:
        """What the kind made of it; its shape is the kind's."""
        output: dict[str, Any] = (await self._ask("GET", f"/jobs/{job}/result")).json()["output"]
        return output

    async def follow(self, job: UUID) -> AsyncIterator[Event]:
        """Every change until the job has ended; a stream that breaks off is taken up again."""
        headers: dict[str, str] = {}
        while True:
            async with self._http.sse(f"/jobs/{job}/events", headers=headers) as events:
                await _checked(events.response)
                async for sent in events:
                    if sent.event != "job":
                        continue
                    event = Event.model_validate_json(sent.data)
                    headers["Last-Event-ID"] = str(event.seq)
                    yield event
                    if event.state in TERMINAL:
                        return


async def _checked(answer: httpx2.Response) -> httpx2.Response:
    if answer.is_success:
        return answer
    await answer.aread()
    try:
        problem = answer.json()
        said = f"{problem['title']}: {problem.get('detail', '')}"
    except (ValueError, KeyError, TypeError):
        said = answer.text[:200]
    request = answer.request
    raise Problem(f"{request.method} {request.url.path} answered {answer.status_code}: {said}")
