"""The operations of the public API, one method each."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx2
from pydantic import JsonValue, TypeAdapter

from app.client.answers import (
    Deletion,
    Event,
    File,
    Job,
    Kinds,
    Page,
    RefreshToken,
    Registration,
    Result,
    Submission,
    Token,
    User,
)
from app.client.authentication import Authentication, Nobody
from app.client.connection import Again, Body, Connection, Model
from app.client.following import follow

# Of one page: what the server gives at most.
PAGE = 100

JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)


@dataclass(frozen=True, slots=True)
class Accepted:
    job: Job
    replayed: bool
    """The key was known: it is the job of an earlier submission."""


def _nothing(count: int) -> None:
    pass


class Client:
    """Every method raises `ClientError`, which is one line for a person, and nothing else."""

    def __init__(self, url: str, authentication: Authentication | None = None) -> None:
        self._connection = Connection(url, authentication or Nobody())

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._connection.__aexit__(*raised)

    @property
    def url(self) -> str:
        return self._connection.url

    def authenticate(self, authentication: Authentication) -> None:
        """From now on."""
        self._connection.authentication = authentication

    def _read(self, model: type[Model], response: httpx2.Response) -> Model:
        return self._connection.read(model, response.content)

    # Accounts

    async def register(self, email: str, password: str) -> User:
        new = Registration(email=email, password=password)
        response = await self._connection.ask("POST", "/users", sent=new, again=Again.UNSENT)
        return self._read(User, response)

    async def log_in(self, email: str, password: str) -> Token:
        form = {"username": email, "password": password}
        response = await self._connection.ask("POST", "/auth/login", form=form)
        return self._read(Token, response)

    async def log_out(self, refresh_token: str) -> None:
        sent = RefreshToken(refresh_token=refresh_token)
        await self._connection.ask("POST", "/auth/logout", sent=sent)

    async def delete_account(self, password: str) -> None:
        """One's own, and all that is one's own."""
        # Asked twice, the second answer would be that nobody is logged in.
        leave = Deletion(password=password)
        await self._connection.ask("DELETE", "/users/me", sent=leave, again=Again.UNSENT)

    # Jobs

    async def kinds(self) -> Kinds:
        return self._read(Kinds, await self._connection.ask("GET", "/jobs/kinds"))

    async def schema(self, kind: str) -> JsonValue:
        """The JSON Schema of a kind's specification."""
        response = await self._connection.ask("GET", f"/jobs/kinds/{quote(kind, safe='')}/schema")
        return JSON.validate_json(response.content)

    async def submit(
        self, kind: str, submission: Submission, *, idempotency_key: str | None = None
    ) -> Accepted:
        """A submission whose answer is lost is sent again, and makes no second job."""
        key = idempotency_key or uuid4().hex
        response = await self._connection.ask(
            "POST",
            f"/jobs/{quote(kind, safe='')}",
            sent=submission,
            headers={"Idempotency-Key": key},
        )
        return Accepted(self._read(Job, response), "Idempotent-Replayed" in response.headers)

    async def job(self, job_id: UUID) -> Job:
        return self._read(Job, await self._connection.ask("GET", f"/jobs/{job_id}"))

    async def jobs(
        self,
        *,
        states: Sequence[str] = (),
        kind: str | None = None,
        dead_letter: bool | None = None,
        limit: int = PAGE,
        cursor: str | None = None,
    ) -> Page[Job]:
        query = {
            "state": list(states),
            "kind": kind,
            "dead_letter": dead_letter,
            "limit": limit,
            "cursor": cursor,
        }
        return self._read(Page[Job], await self._connection.ask("GET", "/jobs", query=query))

    async def cancel(self, job_id: UUID) -> Job:
        return self._read(Job, await self._connection.ask("POST", f"/jobs/{job_id}/cancel"))

    async def result(self, job_id: UUID) -> Result:
        return self._read(Result, await self._connection.ask("GET", f"/jobs/{job_id}/result"))

    def follow(self, job_id: UUID, *, streamed: bool = False) -> AsyncGenerator[Event, None]:
        """Every state that the server tells of, until the job has ended.

        Where streams tell nothing, the job is asked after instead, unless it is to be `streamed`.
        """
        return follow(self._connection, job_id, streamed=streamed)

    # Files

    async def upload(
        self, body: Body, *, name: str, tell: Callable[[int], None] = _nothing
    ) -> File:
        """`tell` hears how many bytes have gone."""

        async def told() -> AsyncIterator[bytes]:
            async for chunk in body.opened():
                yield chunk
                tell(len(chunk))

        response = await self._connection.ask(
            "POST",
            "/files",
            query={"name": name},
            body=replace(body, opened=told),
            headers={"Content-Type": "application/octet-stream"},
            again=Again.UNSENT if body.repeatable else Again.NEVER,
        )
        return self._read(File, response)

    async def file(self, file_id: UUID) -> File:
        return self._read(File, await self._connection.ask("GET", f"/files/{file_id}"))

    async def files(
        self, *, job_id: UUID | None = None, limit: int = PAGE, cursor: str | None = None
    ) -> Page[File]:
        query = {"job_id": str(job_id) if job_id else None, "limit": limit, "cursor": cursor}
        return self._read(Page[File], await self._connection.ask("GET", "/files", query=query))

    async def delete_file(self, file_id: UUID) -> None:
        # Asked twice, the second answer would be that there is no such file.
        await self._connection.ask("DELETE", f"/files/{file_id}", again=Again.UNSENT)

    def content(self, file: File, *, start: int) -> AbstractAsyncContextManager[httpx2.Response]:
        """A file's bytes from `start` on; the answer may be all of them, and says so."""
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": f'"{file.sha256}"'}
        return self._connection.stream(f"/files/{file.id}/content", headers=headers)
